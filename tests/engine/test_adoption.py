"""The daemon is killed in every state of a container, and the next one finds everything: nothing lost, doubled, stuck or orphaned."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gitopsd.engine.kernel import files
from tests.engine.archives import a_layer
from tests.engine.running import Engine, fails, is_alive, until

pytestmark = pytest.mark.host

SEED = int(os.environ.get("GITOPSD_TEST_SEED", time.time_ns() % 100_000))
STRIDE = int(os.environ.get("GITOPSD_TEST_STRIDE", "4"))
"""Of the steps at which the daemon is killed every so many are tried, from a random one on; 1 tries all (a few minutes)."""


def steps(most: int) -> range:
    return range(1 + SEED % STRIDE, most, STRIDE)


def served(word: str) -> list[str]:
    """A program that answers each connection with a word."""
    script = f"mkdir -p /www && echo -n {word} > /www/index.html && exec httpd -f -p 80 -h /www"
    return ["sh", "-c", script]


def answers(engine: Engine, port: int) -> str:
    return engine.fetch(port, request=b"GET / HTTP/1.0\r\n\r\n").decode().rpartition("\r\n\r\n")[2]


PORT = {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}


def post(engine: Engine, container: str, verb: str, **query: object) -> None:
    engine.client.call("POST", f"/containers/{container}/{verb}", **query)


@contextlib.contextmanager
def in_background(work: Any) -> Iterator[threading.Thread]:
    """Do something that the daemon's end may break off."""

    def attempt() -> None:
        with contextlib.suppress(Exception):
            work()

    thread = threading.Thread(target=attempt)
    thread.start()
    yield thread
    thread.join(30)
    assert not thread.is_alive()


# ---- states


def test_a_created_container_is_still_there_and_can_be_started(own: Engine) -> None:
    made = own.create("sleep", "1000", name="made", Binds=["data:/data"], PortBindings=PORT)
    before = own.inspect(made)
    own.restart(hard=True)
    assert own.inspect("made") == before
    own.start_container(made)
    assert own.status(made)["Running"]


def test_a_running_container_does_not_notice(own: Engine) -> None:
    made = own.run(*served("hello"), PortBindings=PORT, Healthcheck={"Test": ["CMD", "true"], "Interval": 20_000_000})
    until(lambda: own.status(made)["Health"]["Status"] == "healthy", "it is healthy")
    before = own.inspect(made)
    own.restart(hard=True)
    after = own.inspect(made)
    for shown in (before, after):
        shown["State"]["Health"].pop("Log")
        shown.pop("ExecIDs")
    assert after == before
    assert answers(own, 8080) == "hello"
    assert own.execute(made, "echo", "still").out == "still\n"
    log = own.status(made)["Health"]["Log"][-1]["End"]
    until(lambda: own.status(made)["Health"]["Log"][-1]["End"] > log, "checks go on")
    post(own, made, "stop", t=0)
    assert own.status(made)["ExitCode"] == 137


