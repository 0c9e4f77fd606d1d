"""The store in a SQL database, through SQLAlchemy Core.

SQLite in WAL mode: readers never wait, and a write is durable at the next checkpoint or before, which is enough for what the hosts
could tell again. Plans and Desired are kept as the JSON of docs/formats.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, Engine, RowMapping, create_engine, delete, event, insert, inspect, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import DatabaseError

from gitopsd.model.codec import from_json, to_json
from gitopsd.model.desired import Desired, HostDesired
from gitopsd.model.errors import GitopsdError, Where
from gitopsd.model.outcome import Outcome, StepOutcome
from gitopsd.model.plan import Plan
from gitopsd.model.record import Applied, BadRevision, SyncRecord
from gitopsd.model.revision import RevisionName
from gitopsd.store import tables


class SqlStore:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def at(cls, path: Path) -> SqlStore:
        """The store in a SQLite file, made or brought up to date. `store-unreadable` for a file that is none."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 10})
        event.listen(engine, "connect", _prepare)
        try:
            with _one_at_a_time(path.parent):
                _migrate(engine)
        except DatabaseError as error:
            engine.dispose()
            hint = "move it away: the store is made anew from Git and the hosts"
            raise GitopsdError("store-unreadable", str(error.orig), Where(file=str(path)), hint) from error
        return cls(engine)

    def close(self) -> None:
        self._engine.dispose()

    def begin_sync(self, plan: Plan, started_at: str) -> int:
        row = {"started_at": started_at, "seconds": 0.0, "result": "running", "plan": json.dumps(to_json(plan))}
        with self._engine.begin() as connection:
            connection.execute(update(tables.syncs).where(tables.syncs.c.result == "running").values(result="interrupted"))
            number = connection.execute(insert(tables.syncs).returning(tables.syncs.c.number), row).scalar_one()
            touched = [{"sync": number, "stack": stack} for stack in sorted({change.stack for change in plan.changes})]
            if touched:
                connection.execute(insert(tables.sync_stacks), touched)
            return number

    def record_step(self, sync: int, step: StepOutcome) -> None:
        with self._engine.begin() as connection:
            connection.execute(_step_rows(sync, (step,)))

    def end_sync(self, sync: int, outcome: Outcome) -> None:
        with self._engine.begin() as connection:
            if outcome.steps:
                connection.execute(_step_rows(sync, outcome.steps))
            connection.execute(
                update(tables.syncs).where(tables.syncs.c.number == sync).values(result=outcome.result, seconds=outcome.seconds)
            )

    def syncs(self, limit: int = 20, stack: str | None = None) -> tuple[SyncRecord, ...]:
        query = select(tables.syncs).order_by(tables.syncs.c.number.desc()).limit(limit)
        if stack is not None:
            query = query.join(tables.sync_stacks).where(tables.sync_stacks.c.stack == stack)
        with self._engine.connect() as connection:
            return tuple(_sync(connection, row) for row in connection.execute(query).mappings())

    def sync(self, number: int) -> SyncRecord | None:
        with self._engine.connect() as connection:
            row = connection.execute(select(tables.syncs).where(tables.syncs.c.number == number)).mappings().first()
            return None if row is None else _sync(connection, row)

    def applied(self) -> Mapping[str, Applied]:
        with self._engine.connect() as connection:
            rows = connection.execute(select(tables.stacks)).mappings().all()
        return {
            row["stack"]: Applied(row["stack"], from_json(RevisionName, json.loads(row["revision"])), row["applied_at"])
            for row in rows
        }

    def set_applied(self, applied: Applied, desired: Desired | None) -> None:
        row = {
            "stack": applied.stack,
            "revision": json.dumps(to_json(applied.revision)),
            "applied_at": applied.at,
            "desired": None if desired is None else json.dumps(to_json(_of_stack(desired, applied.stack))),
        }
        with self._engine.begin() as connection:
            connection.execute(upsert(tables.stacks).values(row).on_conflict_do_update(index_elements=["stack"], set_=row))

    def forget(self, stack: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(tables.stacks).where(tables.stacks.c.stack == stack))
            connection.execute(delete(tables.bad_revisions).where(tables.bad_revisions.c.stack == stack))

    def previous(self) -> Desired | None:
        with self._engine.connect() as connection:
            rows = connection.execute(select(tables.stacks.c.desired).where(tables.stacks.c.desired.is_not(None))).scalars().all()
        return _together([from_json(Desired, json.loads(row)) for row in rows])

    def bad_revisions(self) -> tuple[BadRevision, ...]:
        query = select(tables.bad_revisions).order_by(tables.bad_revisions.c.stack, tables.bad_revisions.c.at)
        with self._engine.connect() as connection:
            return tuple(BadRevision(**cast("Any", dict(row))) for row in connection.execute(query).mappings())

    def mark_bad(self, bad: BadRevision) -> None:
        row = cast("dict[str, Any]", to_json(bad))
        with self._engine.begin() as connection:
            connection.execute(
                upsert(tables.bad_revisions).values(row).on_conflict_do_update(index_elements=["stack", "commit"], set_=row)
            )

    def clear_bad(self, stack: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(tables.bad_revisions).where(tables.bad_revisions.c.stack == stack))

    def host_numbers(self) -> Mapping[str, int]:
        query = select(tables.hosts.c.host, tables.hosts.c.number).where(tables.hosts.c.number.is_not(None))
        with self._engine.connect() as connection:
            return {row.host: row.number for row in connection.execute(query)}

    def set_host_number(self, host: str, number: int) -> None:
        with self._engine.begin() as connection:
            rows = connection.execute(select(tables.hosts.c.host, tables.hosts.c.number)).all()
            taken = {row.host: row.number for row in rows if row.number is not None}
            if taken.get(host) == number:
                return
            if host in taken:
                raise GitopsdError("host-number-taken", f"it has number {taken[host]}, not {number}", Where(host=host))
            if number in taken.values():
                other = next(name for name, its in taken.items() if its == number)
                raise GitopsdError("host-number-taken", f"number {number} belongs to host {other}", Where(host=host))
            connection.execute(_host_row(host, number=number))

    def forget_host(self, host: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(tables.hosts).where(tables.hosts.c.host == host))

    def states(self) -> Mapping[str, tuple[str, dict[str, Any]]]:
        query = select(tables.hosts).where(tables.hosts.c.etag.is_not(None))
        with self._engine.connect() as connection:
            return {row.host: (row.etag, json.loads(row.state)) for row in connection.execute(query)}

    def keep_state(self, host: str, etag: str, state: dict[str, Any]) -> None:
        with self._engine.begin() as connection:
            connection.execute(_host_row(host, etag=etag, state=json.dumps(state)))


