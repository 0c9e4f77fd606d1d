"""From a commit to containers on two hosts, over SSH, with the real engine: the commands as people type them, and what goes wrong."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitopsd.hosts.bodies import update_body
from gitopsd.lab import Lab
from gitopsd.model.desired import ContainerSpec, ImageChoice
from tests.hosts.line import BLOG, SHOP, Line, fetch, wait_for

pytestmark = [pytest.mark.host, pytest.mark.timeout(400)]
UP = {"shop-web-1": "running", "shop-store-1": "running"}


@pytest.fixture(scope="module")
def line(lab: Lab, lab_dir: Path) -> Iterator[Line]:
    made = Line(lab, lab_dir)
    yield made
    made.close()


@pytest.fixture
def settled(line: Line) -> Line:
    """The line with its first stack on both hosts, whatever a test before did."""
    line.commit("as it was", **{"web/site/version": "1", "stacks/blog.yaml": BLOG})
    line.sync("--allow", "mass-removal")
    for name in line.names:
        assert line.containers(name) == UP
    return line


def test_validate_render_plan_apply_status_and_drift(line: Line) -> None:
    assert line.gitopsd("validate").returncode == 0
    assert "image: busybox:stable" in line.gitopsd("render", "shop").stdout
    planned = line.gitopsd("plan", "-o", str(line.state / "first.plan"))
    assert planned.returncode == 2, planned.stderr
    assert "+ container shop-web-1 on lab-1, lab-2: new" in planned.stdout
    applied = line.gitopsd("apply", str(line.state / "first.plan"))
    assert applied.returncode == 0, applied.stdout + applied.stderr
    again = line.gitopsd("plan")
    assert again.returncode == 0, again.stdout
    assert "Nothing to do" in again.stdout
    status = line.gitopsd("status")
    assert status.returncode == 0, status.stdout
    assert status.stdout.count("Healthy") == 5
    assert line.gitopsd("drift").stdout == "No drift.\n"
    assert [fetch(line.address(name)) for name in line.names] == ["1", "1"]
    history = json.loads(line.gitopsd("history", "--json").stdout)["syncs"]
    assert [sync["result"] for sync in history] == ["succeeded"]
    stale = line.gitopsd("apply", str(line.state / "first.plan"))
    assert stale.returncode == 1
    assert "plan-stale" in stale.stderr


def test_planning_a_branch_says_what_will_happen_and_changes_nothing(settled: Line) -> None:
    settled.upstream.git("checkout", "--quiet", "-B", "next")
    settled.commit("next", **{"web/site/version": "2"})
    settled.upstream.git("checkout", "--quiet", "main")
    before = settled.etags()
    done = settled.gitopsd("plan", "--revision", "next")
    assert done.returncode == 2
    assert "~ container shop-web-1 on lab-1, lab-2: replaced, the new one first; image changed" in done.stdout
    assert settled.etags() == before


def test_looking_starts_nothing_and_says_the_same_without_the_registry(settled: Line) -> None:
    def registry() -> str:
        return json.loads(settled.gitopsd("registry", "status", "--json").stdout)["registry"]

    assert settled.gitopsd("registry", "stop").returncode == 0
    assert settled.is_settled(), "the images are in the registry's folder"
    assert settled.gitopsd("status").returncode == 0
    assert settled.gitopsd("drift").stdout == "No drift.\n"
    settled.commit("next", **{"web/site/version": "stopped"})
    done = settled.gitopsd("plan")
    assert "* image shop/web: built from web" in done.stdout
    assert registry() == "not running"
    settled.sync()
    assert registry() == "running"
    assert fetch(settled.address("lab-1")) == "stopped"


def test_a_change_replaces_only_web_and_no_fetch_fails_meanwhile(settled: Line) -> None:
    store = settled.api("lab-1").container("shop-store-1")["Id"]
    ending = threading.Event()
    fetched: list[str] = []
    failed: list[str] = []

    def client(name: str) -> None:
        while not ending.is_set():
            try:
                fetched.append(fetch(settled.address(name)))
            except (OSError, AssertionError) as error:
                failed.append(repr(error))

    clients = [threading.Thread(target=client, args=(name,)) for name in settled.names]
    for thread in clients:
        thread.start()
    settled.commit("version 2", **{"web/site/version": "2"})
    settled.sync()
    ending.set()
    for thread in clients:
        thread.join()
    assert failed == []
    assert {"1", "2"} <= set(fetched)
    assert settled.api("lab-1").container("shop-store-1")["Id"] == store
    assert settled.is_settled()


def test_what_is_not_committed_is_planned_and_not_applied(settled: Line) -> None:
    (settled.upstream.path / "web/site/version").write_text("not yet")
    planned = settled.gitopsd("plan", "--revision", "-", "-o", str(settled.state / "folder.plan"))
    assert planned.returncode == 2, planned.stderr
    assert "shop-web-1 on lab-1, lab-2: replaced" in planned.stdout
    applied = settled.gitopsd("apply", str(settled.state / "folder.plan"))
    assert applied.returncode == 1
    assert "not-committed" in applied.stderr


def test_apply_without_a_plan_shows_it_and_asks(settled: Line) -> None:
    settled.commit("version 9", **{"web/site/version": "9"})
    done = settled.gitopsd("apply")
    assert done.returncode == 1
    assert "2 to replace" in done.stdout
    assert fetch(settled.address("lab-1")) == "1"
    assert settled.gitopsd("apply", "--yes").returncode == 0
    assert fetch(settled.address("lab-1")) == "9"


def test_who_writes_to_a_volume_is_stopped_before_the_next_one_starts(settled: Line) -> None:
    store = SHOP.replace("echo kept >>", "echo again >>")
    settled.commit("another store", **{"stacks/shop.yaml": store})
    assert "~ container shop-store-1 on lab-1, lab-2: replaced, with a gap; command changed" in settled.gitopsd("plan").stdout
    settled.sync()
    assert settled.is_settled()
    api = settled.api("lab-1")
    assert api.execute("shop-store-1", ["cat", "/data/log"])[1].decode().split()[-1] == "again"
    assert "kept" in api.execute("shop-store-1", ["cat", "/data/log"])[1].decode()
    old = api.container("shop-store-1")["Id"]
    settled.commit("a store that ends", **{"stacks/shop.yaml": store.replace("exec sleep 1000000", "exit 4")})
    done = settled.gitopsd("sync")
    assert done.returncode == 1
    assert "exited with code 4" in done.stdout
    assert api.container("shop-store-1")["Id"] == old, "the one from before runs again"
    assert api.container("shop-store-1")["State"]["Running"]
    api.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_apply_that_is_told_to_end_in_the_middle_of_a_stop_leaves_the_service_up(
    settled: Line, number: signal.Signals, code: int
) -> None:
    deaf = SHOP.replace('exec sleep 1000000"]', "trap '' TERM; while :; do sleep 1; done\"]").replace(
        '    volumes: ["data:/data"]\n    networks: [shop]\n    mem_limit: 64m\n    stop_grace_period: 1s\n',
        '    volumes: ["data:/data"]\n    networks: [shop]\n    mem_limit: 64m\n    stop_grace_period: 6s\n',
    )
    assert deaf.count("6s") == 1
    settled.commit("deaf", **{"stacks/shop.yaml": deaf})
    settled.sync()
    before = settled.api("lab-1").container("shop-store-1")["Id"]
    settled.commit("deaf and new", **{"stacks/shop.yaml": deaf.replace("echo kept", "echo kept too")})
    said: list[str] = []
    with settled.start("apply", "-y") as running:
        assert running.stdout is not None
        for line in running.stdout:
            said.append(line)
            if "lab-1  stop container shop-store-1" in line:
                break
        running.send_signal(number)
        said += list(running.stdout)
    assert running.returncode == code, "".join(said)
    assert settled.containers("lab-1") == UP, "".join(said)
    assert settled.containers("lab-2") == UP
    assert settled.api("lab-1").container("shop-store-1")["Id"] == before
    text = "".join(said)
    assert "container shop-store-1 on lab-1: taken back, the one before runs" in text
    assert "to go on: gitopsd sync" in text
    newest = json.loads(settled.gitopsd("history", "--json").stdout)["syncs"][0]
    assert newest["result"] == "interrupted"
    assert newest["seconds"] > 1
    settled.sync()
    assert settled.is_settled()


def test_a_job_ends_before_what_waits_for_it_starts_and_is_not_run_again(settled: Line) -> None:
    job = """\
  migrate:
    image: busybox:stable
    command: [sh, -c, "sleep 1; echo ran >> /data/migrations"]
    volumes: ["data:/data"]
    networks: [shop]
    deploy: {mode: global}