def test_output_goes_on_while_no_daemon_is_there_and_nothing_is_lost(own: Engine) -> None:
    made = own.run("sh", "-c", "i=0; while [ ! -e /end ]; do echo $i; i=$((i+1)); done; echo $i", OpenStdin=True)
    until(lambda: own.raw_logs(made, tail=1), "it writes")
    own.kill()
    folder = own.data_root / "containers" / made / "log"
    size = sum(file.stat().st_size for file in folder.iterdir())
    until(lambda: sum(file.stat().st_size for file in folder.iterdir()) > size + 10_000, "it goes on writing")
    own.start()
    own.execute(made, "touch", "/end")
    own.wait(made)
    numbers = [int(line) for line in own.logs(made).split()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("code", [0, 7, 137])
def test_an_end_that_no_daemon_saw_is_known_exactly(own: Engine, code: int) -> None:
    made = own.run("sh", "-c", f"while [ ! -e /v/go ]; do sleep 0.01; done; exit {code}", Binds=[f"{own.folder}:/v"])
    pid = own.status(made)["Pid"]
    own.kill()
    (own.folder / "go").touch()
    until(lambda: not is_alive(pid), "it has ended")
    own.start()
    shown = own.status(made)
    assert (shown["Status"], shown["ExitCode"], shown["Pid"], shown["Error"]) == ("exited", code, 0, "")
    assert shown["FinishedAt"] > shown["StartedAt"]
    assert list((own.exec_root / "c").iterdir()) == []


def test_a_container_killed_for_memory_while_no_daemon_was_there_says_so(own: Engine) -> None:
    eat = "while [ ! -e /v/go ]; do sleep 0.01; done; x=0123456789abcdef; while true; do x=$x$x; done"
    made = own.run("sh", "-c", eat, Binds=[f"{own.folder}:/v"], Memory=16 << 20)
    pid = own.status(made)["Pid"]
    own.kill()
    (own.folder / "go").touch()
    until(lambda: not is_alive(pid), "it has ended")
    own.start()
    assert (own.status(made)["OOMKilled"], own.status(made)["ExitCode"]) == (True, 137)


@pytest.mark.parametrize(("policy", "code", "restarts"), [
    ({"Name": "always"}, 0, True), ({"Name": "unless-stopped"}, 3, True), ({"Name": "on-failure"}, 3, True),
    ({"Name": "on-failure"}, 0, False), ({"Name": "no"}, 3, False), ({"Name": "on-failure", "MaximumRetryCount": 1}, 3, True),
])  # fmt: skip
def test_the_restart_policy_is_applied_to_an_end_that_no_daemon_saw(
    own: Engine, policy: dict[str, Any], code: int, restarts: bool
) -> None:
    script = f"echo run; while [ ! -e /v/go ]; do sleep 0.01; done; rm /v/go; exit {code}"
    made = own.run("sh", "-c", script, Binds=[f"{own.folder}:/v"], RestartPolicy=policy)
    pid = own.status(made)["Pid"]
    own.kill()
    (own.folder / "go").touch()
    until(lambda: not is_alive(pid), "it has ended")
    own.start()
    if restarts:
        until(lambda: own.logs(made) == "run\nrun\n", "it runs again")
        assert own.inspect(made)["RestartCount"] == 1
    else:
        assert (own.status(made)["Status"], own.status(made)["ExitCode"]) == ("exited", code)


def test_a_container_that_waits_for_its_restart_goes_on_and_keeps_count(own: Engine) -> None:
    made = own.run("sh", "-c", "echo run; exit 1", RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 5})
    until(lambda: own.inspect(made)["RestartCount"] == 3 and own.status(made)["Restarting"], "it waits")
    own.restart(hard=True)
    until(lambda: own.status(made)["Status"] == "exited", "it gives up")
    assert own.logs(made).count("run") == 6
    assert own.inspect(made)["RestartCount"] == 5


@pytest.mark.parametrize("script", ["exit 1", "[ -e /once ] && exit 0; touch /once; exit 1"])
def test_a_container_whose_policy_is_done_stays_ended(own: Engine, script: str) -> None:
    made = own.run("sh", "-c", f"echo run; {script}", RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 2})
    until(lambda: own.status(made)["Status"] == "exited", "it has ended for good")
    before = own.logs(made)
    for _ in range(2):
        own.restart(hard=True)
    time.sleep(0.3)  # longer than its next pause
    assert own.status(made)["Status"] == "exited"
    assert own.logs(made) == before


def test_what_a_person_stopped_stays_stopped_whatever_its_policy(own: Engine) -> None:
    made = own.run("sleep", "1000", RestartPolicy={"Name": "always"})
    post(own, made, "stop", t=0)
    own.restart(hard=True)
    time.sleep(0.3)
    assert own.status(made)["Status"] == "exited"