def _prepare(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Generator[None]:
    """Commands that read open the store without the controller's lock: two that come first together must not both make it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _migrate(engine: Engine) -> None:
    """To the newest form. Alembic is imported only when there is something to do: it takes as long as a whole command."""
    with engine.connect() as connection:
        known = None
        if inspect(connection).has_table("alembic_version"):
            known = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if known == tables.HEAD:
            return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "gitopsd.store:migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _step_rows(sync: int, steps: tuple[StepOutcome, ...]) -> Any:
    rows = [{"sync": sync, **cast("dict[str, Any]", to_json(step))} for step in steps]
    statement = upsert(tables.steps).values(rows)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["sync", "number"],
        set_={"result": new.result, "seconds": new.seconds, "error": new.error, "next": new.next, "made": new.made},
    )


def _host_row(host: str, **values: Any) -> Any:
    return upsert(tables.hosts).values(host=host, **values).on_conflict_do_update(index_elements=["host"], set_=values)


def _sync(connection: Connection, row: RowMapping) -> SyncRecord:
    found = connection.execute(
        select(tables.steps).where(tables.steps.c.sync == row["number"]).order_by(tables.steps.c.number)
    ).mappings()
    steps = tuple(StepOutcome(r["number"], r["result"], r["seconds"], r["error"], r["next"], r["made"]) for r in found)
    plan = from_json(Plan, json.loads(row["plan"]))
    return SyncRecord(row["number"], plan, row["started_at"], row["seconds"], row["result"], steps)


def _of_stack(desired: Desired, stack: str) -> Desired:
    hosts = tuple(
        replace(
            host,
            containers=tuple(item for item in host.containers if item.stack == stack),
            networks=tuple(item for item in host.networks if item.stack == stack),
            volumes=tuple(item for item in host.volumes if item.stack == stack),
        )
        for host in desired.hosts
    )
    return replace(desired, hosts=hosts, stacks=(stack,), held=())


def _together(parts: list[Desired]) -> Desired | None:
    if not parts:
        return None
    hosts: dict[str, HostDesired] = {}
    for part in parts:
        for host in part.hosts:
            known = hosts.get(host.host, HostDesired(host.host))
            hosts[host.host] = HostDesired(
                host.host,
                (*known.containers, *host.containers),
                (*known.networks, *host.networks),
                (*known.volumes, *host.volumes),
            )
    return Desired(parts[0].fleet, tuple(hosts.values()), tuple(sorted(stack for part in parts for stack in part.stacks)))
