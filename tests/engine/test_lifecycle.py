"""Starting, stopping, restarting, waiting, renaming, listing and removing, as Docker's clients expect it."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest

from gitopsd.engine.http.client import UnixConnection
from tests.engine.running import Engine, fails, until

pytestmark = pytest.mark.host

_TRAP = "trap 'echo {0}; exit {1}' {0}; echo ready; while true; do sleep 0.01; done"


def ready(engine: Engine, container: str) -> str:
    until(lambda: "ready" in engine.logs(container), "the program is ready")
    return container


def post(engine: Engine, container: str, verb: str, **query: object) -> None:
    engine.client.call("POST", f"/containers/{container}/{verb}", **query)


def status_of(engine: Engine, method: str, path: str) -> int:
    """The bare status, which Client does not show when all is well."""
    connection = UnixConnection(str(engine.socket))
    try:
        connection.request(method, path)
        return connection.getresponse().status
    finally:
        connection.close()


# ---- stopping


def test_stop_sends_the_stop_signal_and_keeps_the_programs_exit_code(engine: Engine) -> None:
    made = ready(engine, engine.run("sh", "-c", _TRAP.format("TERM", 7)))
    post(engine, made, "stop")
    assert engine.logs(made) == "ready\nTERM\n"
    shown = engine.status(made)
    assert (shown["Status"], shown["ExitCode"], shown["Running"], shown["Pid"]) == ("exited", 7, False, 0)


@pytest.mark.parametrize("name", ["SIGUSR1", "USR1", "10"])
def test_a_stop_signal_of_its_own_is_used(engine: Engine, name: str) -> None:
    made = ready(engine, engine.run("sh", "-c", _TRAP.format("USR1", 3), StopSignal=name))
    post(engine, made, "stop")
    assert engine.status(made)["ExitCode"] == 3


def test_a_program_that_does_not_end_is_killed_after_its_grace(engine: Engine) -> None:
    made = ready(engine, engine.run("sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.01; done"))
    began = time.monotonic()
    post(engine, made, "stop", t=1)
    assert 0.9 < time.monotonic() - began < 5
    assert engine.status(made)["ExitCode"] == 137


def test_the_grace_is_the_containers_where_the_call_says_nothing(engine: Engine) -> None:
    made = ready(engine, engine.run("sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.01; done", StopTimeout=0))
    began = time.monotonic()
    post(engine, made, "stop")
    assert time.monotonic() - began < 5


def test_a_stop_while_another_waits_for_its_grace_is_not_held_up_for_ever(engine: Engine) -> None:
    made = ready(engine, engine.run("sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.01; done"))
    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(post, engine, made, "stop", t=30)
        until(lambda: engine.record(made)["should_run"] is False, "the stop is asked for")
        engine.client.call("POST", f"/containers/{made}/kill")
        stopping.result(timeout=10)
    assert engine.status(made)["ExitCode"] == 137


def test_starting_what_runs_and_stopping_what_does_not_answers_304(engine: Engine) -> None:
    made = engine.run("sleep", "1000")
    assert status_of(engine, "POST", f"/containers/{made}/start") == 304
    assert status_of(engine, "POST", f"/containers/{made}/stop?t=0") == 204
    assert status_of(engine, "POST", f"/containers/{made}/stop") == 304


def test_a_signal_reaches_the_program_and_leaves_the_container_running(engine: Engine) -> None:
    made = ready(engine, engine.run("sh", "-c", "trap 'echo hup' HUP; echo ready; while true; do sleep 0.01; done"))
    post(engine, made, "kill", signal="HUP")
    until(lambda: "hup" in engine.logs(made), "the signal arrives")
    assert engine.status(made)["Running"]
    with fails(400):
        post(engine, made, "kill", signal="SIGNOTHING")
    post(engine, made, "kill")
    with fails(409):
        post(engine, made, "kill")


def test_a_container_starts_again_with_what_it_wrote(engine: Engine) -> None:
    made = engine.run("sh", "-c", "echo run >> /count; wc -l < /count")
    for expected in (1, 2, 3):
        engine.wait(made)
        assert engine.logs(made).split()[-1] == str(expected)
        engine.start_container(made)
    engine.wait(made)


def test_restart_ends_one_run_and_begins_another(engine: Engine) -> None:
    made = ready(engine, engine.run("sh", "-c", _TRAP.format("TERM", 0)))
    before = engine.status(made)
    post(engine, made, "restart")
    after = engine.status(made)
    assert after["Running"]
    assert after["Pid"] != before["Pid"]
    assert after["StartedAt"] > before["StartedAt"]
    post(engine, made, "kill")
    post(engine, made, "restart")
    assert engine.status(made)["Running"], "also what does not run"


# ---- restart policies


def test_a_policy_of_always_starts_again_and_counts(engine: Engine) -> None:
    made = engine.run("sh", "-c", "exit 3", RestartPolicy={"Name": "always"})
    until(lambda: engine.inspect(made)["RestartCount"] >= 2, "it has been started again twice")
    post(engine, made, "stop")
    shown = engine.inspect(made)
    assert (shown["State"]["Status"], shown["State"]["ExitCode"]) == ("exited", 3)
    count = shown["RestartCount"]
    time.sleep(0.5)  # longer than the pause would be
    assert engine.inspect(made)["RestartCount"] == count


def test_on_failure_goes_on_until_its_number_or_a_success(engine: Engine) -> None:
    made = engine.run("sh", "-c", "exit 3", RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 2})
    until(lambda: engine.status(made)["Status"] == "exited", "it gives up")
    assert engine.inspect(made)["RestartCount"] == 2
    made = engine.run("sh", "-c", "[ -e /once ] && exit 0; touch /once; exit 1", RestartPolicy={"Name": "on-failure"})
    until(lambda: engine.status(made)["Status"] == "exited", "it succeeds")
    assert (engine.inspect(made)["RestartCount"], engine.status(made)["ExitCode"]) == (1, 0)


def test_a_program_that_cannot_be_run_again_is_tried_again(engine: Engine) -> None:
    made = engine.run("sh", "-c", "mv /bin/sh /bin/gone; exit 1", RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 2})
    until(lambda: engine.status(made)["Status"] == "exited", "it gives up")
    shown = engine.inspect(made)
    assert (shown["RestartCount"], shown["State"]["ExitCode"]) == (2, 127)
    assert "not found" in shown["State"]["Error"]


def test_a_container_that_waits_for_its_restart_can_be_stopped_started_and_removed(engine: Engine) -> None:
    def crashing() -> str:
        made = engine.run("sh", "-c", "exit 1", RestartPolicy={"Name": "always"})
        until(lambda: engine.inspect(made)["RestartCount"] >= 3 and engine.status(made)["Restarting"], "it waits a while")
        return made

    made = crashing()
    post(engine, made, "stop")
    assert engine.status(made)["Status"] == "exited"
    engine.remove(crashing())
    made = crashing()
    post(engine, made, "restart")
    assert engine.inspect(made)["RestartCount"] <= 1


def test_a_kill_by_hand_ends_the_policy(engine: Engine) -> None:
    made = engine.run("sleep", "1000", RestartPolicy={"Name": "unless-stopped"})
    post(engine, made, "kill")
    time.sleep(0.3)
    assert engine.status(made)["Status"] == "exited"


def test_a_policy_can_be_changed_while_it_runs(engine: Engine) -> None:
    made = engine.run("sh", "-c", "while [ ! -e /go ]; do sleep 0.01; done; exit 1")
    engine.client.call("POST", f"/containers/{made}/update", {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1}})
    engine.execute(made, "touch", "/go")
    until(lambda: engine.inspect(made)["RestartCount"] == 1, "it is started again")


# ---- waiting


def test_waiting_for_what_does_not_run_answers_at_once(engine: Engine) -> None:
    made = engine.run("sh", "-c", "exit 9")
    assert engine.wait(made) == 9
    assert engine.wait(made, "not-running") == 9
    assert engine.wait(engine.create("true")) == 0


@pytest.mark.parametrize("condition", ["next-exit", "not-running", "removed"])
def test_a_wait_is_answered_when_its_condition_comes(engine: Engine, condition: str) -> None:
    made = engine.create("sh", "-c", "while [ ! -e /go ]; do sleep 0.01; done; exit 6")
    if condition == "not-running":
        engine.start_container(made)
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(engine.wait(made, condition)))
    waiting.start()
    if condition != "not-running":
        time.sleep(0.05)
        engine.start_container(made)
    assert waiting.is_alive()
    engine.execute(made, "touch", "/go")
    if condition == "removed":
        until(lambda: engine.status(made)["Status"] == "exited", "it has ended")
        assert waiting.is_alive()
        engine.remove(made)
    waiting.join(10)
    assert found == [6]


def test_a_wait_that_cannot_be_says_so(engine: Engine) -> None:
    with fails(404):
        engine.wait("nobody")
    with fails(400):
        engine.wait(engine.create("true"), "doomsday")


# ---- removing


def test_a_running_container_is_removed_only_by_force(engine: Engine) -> None:
    made = engine.run("sleep", "1000")
    with fails(409):
        engine.client.call("DELETE", f"/containers/{made}")
    engine.client.call("DELETE", f"/containers/{made}", force=True)
    with fails(404):
        engine.inspect(made)
    assert not (engine.data_root / "containers" / made).exists()


def test_auto_remove_takes_the_container_and_its_anonymous_volumes(engine: Engine) -> None:
    made = engine.run("true", AutoRemove=True, Volumes={"/data": {}}, Binds=["kept:/kept"])
    until(lambda: made not in [shown["Id"] for shown in engine.containers()], "it is gone")
    until(lambda: [v["Name"] for v in engine.client.call("GET", "/volumes")["Volumes"]] == ["kept"], "the named one is left")
    made = engine.create("nothing-to-run", AutoRemove=True)
    with fails(400):
        engine.start_container(made)
    until(lambda: made not in [shown["Id"] for shown in engine.containers()], "also one that could not start")
    assert "never retrieved" not in engine.log.read_text()[engine.mark :]


def test_a_restart_does_not_auto_remove(engine: Engine) -> None:
    made = engine.run("sleep", "1000", AutoRemove=True)
    post(engine, made, "restart", t=0)
    assert engine.status(made)["Running"]


def test_two_removals_at_once_remove_once(engine: Engine) -> None:
    made = engine.run("sleep", "1000")

    def remove() -> int:
        return status_of(engine, "DELETE", f"/containers/{made}?force=1")

    with ThreadPoolExecutor(4) as pool:
        codes = sorted(found.result() for found in [pool.submit(remove) for _ in range(4)])
    assert codes[0] == 204
    assert set(codes) <= {204, 404, 409}
    assert "Traceback" not in engine.log.read_text()[engine.mark :]


@pytest.mark.parametrize("force", [0, 1])
def test_a_removal_that_meets_a_start_leaves_nothing_running_without_a_record(engine: Engine, force: int) -> None:
    for _ in range(5):
        made = engine.create("sleep", "1000")
        with ThreadPoolExecutor(2) as pool:
            starting = pool.submit(status_of, engine, "POST", f"/containers/{made}/start")
            removing = pool.submit(status_of, engine, "DELETE", f"/containers/{made}?force={force}")
            started, removed = starting.result(), removing.result()
        assert started in (204, 404, 409)
        assert removed in (204, 409)
        known = {shown["Id"][:12] for shown in engine.containers()}
        assert {file.name for file in (engine.exec_root / "m").iterdir()} <= known
        engine.empty()


# ---- names and lists


def test_a_container_is_found_by_name_id_and_the_beginning_of_an_id(engine: Engine) -> None:
    made = engine.create("true", name="finder")
    for name in ("finder", made, made[:12], made[:6]):
        assert engine.inspect(name)["Id"] == made
    with fails(404):
        engine.inspect("find")


def test_rename_moves_the_name_and_refuses_one_that_is_taken(engine: Engine) -> None:
    one, two = engine.run("sleep", "1000", name="one"), engine.create("true", name="two")
    with fails(409):
        post(engine, one, "rename", name="two")
    with fails(400):
        post(engine, one, "rename", name="a b")
    with fails(400):
        post(engine, one, "rename", name="one")
    post(engine, one, "rename", name="three")
    assert engine.inspect("three")["Id"] == one
    post(engine, two, "rename", name="one")
    assert engine.inspect("one")["Id"] == two
    with fails(409):
        engine.create("true", name="three")


def test_names_that_are_made_up_are_all_different(engine: Engine) -> None:
    made = [engine.create("true") for _ in range(12)]
    assert len({engine.inspect(container)["Name"] for container in made}) == 12


def test_lists_are_filtered(engine: Engine) -> None:
    engine.load("other", Labels={"from": "image"})
    up = engine.run(
        "sleep", "1000", name="up-1", Labels={"role": "web", "team": "a"}, Volumes={"/data": {}}, ExposedPorts={"80/tcp": {}}
    )
    ended = engine.run("sh", "-c", "exit 4", name="ended", Labels={"role": "db"})
    engine.wait(ended)
    waiting = engine.create("true", image="other", name="waiting")

    def listed(show_all: bool = True, **filters: list[str]) -> set[str]:
        return {shown["Id"] for shown in engine.client.call("GET", "/containers/json", all=show_all, filters=json.dumps(filters))}

    every = {up, ended, waiting}
    assert listed() == every
    assert listed(show_all=False) == {up}
    assert listed(status=["running"]) == {up}
    assert listed(status=["created", "exited"]) == {ended, waiting}
    assert listed(exited=["4"]) == {ended}
    assert listed(label=["role"]) == {up, ended}
    assert listed(label=["role=web"]) == {up}
    assert listed(label=["role=web", "team=a"]) == {up}
    assert listed(label=["role=web", "team=b"]) == set(), "all labels, as Docker does"
    assert listed(label=["from=image"]) == {waiting}
    assert listed(name=["up"]) == {up}
    assert listed(name=["^/?(up-1|waiting)$"]) == {up, waiting}
    assert listed(id=[up[:10]]) == {up}
    assert listed(ancestor=["busybox"]) == {up, ended}
    assert listed(ancestor=["other:latest"]) == {waiting}
    image = engine.inspect(waiting)["Image"]
    assert listed(ancestor=[image]) == listed(ancestor=[image[7:19]]) == {waiting}
    assert listed(ancestor=[f"busybox:{image[7:9]}"]) == set(), "a tag is no beginning of an id"
    assert listed(before=["waiting"]) == {up, ended}
    assert listed(since=["up-1"]) == {ended, waiting}
    assert listed(volume=["/data"]) == {up}
    assert listed(network=["bridge"]) == every
    assert listed(network=["nowhere"]) == set()
    assert listed(expose=["80"]) == {up}
    assert listed(health=["none"]) == every
    with fails(400):
        listed(colour=["red"])
    with fails(400):
        listed(status=["asleep"])
    with fails(400):
        engine.client.call("GET", "/containers/json", filters="[1")
    assert [shown["Id"] for shown in engine.client.call("GET", "/containers/json", limit=2)] == [waiting, ended], "newest first"


def test_a_list_shows_what_docker_ps_prints(engine: Engine) -> None:
    made = engine.run("sleep", "1000", name="shown", PortBindings={"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "0"}]})
    shown = next(shown for shown in engine.containers() if shown["Id"] == made)
    assert (shown["Names"], shown["Image"], shown["Command"], shown["State"]) == (["/shown"], "busybox", "sleep 1000", "running")
    assert shown["Status"].startswith("Up ")
    (port,) = shown["Ports"]
    assert (port["IP"], port["PrivatePort"], port["Type"]) == ("127.0.0.1", 80, "tcp")
    assert port["PublicPort"] > 1024


def test_programs_that_end_at_once_leave_nothing(engine: Engine) -> None:
    """The end may be heard before the start has been seen through."""
    ports = {"80/tcp": [{"HostIp": "", "HostPort": "0"}]}
    check = {"Test": ["CMD", "true"], "Interval": 5_000_000}

    def run(_: int) -> str:
        return engine.run("true", PortBindings=ports, Healthcheck=check)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(run, range(40)))
    for container in made:
        assert engine.wait(container) == 0
    assert list((engine.exec_root / "c").iterdir()) == []
    assert list((engine.exec_root / "m").iterdir()) == []
    assert {engine.status(container)["Status"] for container in made} == {"exited"}
    assert {engine.status(container)["Pid"] for container in made} == {0}
    rules = engine.inside("nft", "list", "table", "ip", f"gitopsd-{engine.instance}", check=False)
    assert "dnat to" not in rules.replace("dnat to tcp dport map", "") or "elements" not in rules.partition("map ports")[2][:400]
    assert "Traceback" not in engine.log.read_text()[engine.mark :]
    engine.restart()
    assert {engine.inspect(container)["RestartCount"] for container in made} == {0}


def test_a_client_older_than_1_25_removes_by_itself_what_it_ran_with_rm(engine: Engine) -> None:
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"AutoRemove": True}}
    kept, removed = (engine.call("POST", f"/v{version}/containers/create", body).body["Id"] for version in ("1.24", "1.25"))
    found = {made: engine.call("GET", f"/containers/{made}/json").body["HostConfig"]["AutoRemove"] for made in (kept, removed)}
    assert found == {kept: False, removed: True}


def test_an_end_is_taken_once(engine: Engine) -> None:
    """The monitor says how it ended, and then it is gone, often while the first is still worked on."""
    for _ in range(60):
        made = engine.create("true")
        filters = urllib.parse.quote(json.dumps({"type": ["container"], "container": [made]}))
        connection = UnixConnection(str(engine.socket), 10)
        connection.request("GET", f"/v1.24/events?filters={filters}")
        events = connection.getresponse()
        engine.client.call("POST", f"/containers/{made}/start")
        engine.wait(made)
        time.sleep(0.02)
        engine.client.call("DELETE", f"/containers/{made}")
        assert [json.loads(line)["status"] for line in events.read().splitlines()] == ["die", "destroy"]
        connection.close()