def test_a_container_that_is_being_stopped_can_be_stopped_again_and_is_not_restarted(own: Engine) -> None:
    script = "trap '' TERM; echo ready; while [ ! -e /end ]; do sleep 0.01; done"
    made = own.run("sh", "-c", script, RestartPolicy={"Name": "always"})
    until(lambda: "ready" in own.logs(made), "it ignores the signal")
    with in_background(lambda: post(own, made, "stop", t=60)):
        until(lambda: own.record(made)["should_run"] is False, "the stop is asked for")
        own.kill()
    own.start()
    assert own.status(made)["Running"]
    own.execute(made, "touch", "/end")
    until(lambda: own.status(made)["Status"] == "exited", "it ends")
    time.sleep(0.3)
    assert own.status(made)["Status"] == "exited", "a person asked for its end"


def test_an_auto_removed_container_goes_when_its_end_is_found(own: Engine) -> None:
    made = own.run(
        "sh",
        "-c",
        "while [ ! -e /v/go ]; do sleep 0.01; done",
        Binds=[f"{own.folder}:/v"],
        Volumes={"/anon": {}},
        AutoRemove=True,
    )
    pid = own.status(made)["Pid"]
    own.kill()
    (own.folder / "go").touch()
    until(lambda: not is_alive(pid), "it has ended")
    own.start()
    until(lambda: own.containers() == [], "it is gone")
    until(lambda: own.client.call("GET", "/volumes")["Volumes"] == [], "with its volume")


# ---- what lies between states: the daemon dies at each step


class Steps:
    """Changes of files below some folders, as they happen. What the daemon does shows there."""

    def __init__(self, *folders: Path) -> None:
        self._descriptor = files.inotify()
        for top in folders:
            for folder, _, _ in os.walk(top):
                with contextlib.suppress(FileNotFoundError):
                    mask = files.IN_CREATE | files.IN_CLOSE_WRITE | files.IN_MOVED_TO | files.IN_DELETE
                    files.inotify_watch(self._descriptor, folder, mask)

    def wait(self, number: int, still: Any) -> bool:
        """True when so many have happened; False when `still` has ended before."""
        seen = 0
        while seen < number:
            if select.select([self._descriptor], [], [], 0.005)[0]:
                data = os.read(self._descriptor, 65536)
                offset = 0
                while offset < len(data):
                    offset += 16 + struct.unpack_from("iIII", data, offset)[3]
                    seen += 1
            elif not still.is_alive():
                return False
        return True

    def close(self) -> None:
        os.close(self._descriptor)


def dies_at(engine: Engine, number: int, work: Any) -> bool:
    """Do something, and kill the daemon after so many of its steps; False when it was done before. Then start it again."""
    steps = Steps(engine.data_root / "containers", engine.data_root / "volumes", engine.exec_root / "c", engine.exec_root / "m")
    try:
        with in_background(work) as thread:
            in_time = steps.wait(number, thread)
            engine.kill()
    finally:
        steps.close()
    engine.start()
    return in_time


def is_whole(engine: Engine, container: str) -> None:
    """What the API says of a container, what is on disk and what the kernel has agree."""
    shown = engine.inspect(container)
    monitors = {file.name for file in (engine.exec_root / "m").iterdir()}
    folders = [str(folder) for folder in Path("/sys/fs/cgroup/pids").glob(f"gitopsd-{engine.instance}/{container[:12]}")]
    if shown["State"]["Running"] and not shown["State"]["Restarting"]:
        assert is_alive(shown["State"]["Pid"])
        assert monitors == {container[:12]}
        assert engine.execute(container, "echo", "in").out == "in\n"
    else:
        assert shown["State"]["Pid"] == 0
        assert monitors == set()
        assert folders == []


def processes(engine: Engine, words: str) -> int:
    return sum(words in found for found in engine.keeper.below().values())