"""
    waits = SHOP.replace("depends_on: [store]", "depends_on: {migrate: {condition: service_completed_successfully}}")
    waits = waits.replace("    mem_limit: 64m\n    healthcheck", "    mem_limit: 64m\n    environment: {A: b}\n    healthcheck")
    settled.commit("a job", **{"stacks/shop.yaml": waits.replace("networks: {shop: {}}", job + "networks: {shop: {}}")})
    settled.sync()
    assert settled.containers("lab-1") == {**UP, "shop-migrate-1": "exited"}
    assert settled.is_settled()
    settled.sync()
    api = settled.api("lab-1")
    assert api.execute("shop-store-1", ["cat", "/data/migrations"])[1] == b"ran\n"
    api.close()


def test_a_revert_is_not_built_again(settled: Line) -> None:
    settled.commit("version 3", **{"web/site/version": "3"})
    settled.sync()
    settled.upstream.git("revert", "--no-edit", "HEAD")
    assert settled.plan()["builds"] == []
    settled.sync()
    assert fetch(settled.address("lab-2")) == "1"


def test_drift_is_named_by_field_and_healed(settled: Line) -> None:
    api = settled.api("lab-1")
    api.stop("shop-store-1", 1)
    api.disconnect("shop_shop", "shop-web-1")
    api.update("shop-web-1", update_body(ContainerSpec("", ImageChoice(""), memory_bytes=256 << 20)))
    api.close()
    done = settled.gitopsd("drift")
    assert done.returncode == 2
    fields = {tuple(row.split()[:4]) for row in done.stdout.splitlines()[1:]}
    assert {
        ("lab-1", "container", "shop-web-1", "networks.shop_shop"),
        ("lab-1", "container", "shop-web-1", "mem_limit"),
    } <= fields
    assert "shop-store-1" in done.stdout
    settled.sync()
    assert settled.gitopsd("drift").stdout == "No drift.\n"
    assert settled.containers("lab-1") == UP


def test_a_stack_that_is_removed_goes_and_its_volume_stays(settled: Line) -> None:
    files = {"gitopsd.yaml": settled.fleet(("blog", "shop"))}
    settled.commit("a blog", **files)
    settled.sync()
    assert settled.containers("lab-2")["blog-blog-1"] == "running"
    settled.commit("no blog")
    said = settled.gitopsd("plan").stdout
    assert "- container blog-blog-1 on lab-1, lab-2: removed from Git" in said
    assert "volume blog_posts on lab-1, lab-2: kept with all data" in said
    settled.sync()
    assert settled.containers("lab-2") == UP
    assert "blog_posts" in [volume["Name"] for volume in settled.api("lab-2").volumes()]
    assert settled.is_settled()


def test_a_broken_stack_file_holds_that_stack_and_no_other(settled: Line) -> None:
    files = {"gitopsd.yaml": settled.fleet(("blog", "shop")), "stacks/shop.yaml": SHOP.replace("deploy:", "depoly:")}
    settled.commit("slip", **files)
    done = settled.sync(ends=3)
    assert "blocked  stack shop" in done.stderr
    assert settled.containers("lab-1") == {**UP, "blog-blog-1": "running"}


def test_a_version_that_is_not_well_is_taken_back_and_said_why(settled: Line) -> None:
    settled.commit("broken", **{"stacks/shop.yaml": SHOP.replace("/version", "/nosuch")})
    done = settled.gitopsd("sync")
    assert done.returncode == 1
    assert "not-healthy" in done.stdout
    assert "its last health check ended with 1" in done.stdout
    for name in settled.names:
        assert settled.containers(name)["shop-web-1"] == "running"
        assert fetch(settled.address(name)) == "1"
    status = settled.gitopsd("status")
    assert "failed at this commit" in status.stdout


def test_a_host_that_does_not_answer_is_unknown_the_other_goes_on_and_it_catches_up(settled: Line) -> None:
    settled.signal("lab-2", "sshd", "STOP")
    try:
        settled.commit("version 4", **{"web/site/version": "4"})
        done = settled.sync(ends=3)
        assert "unknown  host lab-2" in done.stderr
        assert fetch(settled.address("lab-1")) == "4"
        assert fetch(settled.address("lab-2")) == "1"
        assert "Unknown" in settled.gitopsd("status").stdout
    finally:
        settled.signal("lab-2", "sshd", "CONT")
    settled.sync()
    assert fetch(settled.address("lab-2")) == "4"
    assert settled.is_settled()


def test_a_host_that_left_the_fleet_is_named_loses_nothing_to_a_slip_and_can_be_removed(settled: Line) -> None:
    fleet = settled.fleet()
    without = "".join(line for line in fleet.splitlines(keepends=True) if not line.startswith("  lab-2:"))
    settled.commit("without lab-2", **{"gitopsd.yaml": without})
    settled.sync()
    settled.commit("lab-2 again, with a slip", **{"stacks/shop.yaml": f"{SHOP}foo: bar\n"})
    done = settled.gitopsd("plan")
    assert done.returncode == 3
    assert "- container" not in done.stdout
    assert settled.sync(ends=3).stdout.startswith("nothing can be done now: 1 stack is blocked")
    assert settled.containers("lab-2") == UP

    settled.commit("without lab-2", **{"gitopsd.yaml": without})
    said = "host lab-2 left the fleet; 2 containers keep running there; to remove all of it: gitopsd host remove lab-2"
    assert said in settled.gitopsd("plan").stdout
    done = settled.gitopsd("host", "remove", "lab-2", "--delete-volumes")
    assert (done.returncode, done.stdout) == (0, "lab-2: nothing of the engine is left\n"), done.stderr
    assert "left the fleet" not in settled.gitopsd("plan").stdout


def test_a_host_with_another_key_is_not_spoken_to(settled: Line) -> None:
    before = settled.etags()
    wrong = settled.lab.host("lab-1").host_key
    settled.commit("wrong key", **{"gitopsd.yaml": settled.fleet(keys={"lab-2": wrong}), "web/site/version": "5"})
    done = settled.sync(ends=3)
    assert "stopped  host lab-2: host-key" in done.stderr, done.stderr
    assert fetch(settled.address("lab-1")) == "5"
    assert settled.etags()[1] == before[1]


def test_the_engines_daemon_may_die_in_the_middle(settled: Line) -> None:
    settled.commit("version 6", **{"web/site/version": "6"})
    running = settled.start("sync")
    assert running.stdout is not None
    said: list[str] = []
    for text in running.stdout:
        said.append(text)
        if "create container shop-web-1" in text:
            settled.execute("lab-1", "sh", "-c", "kill -9 $(cat /run/gitopsd-engine/engine.pid)")
            break
    said += running.stdout.readlines()
    assert running.wait(120) == 0, "".join(said)
    running.stdout.close()
    assert [fetch(settled.address(name)) for name in settled.names] == ["6", "6"]
    assert settled.is_settled()


def test_a_controller_killed_after_any_step_leaves_what_the_next_sync_finishes(settled: Line) -> None:
    kills = 0
    while True:
        version = str(100 + kills)
        files = {"stacks/shop.yaml": SHOP.replace("    ports:", f"    environment: {{ROUND: '{version}'}}\n    ports:")}
        settled.commit(f"round {version}", **files)
        running = settled.start("sync")
        assert running.stdout is not None
        ended = 0
        for text in running.stdout:
            ended += " s)" in text  # a step's line ends with how long it took
            if ended > kills:
                running.send_signal(signal.SIGKILL)
                break
        running.stdout.read()
        running.stdout.close()
        code = running.wait(120)
        for name in settled.names:
            assert fetch(settled.address(name)) == "1", "whatever happens, somebody answers"
        settled.sync()
        assert settled.is_settled()
        for name in settled.names:
            assert settled.containers(name) == UP
        if code == 0:
            assert kills >= 12
            return
        kills += 1


def test_serve_notices_heals_and_ends_when_told_to(settled: Line) -> None:
    running = settled.start("serve")
    assert running.stdout is not None
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(running.stdout or ()))
    reader.start()
    try:
        wait_for(lambda: any("watching" in text for text in said), "the start")
        settled.commit("version 7", **{"web/site/version": "7"})
        wait_for(lambda: "7" in _versions(settled), "the new version")
        wait_for(lambda: any("succeeded in" in text for text in said), "the end of the sync")
        settled.api("lab-2").stop("shop-store-1", 1)
        wait_for(lambda: settled.containers("lab-2") == UP, "healing")
        asked = settled.gitopsd("sync")
        assert asked.returncode == 0, asked.stderr
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0, "".join(said)
        reader.join()
        running.stdout.close()
    assert any("container shop-store-1 on lab-2: started; stopped" in text for text in said)


def _versions(line: Line) -> set[str]:
    try:
        return {fetch(line.address(name)) for name in line.names}
    except OSError:
        return set()


def test_a_sync_with_nothing_to_do_asks_each_host_once_and_is_quick(settled: Line) -> None:
    began = time.monotonic()
    assert settled.sync().stdout == "nothing to do\n"
    assert time.monotonic() - began < 15