def test_a_start_that_is_broken_off_at_any_step_is_done_once(own: Engine) -> None:
    made = own.create("sh", "-c", "echo run >> /runs; exec sleep 4321", PortBindings=PORT, Volumes={"/data": {}})
    broken = 0
    for number in steps(40):
        in_time = dies_at(own, number, lambda: own.start_container(made))
        broken += in_time
        try:
            until(
                lambda: own.status(made)["Running"] or not own.record(made)["should_run"],
                "it runs, or was not asked to",
                timeout_s=10,
            )
            is_whole(own, made)
            assert processes(own, "sleep 4321") == own.status(made)["Running"], "once"
        except AssertionError as error:
            raise AssertionError(f"at step {number}: {error}") from error
        post(own, made, "stop", t=0)
        if not in_time:
            break
    assert 1 < broken < 39


def test_a_stop_that_is_broken_off_at_any_step_leaves_it_running_or_ended(own: Engine) -> None:
    made = own.create("sleep", "4321", PortBindings=PORT, RestartPolicy={"Name": "always"})
    broken = 0
    for number in steps(20):
        own.start_container(made)
        in_time = dies_at(own, number, lambda: post(own, made, "stop", t=0))
        broken += in_time
        is_whole(own, made)
        if own.status(made)["Running"]:
            post(own, made, "stop", t=0)
        time.sleep(0.15)
        assert own.status(made)["Status"] == "exited", f"at step {number}: its policy has no say any more"
        if not in_time:
            break
    assert 0 < broken < 19


def test_a_restart_that_is_broken_off_at_any_step_ends_running(own: Engine) -> None:
    made = own.run("sleep", "4321", PortBindings=PORT)
    for number in steps(40):
        in_time = dies_at(own, number, lambda: post(own, made, "restart", t=0))
        try:
            until(lambda: own.status(made)["Running"], "it runs", timeout_s=10)
            is_whole(own, made)
            assert processes(own, "sleep 4321") == 1
        except AssertionError as error:
            raise AssertionError(f"at step {number}: {error}") from error
        if not in_time:
            break
    else:
        raise AssertionError("never done")


def test_a_crash_loop_survives_a_daemon_that_dies_at_any_step_of_it(own: Engine) -> None:
    for number in steps(16):
        made = own.run("sh", "-c", "exit 1", RestartPolicy={"Name": "always"})
        dies_at(own, number, lambda: time.sleep(2))
        count = own.inspect(made)["RestartCount"]
        until(
            lambda made=made, count=count: own.inspect(made)["RestartCount"] > count, f"it is started again after step {number}"
        )
        own.remove(made)


def test_a_removal_that_is_broken_off_is_done_or_has_not_begun(own: Engine) -> None:
    for number in steps(14):
        made = own.run("sleep", "4321", Volumes={"/data": {}})
        in_time = dies_at(own, number, lambda made=made: own.remove(made))
        if made in [shown["Id"] for shown in own.containers()]:
            is_whole(own, made)
            own.remove(made)
        assert own.containers() == []
        assert os.listdir(own.data_root / "containers") == []
        if not in_time:
            break
    assert processes(own, "sleep 4321") == 0


def test_a_create_that_is_broken_off_is_there_whole_or_not_at_all(own: Engine) -> None:
    for number in steps(12):
        in_time = dies_at(own, number, lambda: own.create("sleep", "4321", name="half"))
        for shown in own.containers():
            own.start_container(shown["Id"])
            is_whole(own, shown["Id"])
            own.remove(shown["Id"])
        assert os.listdir(own.data_root / "containers") == []
        if not in_time:
            break


def test_a_copy_into_a_fresh_volume_that_is_broken_off_is_whole_the_next_time(own: Engine) -> None:
    image = own.load("seed", a_layer({"data": None, **{f"data/{number}": b"x" * 2000 for number in range(300)}}))
    for number in steps(30):
        name = f"volume-{number}"
        made = own.create("sh", "-c", "ls /data | wc -l; exec sleep 1000", image=image, Binds=[f"{name}:/data"])
        in_time = dies_at(own, number, lambda made=made: own.start_container(made))
        until(lambda made=made: own.status(made)["Running"] or not own.record(made)["should_run"], "it runs, or was not asked to")
        if not own.status(made)["Running"]:
            own.start_container(made)
        until(lambda made=made: own.logs(made), "it has counted")
        assert set(own.logs(made).split()) == {"300"}
        assert sorted(os.listdir(own.data_root / "volumes" / name)) == ["_data", "volume.json"]
        own.remove(made)
        if not in_time:
            break


# ---- what others see meanwhile


def test_a_published_port_answers_all_the_time(own: Engine) -> None:
    made = own.run(*served("here"), PortBindings=PORT)
    until(lambda: _quietly(lambda: answers(own, 8080)) == "here", "it answers")
    wrong: list[str] = []
    done = threading.Event()
    asked = 0

    def ask() -> None:
        nonlocal asked
        while not done.is_set():
            try:
                if answers(own, 8080) != "here":
                    wrong.append("another answer")
            except OSError as error:
                wrong.append(str(error))
            asked += 1

    thread = threading.Thread(target=ask)
    thread.start()
    for _ in range(3):
        own.restart(hard=True)
    own.restart()
    done.set()
    thread.join()
    assert wrong == []
    assert asked > 50
    assert own.status(made)["Running"]


def _quietly(work: Any) -> Any:
    try:
        return work()
    except OSError:
        return None


def test_a_name_looked_up_while_no_daemon_is_there_waits_and_is_answered(own: Engine) -> None:
    own.client.call("POST", "/networks/create", {"Name": "back"})
    target = own.run("sleep", "1000", name="target", NetworkMode="back")
    asking = own.run(
        "sh",
        "-c",
        "while [ ! -e /go ]; do sleep 0.01; done; nslookup target > /found 2>&1; echo $? >> /found; sleep 1000",
        NetworkMode="back",
    )
    address = own.inspect(target)["NetworkSettings"]["Networks"]["back"]["IPAddress"]
    own.execute(asking, "touch", "/go-not-yet")
    upper = own.data_root / "containers" / asking / "upper"
    own.kill()
    pid = _pid_in(own, asking)
    Path(f"/proc/{pid}/root/go").touch()
    time.sleep(1)
    assert not (upper / "found").exists() or "can't resolve" not in (upper / "found").read_text()
    own.start()
    until(lambda: (upper / "found").exists() and (upper / "found").read_text().endswith("0\n"), "the look-up is answered")
    assert address in (upper / "found").read_text()


def _pid_in(engine: Engine, container: str) -> int:
    with engine.monitor(container) as monitor:
        return monitor.ask("hello")["pid"]


def test_networks_names_and_addresses_are_what_they_were(own: Engine) -> None:
    own.client.call("POST", "/networks/create", {"Name": "back"})
    own.run("sleep", "1000", name="one", NetworkMode="back", NetworkingConfig={"EndpointsConfig": {"back": {"Aliases": ["uno"]}}})
    two = own.run("sleep", "1000", name="two", NetworkMode="back")
    networks = own.client.call("GET", "/networks")
    own.restart(hard=True)
    assert own.client.call("GET", "/networks") == networks
    assert own.execute(two, "ping", "-c", "1", "-W", "2", "uno").code == 0
    three = own.run("sleep", "1000", name="three", NetworkMode="back")
    addresses = {own.inspect(name)["NetworkSettings"]["Networks"]["back"]["IPAddress"] for name in ("one", "two", "three")}
    assert len(addresses) == 3
    assert own.execute(three, "ping", "-c", "1", "-W", "2", "one").code == 0


def test_a_port_stays_taken_while_no_daemon_is_there(own: Engine) -> None:
    own.run("sleep", "1000", PortBindings=PORT)
    own.kill()

    def bind() -> None:
        with socket.socket() as sock:
            sock.bind(("0.0.0.0", 8080))

    with pytest.raises(OSError, match="in use"):
        own.keeper.inside(bind)
    own.start()
    with fails(409):
        own.run("sleep", "1000", PortBindings=PORT)


# ---- monitors that are lost


def test_a_killed_monitor_is_137_monitor_lost_and_its_processes_go(own: Engine) -> None:
    made = own.run("sh", "-c", "sleep 999 & sleep 1000")
    with own.monitor(made) as monitor:
        hello = monitor.ask("hello")
    os.kill(hello["monitor"], signal.SIGKILL)
    until(lambda: own.status(made)["Status"] == "exited", "its loss is seen")
    shown = own.status(made)
    assert (shown["ExitCode"], shown["Error"]) == (137, "monitor-lost")
    until(lambda: processes(own, "sleep 999") == 0, "its processes are gone")
    own.start_container(made)
    is_whole(own, made)


def test_a_first_process_that_changed_its_user_goes_with_its_monitor_too(own: Engine) -> None:
    """A program with the set-user-id bit outlives its parent: the kernel forgets the signal of the parent's death."""
    made = own.create(
        "sh", "-c", "cp /bin/busybox /bin/ping2; chmod 4755 /bin/ping2; rm /bin/ping; mv /bin/ping2 /bin/ping; touch /ready"
    )
    own.start_container(made)
    own.wait(made)
    with own.monitor(own.run("sleep", "1")) as monitor:
        monitor.ask("hello")
    # a run as another user of what is set-user-id now
    image_upper = own.data_root / "containers" / made / "upper"
    assert (image_upper / "bin/ping").stat().st_mode & 0o4000
    other = own.create("/bin/ping", "127.0.0.1", User="web", Binds=[f"{image_upper}/bin/ping:/bin/ping"])
    own.start_container(other)
    pid = own.status(other)["Pid"]
    with own.monitor(other) as monitor:
        os.kill(monitor.ask("hello")["monitor"], signal.SIGKILL)
    until(lambda: own.status(other)["Status"] == "exited", "its loss is seen")
    until(lambda: not is_alive(pid), "it is gone")


@pytest.mark.parametrize("policy", ["no", "always"])
def test_a_monitor_lost_while_no_daemon_is_there_is_found_out(own: Engine, policy: str) -> None:
    made = own.run("sleep", "4321", RestartPolicy={"Name": policy})
    with own.monitor(made) as monitor:
        hello = monitor.ask("hello")
    own.kill()
    os.kill(hello["monitor"], signal.SIGKILL)
    until(lambda: not is_alive(hello["pid"]), "the container has gone with it")
    own.start()
    if policy == "always":
        until(lambda: own.status(made)["Running"] and not own.status(made)["Restarting"], "it runs again")
        assert own.inspect(made)["RestartCount"] == 1
    else:
        shown = own.status(made)
        assert (shown["Status"], shown["ExitCode"], shown["Error"]) == ("exited", 137, "monitor-lost")
    is_whole(own, made)


def test_a_monitor_that_is_held_up_for_a_while_keeps_its_container(own: Engine) -> None:
    made = own.run("sleep", "1000")
    with own.monitor(made) as monitor:
        hello = monitor.ask("hello")
    own.kill()
    os.kill(hello["monitor"], signal.SIGSTOP)
    waking = threading.Timer(7, os.kill, [hello["monitor"], signal.SIGCONT])
    waking.start()
    own.start()
    waking.join()
    assert own.status(made)["Pid"] == hello["pid"]
    assert own.status(made)["Running"]


def test_a_lost_exit_record_is_never_a_success(own: Engine) -> None:
    made = own.run("sh", "-c", "while [ ! -e /v/go ]; do sleep 0.01; done; exit 0", Binds=[f"{own.folder}:/v"])
    pid = own.status(made)["Pid"]
    own.kill()
    (own.folder / "go").touch()
    until(lambda: not is_alive(pid), "it has ended")
    (own.data_root / "containers" / made / "exit.json").write_bytes(b'{"run": "')
    own.start()
    assert (own.status(made)["ExitCode"], own.status(made)["Error"]) == (137, "monitor-lost")


def test_an_older_exit_record_is_not_taken_for_this_runs(own: Engine) -> None:
    made = own.run("sh", "-c", "[ -e /once ] && exec sleep 1000; touch /once; exit 0")
    assert own.wait(made) == 0
    old = (own.data_root / "containers" / made / "exit.json").read_bytes()
    own.start_container(made)
    with own.monitor(made) as monitor:
        hello = monitor.ask("hello")
    own.kill()
    os.kill(hello["monitor"], signal.SIGKILL)
    until(lambda: not is_alive(hello["pid"]), "it has ended")
    assert (own.data_root / "containers" / made / "exit.json").read_bytes() == old
    own.start()
    assert own.status(made)["ExitCode"] == 137


# ---- roots


def test_a_second_daemon_on_the_same_data_root_refuses_and_the_first_goes_on(own: Engine) -> None:
    made = own.run("sleep", "1000")
    log = own.folder / "second.log"
    other = own.folder / "run2"
    code = own.keeper.ended(own.run_program([*own.words("daemon")[:-1], str(other)], log))
    assert code != 0
    assert "data-root-in-use" in log.read_text()
    assert "Traceback" not in log.read_text()
    code = own.keeper.ended(own.run_program(own.words("uninstall"), log))
    assert code != 0
    assert own.status(made)["Running"]


@pytest.mark.parametrize("version", ['{"layout": 2, "instance": "abcde"}', '{"layout": "1", "instance": "abcde"}', "{", "[]", '{"layout": 1}',
                                     '{"layout": 1, "instance": "../x"}'])  # fmt: skip
def test_a_data_root_of_another_layout_is_refused_and_not_touched(own: Engine, version: str) -> None:
    own.stop()
    before = (own.data_root / "VERSION").read_text()
    (own.data_root / "VERSION").write_text(version)
    files = sorted(str(path) for path in own.data_root.rglob("*"))
    log = own.folder / "refused.log"
    code = own.keeper.ended(own.run_program(own.words("daemon"), log))
    found = (own.data_root / "VERSION").read_text()
    (own.data_root / "VERSION").write_text(before)
    assert code != 0
    assert "error: data-root-version" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert found == version
    assert sorted(str(path) for path in own.data_root.rglob("*")) == files


def test_a_record_that_cannot_be_read_is_left_alone_and_the_others_work(own: Engine) -> None:
    bad, good = own.create("true", name="bad"), own.run("sleep", "1000", name="good")
    own.client.call("POST", "/volumes/create", {"Name": "torn"})
    own.kill()
    torn = [own.data_root / "containers" / bad / "config.json", own.data_root / "volumes/torn/volume.json"]
    for path in torn:
        path.write_bytes(path.read_bytes()[:20])
    own.start()
    assert [shown["Id"] for shown in own.containers()] == [good]
    assert own.status(good)["Running"]
    assert own.shell("echo works", Binds=["fresh:/v"]).out == "works\n"
    for path in torn:
        assert path.exists()
        assert path.parent.name in own.log.read_text()


@pytest.mark.parametrize("name", ["images.json", "layers.json", "fleet.json", "intent.json", "fencing", "networks/*.json"])
def test_a_record_of_the_whole_engine_that_cannot_be_read_is_an_error_that_names_it(own: Engine, name: str) -> None:
    made = own.run("sleep", "1000")
    own.stop()
    path = next(own.data_root.glob(name), own.data_root / name)
    kept = path.read_bytes() if path.exists() else None
    path.write_bytes(b'{"version": 1, "refer')
    log = own.folder / "refused.log"
    code = own.keeper.ended(own.run_program(own.words("daemon"), log))
    path.unlink() if kept is None else path.write_bytes(kept)
    assert code != 0
    assert str(path) in log.read_text()
    assert "error: record-unreadable" in log.read_text()
    assert "Traceback" not in log.read_text()
    own.start()
    assert own.status(made)["Running"]


# ---- any moment

_NEXT = {"created": ["start", "remove"], "running": ["stop", "restart", "remove"], "exited": ["start", "remove"]}


def test_a_daemon_killed_at_any_moment_loses_and_doubles_nothing(own: Engine) -> None:
    """Containers are made, started, stopped and removed all the time; what was answered holds, whatever was killed in between."""
    seed = SEED
    chance = random.Random(seed)
    known: dict[str, str] = {}
    """Name to what the last call that was answered made of it: created, running, exited, gone; `?` while one is under way."""

    def churn(worker: int) -> None:
        choice = random.Random(seed * 10 + worker)
        names = [f"w{worker}-{number}" for number in range(3)]
        while not done.is_set():
            name = choice.choice(names)
            before = known.get(name, "gone")
            verb = {"gone": "create", "?": "remove"}.get(before) or choice.choice(_NEXT[before])
            known[name] = "?"
            try:
                if verb == "create":
                    own.create("sleep", "4321", name=name)
                elif verb == "remove":
                    own.remove(name)
                elif verb == "stop":
                    post(own, name, "stop", t=0)
                else:
                    post(own, name, verb)
            except Exception as error:  # noqa: BLE001
                if getattr(error, "status", 0) == 404 and verb == "remove":
                    known[name] = "gone"
                elif getattr(error, "status", 0):
                    wrong.append(f"{verb} {name}, which was {before}: {error}")
                continue
            known[name] = {"create": "created", "remove": "gone", "stop": "exited", "start": "running", "restart": "running"}[
                verb
            ]

    done = threading.Event()
    wrong: list[str] = []
    with ThreadPoolExecutor(3) as pool:
        workers = [pool.submit(churn, number) for number in range(3)]
        for _ in range(8):
            time.sleep(chance.uniform(0.02, 0.7))
            own.kill()
            own.start()
        done.set()
        for worker in workers:
            worker.result(timeout=60)
    assert [line for line in wrong if "is not there" not in line] == [], f"seed {seed}"

    def settled() -> list[str]:
        """What does not fit together; what a call that was broken off had begun takes a moment."""
        shown = {container["Names"][0][1:]: container for container in own.containers()}
        found = [
            f"{name}: {state} expected"
            for name, state in known.items()
            if state not in ("?", shown.get(name, {"State": "gone"})["State"])
        ]
        running = {container["Id"][:12] for container in shown.values() if container["State"] == "running"}
        monitors = {file.name for file in (own.exec_root / "m").iterdir()}
        groups = {folder.name for folder in Path("/sys/fs/cgroup/pids").glob(f"gitopsd-{own.instance}/*") if folder.is_dir()}
        found += [f"monitors {monitors}, cgroups {groups}, running {running}"] if not running == monitors == groups else []
        found += ["processes"] if processes(own, "sleep 4321") != len(running) else []
        found += ["folders"] if len(os.listdir(own.data_root / "containers")) != len(shown) else []
        return found

    with contextlib.suppress(AssertionError):
        until(lambda: not settled(), "all fits together", timeout_s=5)
    assert settled() == [], f"seed {seed}, known {known}, shown {own.containers()}"


def test_logs_of_the_daemon_hold_no_traceback(own: Engine) -> None:
    own.run("sleep", "1000", PortBindings=PORT)
    own.restart(hard=True)
    own.restart()
    assert "Traceback" not in own.log.read_text()
