"""The docker CLI against the engine: what people type, with what they see and the exit codes that their scripts look at."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.engine.running import Engine, until

pytestmark = [pytest.mark.interop, pytest.mark.skipif(not shutil.which("docker"), reason="needs the docker CLI")]

SLEEP = ("sleep", "1000")
WEB = ("sh", "-c", "echo served > /tmp/index; while :; do nc -l -p 80 < /tmp/index; done")
READS_WEB = ("sh", "-c", "until nc web 80; do sleep 0.02; done")
ENDS_ON_TERM = ("sh", "-c", 'trap "echo bye; exit 3" TERM; echo ready; while :; do sleep 0.05; done')


def programs() -> list[str]:
    """Each docker CLI on PATH."""
    found = [shutil.which("docker", path=folder) for folder in os.get_exec_path()]
    return list({os.path.realpath(program): program for program in found if program}.values())


def says(engine: Engine, container: str, text: str) -> None:
    """Wait until a container's output has it."""
    until(lambda: text in engine.docker("logs", container, check=False).out, f"{container} says {text!r}")


def fetched(engine: Engine, port: int) -> bytes:
    """What a port answers; its server is away for a moment between two connections."""

    def fetch() -> bytes:
        with contextlib.suppress(OSError):
            return engine.fetch(port)
        return b""

    return until(fetch, f"port {port} answers")


# ---- the engine itself


def test_version_shows_client_and_server(engine: Engine) -> None:
    shown = engine.docker("version").out
    assert re.search(r"Server: gitopsd-engine\n Engine:\n  Version: +\d", shown)
    assert re.search(r"API version: +1\.44 \(minimum version 1\.24\)", shown)
    assert re.search(r"Experimental: +false\n", shown)
    template = "{{.Server.APIVersion}} {{.Server.Os}}/{{.Server.Arch}} {{.Server.MinAPIVersion}}"
    assert engine.docker("version", "--format", template).out == "1.44 linux/amd64 1.24\n"


def test_info_shows_what_is_there(engine: Engine) -> None:
    engine.docker("run", "-d", "busybox", *SLEEP)
    shown = engine.docker("info")
    assert "Containers: 1\n  Running: 1\n" in shown.out
    assert "Storage Driver: overlay2" in shown.out
    assert "no seccomp profile yet" in shown.err
    info = json.loads(engine.docker("info", "--format", "{{json .}}").out)
    assert (info["Images"], info["OSType"], info["NCPU"] > 0, info["Swarm"]["LocalNodeState"]) == (1, "linux", True, "inactive")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:.]+Z", info["SystemTime"])


# ---- run


def test_run_shows_both_streams_apart_and_passes_the_exit_code_on(engine: Engine) -> None:
    done = engine.docker("run", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert done == (7, "out\n", "err\n")


@pytest.mark.parametrize(("words", "code", "message"), [
    (("busybox", "no-such-program"), 127, 'exec: "no-such-program": executable file not found in $PATH'),
    (("busybox", "/etc"), 126, 'exec: "/etc": permission denied'),
    (("--pull", "never", "none", "true"), 125, "No such image: none:latest"),
    (("-m", "1m", "busybox", "true"), 125, "Minimum memory limit allowed is 6MB"),
    (("--name", "a/b", "busybox", "true"), 125, "Invalid container name (a/b)"),
    (("-v", "relative/x:/x", "busybox", "true"), 125, "relative/x"),
    (("--mount", "type=bind,src=/no/such,dst=/x", "busybox", "true"), 125, "bind source path does not exist: /no/such"),
])  # fmt: skip
def test_what_cannot_run_has_dockers_exit_code_and_says_why(
    engine: Engine, words: tuple[str, ...], code: int, message: str
) -> None:
    done = engine.docker("run", *words, check=False)
    assert (done.code, done.out) == (code, "")
    assert message in done.err


def test_run_rm_leaves_nothing_not_even_its_volume(engine: Engine) -> None:
    assert engine.docker("run", "--rm", "-v", "/d", "busybox", "sh", "-c", "echo x > /d/x; cat /d/x").out == "x\n"
    until(lambda: engine.docker("ps", "-aq").out == "", "the container is removed")
    assert until(lambda: engine.docker("volume", "ls", "-q").out == "", "so is its volume")


def test_run_detached_is_listed_inspected_and_reached_at_its_port(engine: Engine) -> None:
    identity = engine.docker("run", "-d", "--name", "web", "-p", "8080:80", "-l", "tier=front", "busybox", *WEB).out.strip()
    assert len(identity) == 64
    assert fetched(engine, 8080) == b"served\n"
    template = '{{.ID}} {{.Names}} {{.Image}} {{.Ports}} {{.State}} {{.Label "tier"}} {{.Networks}}'
    row = engine.docker("ps", "--format", template).out
    assert row == f"{identity[:12]} web busybox 0.0.0.0:8080->80/tcp running front bridge\n"
    assert engine.docker("ps", "-q", "--no-trunc", "--filter", "label=tier=front").out.strip() == identity
    assert engine.docker("ps", "-q", "--filter", "name=nobody").out == ""
    assert engine.docker("port", "web", "80").out == "0.0.0.0:8080\n"
    assert engine.docker(
        "inspect", "-f", '{{.State.Status}} {{(index .NetworkSettings.Ports "80/tcp" 0).HostPort}}', "web"
    ).out == ("running 8080\n")
    refused = engine.docker("run", "-d", "-p", "8080:80", "busybox", *SLEEP, check=False)
    assert refused.code == 125
    assert "8080" in refused.err


def test_ps_shows_sizes_where_they_are_asked_for(engine: Engine) -> None:
    engine.docker("run", "--name", "big", "busybox", "dd", "if=/dev/zero", "of=/zeros", "bs=1000", "count=3000")
    assert re.search(r" 3MB \(virtual [45](\.\d+)?MB\)\n", engine.docker("ps", "-as").out)
    (shown,) = json.loads(engine.docker("inspect", "-s", "big").out)
    assert 3_000_000 <= shown["SizeRw"] < 3_100_000 < shown["SizeRootFs"]
    assert json.loads(engine.docker("ps", "-a", "--format", "{{json .}}").out)["Size"].startswith("3MB")


def test_a_name_is_taken_once(engine: Engine) -> None:
    engine.docker("create", "--name", "web", "busybox")
    refused = engine.docker("run", "--name", "web", "busybox", check=False)
    assert refused.code == 125
    assert 'The container name "/web" is already in use' in refused.err


def test_standard_input_goes_in_whole_and_its_end_too(engine: Engine) -> None:
    data = "0123456789abcdef" * 65536
    assert engine.docker("run", "-i", "--rm", "busybox", "cat", input=data).out == data
    engine.docker("create", "-i", "--name", "later", "busybox", "wc", "-c")
    assert engine.docker("start", "-ai", "later", input="12345").out == "5\n"


def test_a_signal_to_the_client_reaches_the_program(engine: Engine) -> None:
    with engine.docker_process("run", "--name", "job", "busybox", *ENDS_ON_TERM) as client:
        says(engine, "job", "ready")
        client.send_signal(signal.SIGTERM)
        assert client.communicate(timeout=20)[0] == "ready\nbye\n"
    assert client.returncode == 3


def test_a_client_that_is_killed_leaves_its_container_running(engine: Engine) -> None:
    with engine.docker_process("run", "--name", "job", "busybox", *ENDS_ON_TERM) as client:
        says(engine, "job", "ready")
        client.kill()
    assert engine.docker("inspect", "-f", "{{.State.Running}}", "job").out == "true\n"


def test_settings_reach_the_container(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("FROM_FILE=1\n")
    options = ["-e", "A=b c", "--env-file", f"{tmp_path}/env", "-u", "web", "-w", "/made/for/it", "-h", "box", "--read-only", "--tmpfs", "/t",
               "--add-host", "gate:host-gateway", "--add-host", "other:10.1.2.3", "--cidfile", f"{tmp_path}/id", "--entrypoint", "sh",
               "--cap-drop", "ALL", "--ulimit", "nofile=77:77", "--memory", "64m", "--pids-limit", "20", "--dns-search", "example.org"]  # fmt: skip
    script = ("echo $A $FROM_FILE; id -un; pwd; hostname; touch /x 2>/dev/null || echo read-only; echo x > /t/x && echo tmpfs; ulimit -n; "
              "grep -E 'gate|other' /etc/hosts; grep CapBnd /proc/self/status; grep search /etc/resolv.conf")  # fmt: skip
    lines = engine.docker("run", *options, "busybox", "-c", script).out.splitlines()
    gateway = engine.docker("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}").out.strip()
    assert lines == [
        "b c 1", "web", "/made/for/it", "box", "read-only", "tmpfs", "77", f"{gateway}\tgate", "10.1.2.3\tother",
        "CapBnd:\t0000000000000000", "search example.org",
    ]  # fmt: skip
    assert (tmp_path / "id").read_text() == engine.docker("ps", "-aq", "--no-trunc").out.strip()


# ---- what goes on


def test_logs_follow_to_the_end_and_choose(engine: Engine) -> None:
    engine.docker(
        "run", "-d", "--name", "job", "busybox", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done; echo e >&2; exit 2"
    )
    assert engine.docker("logs", "-f", "job") == (0, "1\n2\n3\n", "e\n")
    assert engine.docker("logs", "--tail", "1", "job") == (0, "", "e\n")
    assert engine.docker("logs", "-n", "2", "-f", "job").out == "3\n"
    stamped = engine.docker("logs", "-t", "job").out.splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{9}Z ", "", line) for line in stamped] == ["1", "2", "3"]
    second = stamped[1].split()[0]
    assert engine.docker("logs", "--since", second, "job").out == "2\n3\n"
    assert engine.docker("logs", "--until", second, "job").out == "1\n"
    assert engine.docker("wait", "job").out == "2\n"


def test_attach_gives_what_comes_and_the_exit_code(engine: Engine) -> None:
    engine.docker("run", "-d", "-i", "--name", "job", "busybox", "sh", "-c", "read line; echo got $line; exit 4")
    with engine.docker_process("attach", "job") as client:
        assert client.communicate("word\n", timeout=20)[0] == "got word\n"
    assert client.returncode == 4
    refused = engine.docker("attach", "job", check=False)
    assert (refused.code, refused.out) == (1, "")
    assert "stopped container" in refused.err


def test_a_container_that_has_ended_is_started_again_and_attached(engine: Engine) -> None:
    engine.docker("run", "--name", "job", "busybox", "sh", "-c", "echo tick; exit 4", check=False)
    for _ in range(3):
        assert engine.docker("start", "-a", "job", check=False) == (4, "tick\n", "")


def test_exec_passes_streams_settings_and_exit_code(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "web", "busybox", *SLEEP)
    assert engine.docker("exec", "web", "sh", "-c", "echo out; echo err >&2; exit 5", check=False) == (5, "out\n", "err\n")
    script = "id -un; pwd; echo $A"
    assert engine.docker("exec", "-u", "web", "-w", "/tmp", "-e", "A=b", "web", "sh", "-c", script).out == "web\n/tmp\nb\n"
    assert engine.docker("exec", "-i", "web", "wc", "-c", input="x" * 1_000_000).out == "1000000\n"
    assert engine.docker("exec", "-d", "web", "touch", "/tmp/done") == (0, "", "")
    until(lambda: engine.docker("exec", "web", "test", "-e", "/tmp/done", check=False).code == 0, "it was done")


@pytest.mark.parametrize(("words", "code", "message"), [
    (("web", "no-such-program"), 127, 'exec: "no-such-program": executable file not found in $PATH'),
    (("web", "/etc"), 126, 'exec: "/etc": permission denied'),
    (("-u", "ghost", "web", "true"), 126, "ghost"),
    (("-w", "/no/such/folder", "web", "pwd"), 127, "chdir to cwd ('/no/such/folder') failed"),
    (("nobody", "true"), 1, "No such container: nobody"),
    (("stopped", "true"), 1, "is not running"),
])  # fmt: skip
def test_an_exec_that_cannot_run_says_why(engine: Engine, words: tuple[str, ...], code: int, message: str) -> None:
    engine.docker("run", "-d", "--name", "web", "busybox", *SLEEP)
    engine.docker("create", "--name", "stopped", "busybox")
    done = engine.docker("exec", *words, check=False)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert engine.docker("exec", "web", "ls", "-d", "/no", check=False).code == 1, "nothing was made"


def test_a_container_is_stopped_started_renamed_updated_and_removed(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "first", "busybox", *ENDS_ON_TERM)
    says(engine, "first", "ready")
    assert engine.docker("rename", "first", "job") == (0, "", "")
    assert engine.docker("stop", "job").out == "job\n"
    assert "Exited (3)" in engine.docker("ps", "-a", "--format", "{{.Status}}").out
    assert engine.docker("start", "job").out == "job\n"
    assert engine.docker("restart", "-t", "0", "job").out == "job\n"
    limits = ["--memory", "64m", "--memory-swap", "128m", "--cpus", "0.5", "--restart", "on-failure:3"]
    assert engine.docker("update", *limits, "job").out == "job\n"
    shown = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.RestartPolicy.Name}}"
    assert engine.docker("inspect", "-f", shown, "job").out == "67108864 500000000 on-failure\n"
    refused = engine.docker("rm", "job", check=False)
    assert (refused.code, "container is running" in refused.err) == (1, True)
    with engine.docker_process("wait", "job") as waiting:
        assert engine.docker("kill", "-s", "KILL", "job").out == "job\n"
        assert waiting.communicate(timeout=20)[0] == "137\n"
    assert "cannot kill container: job" in engine.docker("kill", "job", check=False).err
    assert engine.docker("rm", "job").out == "job\n"
    for word in ("stop", "start", "kill", "restart", "rm", "wait", "logs", "inspect"):
        missing = engine.docker(word, "job", check=False)
        assert missing.code == 1
        assert re.search("No such (container|object): job", missing.err), word
    assert engine.docker("rm", "-f", "job").code == 0


def test_restart_policies_are_in_effect(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "job", "--restart", "on-failure:2", "busybox", "false")
    shown = "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}"
    until(lambda: engine.docker("inspect", "-f", shown, "job").out == "exited 1 2\n", "it was tried three times")
    engine.docker("run", "-d", "--name", "web", "--restart", "always", "busybox", *SLEEP)
    first = engine.docker("inspect", "-f", "{{.State.Pid}}", "web").out
    os.kill(int(first), signal.SIGKILL)
    until(lambda: engine.docker("inspect", "-f", "{{.State.Running}} {{.State.Pid}}", "web").out not in (f"true {first}", "true 0\n", "false 0\n"),
          "it runs again")  # fmt: skip
    engine.docker("stop", "-t", "0", "web")
    assert engine.docker("inspect", "-f", "{{.State.Status}}", "web").out == "exited\n"


def test_ps_shows_health(engine: Engine) -> None:
    check = ["--health-cmd", "test -e /ok", "--health-interval", "100ms", "--health-retries", "1"]
    engine.docker("run", "-d", "--name", "web", *check, "busybox", *SLEEP)
    status = ("ps", "--format", "{{.Status}}")
    until(lambda: "(unhealthy)" in engine.docker(*status).out, "it is unhealthy")
    engine.docker("exec", "web", "touch", "/ok")
    until(lambda: "(healthy)" in engine.docker(*status, "--filter", "health=healthy").out, "it is healthy")
    log = json.loads(engine.docker("inspect", "-f", "{{json .State.Health}}", "web").out)
    assert (log["Status"], log["Log"][-1]["ExitCode"]) == ("healthy", 0)


# ---- networks and volumes


def test_containers_of_a_network_find_each_other_by_name(engine: Engine) -> None:
    network = engine.docker("network", "create", "--label", "a=b", "front").out.strip()
    assert (
        engine.docker("network", "ls", "--filter", "label=a=b", "--format", "{{.ID}} {{.Name}} {{.Driver}}").out
        == f"{network[:12]} front bridge\n"
    )
    engine.docker("run", "-d", "--name", "store", "--network", "front", "--network-alias", "db", "busybox", *WEB)
    address = engine.docker("inspect", "-f", "{{.NetworkSettings.Networks.front.IPAddress}}", "store").out.strip()
    for name in ("store", "db"):
        found = engine.docker(
            "run",
            "--rm",
            "--network",
            "front",
            "busybox",
            "sh",
            "-c",
            f"nslookup {name}; until nc {name} 80; do sleep 0.02; done",
        )
        assert f"Address: {address}\n" in found.out
        assert found.out.endswith("served\n")
    assert engine.docker("run", "--rm", "busybox", "nslookup", "store", check=False).code != 0
    engine.docker("run", "-d", "--name", "web", "busybox", *SLEEP)
    engine.docker("network", "connect", "--alias", "site", "front", "web")
    assert engine.docker("exec", "store", "nslookup", "site").code == 0
    assert set(json.loads(engine.docker("network", "inspect", "front", "-f", "{{json .Containers}}").out)) == {
        engine.docker("inspect", "-f", "{{.Id}}", name).out.strip() for name in ("store", "web")
    }
    busy = engine.docker("network", "rm", "front", check=False)
    assert (busy.code, "active endpoints" in busy.err) == (1, True)
    engine.docker("network", "disconnect", "front", "web")
    assert engine.docker("exec", "store", "nslookup", "site", check=False).code != 0
    engine.docker("network", "disconnect", "-f", "front", "store")
    assert engine.docker("network", "rm", "front").out == "front\n"


def test_errors_of_networks(engine: Engine) -> None:
    engine.docker("network", "create", "front")
    for words, message in (
        (("create", "front"), "network with name front already exists"), (("rm", "bridge"), "predefined"), (("rm", "none-such"), "none-such"),
        (("inspect", "none-such"), "none-such"), (("connect", "front", "nobody"), "No such container: nobody"),
    ):  # fmt: skip
        done = engine.docker("network", *words, check=False)
        assert done.code == 1
        assert message in done.err


def test_a_network_that_is_not_there_is_not_taken_for_an_image_that_is_not(engine: Engine) -> None:
    done = engine.docker("run", "--network", "none-such", "busybox", "true", check=False)
    assert done.code == 125
    assert "network none-such not found" in done.err
    assert "Unable to find image" not in done.err


def test_volumes_keep_data_and_binds_show_the_host(engine: Engine, tmp_path: Path) -> None:
    assert engine.docker("volume", "create", "--label", "a=b", "data").out == "data\n"
    engine.docker("run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/file")
    assert engine.docker("run", "--rm", "--mount", "type=volume,src=data,dst=/d", "busybox", "cat", "/d/file").out == "kept\n"
    assert (
        "Read-only file system" in engine.docker("run", "--rm", "-v", "data:/d:ro", "busybox", "touch", "/d/x", check=False).err
    )
    (tmp_path / "file").write_text("the host's\n")
    assert (
        engine.docker("run", "--rm", "-v", f"{tmp_path}:/h", "busybox", "sh", "-c", "cat /h/file; echo out > /h/new").out
        == "the host's\n"
    )
    assert (tmp_path / "new").read_text() == "out\n"
    engine.docker("run", "-d", "--name", "user", "-v", "data:/d", "busybox", *SLEEP)
    assert engine.docker("volume", "ls", "--filter", "label=a=b", "--format", "{{.Driver}} {{.Name}}").out == "local data\n"
    assert json.loads(engine.docker("volume", "inspect", "data").out)[0]["Labels"] == {"a": "b"}
    busy = engine.docker("volume", "rm", "data", check=False)
    assert (busy.code, "volume is in use" in busy.err) == (1, True)
    engine.docker("rm", "-f", "user")
    assert engine.docker("volume", "rm", "data").out == "data\n"
    missing = engine.docker("volume", "rm", "data", check=False)
    assert missing.code == 1
    assert re.search("no such volume", missing.err, re.IGNORECASE)


# ---- images


def test_an_image_is_loaded_tagged_saved_and_removed(engine: Engine, tmp_path: Path) -> None:
    engine.load("shop/old:1", Labels={"a": "b"})
    identity = engine.docker("image", "inspect", "-f", "{{.Id}}", "shop/old:1").out.strip()
    assert engine.docker("tag", "shop/old:1", "shop/new:2") == (0, "", "")
    listed = engine.docker("images", "--filter", "reference=shop/*", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").out
    assert sorted(listed.splitlines()) == [f"shop/new:2 {identity[7:19]}", f"shop/old:1 {identity[7:19]}"]
    assert "56 years" not in engine.docker("images").out, "it does not know when it was made"
    assert engine.docker("images", "-q", "--no-trunc", "--filter", "label=a=b").out.split() == [identity, identity]
    assert engine.docker("save", "-o", f"{tmp_path}/saved.tar", "shop/new:2").code == 0
    assert engine.docker("rmi", "shop/old:1").out == "Untagged: shop/old:1\n"
    assert engine.docker("rmi", "shop/new:2").out == f"Untagged: shop/new:2\nDeleted: {identity}\n"
    assert engine.docker("load", "-i", f"{tmp_path}/saved.tar").out == "Loaded image: shop/new:2\n"
    assert engine.docker("inspect", "-f", "{{.Id}}", "shop/new:2").out.strip() == identity
    engine.docker("create", "--name", "user", "shop/new:2")
    busy = engine.docker("rmi", "shop/new:2", check=False)
    assert (busy.code, "conflict" in busy.err) == (1, True)
    engine.docker("rm", "user")
    engine.docker("rmi", "-f", "shop/new:2")
    missing = engine.docker("rmi", "shop/new:2", check=False)
    assert missing.code == 1
    assert "No such image: shop/new:2" in missing.err
    broken = engine.docker("load", input="this is no archive", check=False)
    assert (broken.code, "load:" in broken.err) == (1, True)
    assert "No such image: nothing" in engine.docker("save", "busybox", "nothing", "-o", f"{tmp_path}/x", check=False).err


def test_an_image_is_built_pushed_pulled_and_run(engine: Engine, registry: str, context: Path) -> None:
    name = f"{registry}/shop/web"
    built = engine.docker("build", "-t", f"{name}:1", "--build-arg", "A=5", "--label", "a=b", str(context)).out
    assert built.endswith(f"Successfully tagged {name}:1\n")
    assert engine.docker("run", "--rm", f"{name}:1").out == "built with 5\npage\n"
    pushed = engine.docker("push", f"{name}:1").out
    digest = re.search(r"^1: digest: (sha256:[0-9a-f]{64}) size: \d+$", pushed, re.MULTILINE)
    assert digest, pushed
    assert "Deleted: sha256:" in engine.docker("rmi", f"{name}:1").out
    pulled = engine.docker("pull", f"{name}:1").out
    assert f"Digest: {digest[1]}\nStatus: Downloaded newer image for {name}:1\n{name}:1\n" in pulled
    assert f"Image is up to date for {name}:1" in engine.docker("pull", f"{name}:1").out
    assert engine.docker("images", "--digests", "--format", "{{.Digest}}", name).out.strip() == digest[1]
    engine.docker("rmi", f"{name}:1")
    missing = engine.docker("run", "--rm", f"{name}@{digest[1]}")
    assert missing.out.endswith("built with 5\npage\n")
    engine.docker("tag", f"{name}@{digest[1]}", f"{name}:1")
    assert engine.docker("run", "--rm", "--pull", "always", f"{name}:1").out.endswith("built with 5\npage\n")
    assert "manifest unknown" in engine.docker("pull", f"{name}:9", check=False).err
    assert "does not exist locally" in engine.docker("push", f"{name}:9", check=False).err
    assert "all tags of a name are not there yet" in engine.docker("pull", "-a", name, check=False).err


def test_a_quiet_build_says_the_id_alone_and_all_when_it_fails(engine: Engine, context: Path) -> None:
    identity = engine.docker("build", "-q", str(context)).out.strip()
    assert re.fullmatch("sha256:[0-9a-f]{64}", identity)
    assert engine.docker("run", "--rm", identity).out == "built with 1\npage\n"
    failed = engine.docker("build", "-q", "-", input="FROM busybox\nRUN echo why; exit 9\n", check=False)
    assert (failed.code, failed.out) == (9, "")
    assert "\nwhy\n" in failed.err
    assert "returned a non-zero code: 9" in failed.err


def test_another_platforms_image_is_not_run_as_if_it_were_the_one_asked_for(engine: Engine, registry: str) -> None:
    name = f"{registry}/one:1"
    engine.load(name)
    engine.docker("push", "-q", name)
    refused = engine.docker("run", "--rm", "--platform", "linux/arm64", name, "true", check=False)
    assert refused.code == 125
    assert "the image is for linux/amd64, not for linux/arm64" in refused.err
    assert engine.docker("run", "--rm", "--platform", "linux/amd64", name, "true").code == 0


# ---- what is not there yet


@pytest.mark.parametrize(("options", "name"), [
    ("-t", "Tty"), ("--privileged", "Privileged"), ("--init", "Init"), ("--device /dev/null", "Devices"), ("--gpus all", "DeviceRequests"),
    ("--pid host", "PidMode"), ("--ipc host", "IpcMode"), ("--uts host", "UTSMode"), ("--userns host", "UsernsMode"),
    ("--cgroupns host", "CgroupnsMode"),
    ("--cgroup-parent /x", "CgroupParent"), ("--log-driver syslog", "syslog"), ("--log-opt max-size=1m", "max-size"), ("--link x", "Links"),
    ("--volumes-from x", "VolumesFrom"), ("--group-add 5", "GroupAdd"), ("--security-opt apparmor=x", "apparmor=x"), ("--runtime runc", "Runtime"),
    ("--annotation a=b", "Annotations"), ("--mac-address 02:42:ac:11:00:02", "MacAddress"), ("--network front --ip6 fe80::2", "IPv6Address"),
    ("--network front --link-local-ip 169.254.1.1", "LinkLocalIPs"),
    ("--network name=bridge,driver-opt=a=b", "DriverOpts"), ("--network container:x", "container:x"),
    ("--oom-kill-disable", "OomKillDisable"), ("--memory-swappiness 10", "MemorySwappiness"), ("--memory-reservation 10m", "MemoryReservation"),
    ("--blkio-weight 10", "BlkioWeight"), ("--device-read-bps /dev/null:1", "BlkioDeviceReadBps"), ("--cpu-rt-period 10", "CpuRealtimePeriod"),
    ("--storage-opt size=1g", "StorageOpt"), ("--volume-driver nfs", "VolumeDriver"), ("--isolation hyperv", "Isolation"), ("-p 80/sctp", "80/sctp"),
    ("--mount type=image,src=busybox,dst=/x", "image"), ("--mount type=bind,src=/tmp,dst=/x,bind-propagation=rshared", "rshared"),
    ("--mount type=volume,dst=/x,volume-driver=nfs", "DriverConfig"), ("-v /tmp:/x:rshared", "rshared"),
])  # fmt: skip
def test_an_option_that_is_not_there_is_refused_by_name(engine: Engine, options: str, name: str) -> None:
    engine.docker("network", "create", "front")
    done = engine.docker("run", *options.split(), "busybox", "true", check=False)
    if "unknown flag" in done.err:
        pytest.skip("the client is older than the option")
    if name == "BlkioDeviceReadBps" and engine.docker("version", "--format", "{{.Client.Version}}").out.startswith("26."):
        pytest.skip("this client leaves the rates of devices out of what it sends")
    assert (done.code, done.out) == (125, "")
    assert name in done.err
    assert engine.docker("ps", "-aq").out == ""


def test_a_terminal_is_refused_by_name(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "web", "busybox", *SLEEP)
    ours, theirs = pty.openpty()
    try:
        for words, code in ((("run", "-it", "--rm", "busybox"), 125), (("exec", "-it", "web", "sh"), 1)):
            done = engine.docker(*words, check=False, stdin=theirs)
            assert done.code == code
            assert "Tty is not there yet in this engine" in done.err
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(("words", "name"), [
    ("stats --no-stream web", "/stats"), ("top web", "/top"), ("cp web:/etc/passwd -", "/archive"), ("diff web", "/changes"), ("pause web", "/pause"),
    ("commit web", "/commit"), ("export web", "/export"), ("import /etc/passwd", "fromSrc"), ("events", "/events"), ("system df", "/system/df"),
    ("system prune -f", "prune"), ("container prune -f", "/containers/prune"), ("image prune -f", "/images/prune"),
    ("volume prune -f", "/volumes/prune"),
    ("network prune -f", "/networks/prune"), ("search x", "/images/search"), ("login -u a -p b localhost:1", "/auth"), ("swarm init", "/swarm/init"),
    ("plugin ls", "/plugins"), ("exec --privileged web true", "Privileged"), ("update --blkio-weight 10 web", "BlkioWeight"),
    ("network create --driver overlay x1", "overlay"), ("network create --ipv6 x1", "EnableIPv6"), ("volume create --driver nfs x1", "nfs"),
    ("ps --filter nothing=1", "nothing"), ("images --filter nothing=1", "nothing"), ("network ls --filter nothing=1", "nothing"),
])  # fmt: skip
def test_a_command_that_is_not_there_says_so(engine: Engine, words: str, name: str) -> None:
    engine.docker("run", "-d", "--name", "web", "busybox", *SLEEP)
    done = engine.docker(*words.split(), check=False)
    assert done.code == 1
    assert name in done.err


def test_what_is_nothing_at_all_is_said_in_dockers_words(engine: Engine) -> None:
    done = engine.docker("inspect", "nothing", check=False)
    assert (done.code, done.out.strip()) == (1, "[]")
    assert re.fullmatch(r"[Ee]rror: [Nn]o such object: nothing\n", done.err)


@pytest.mark.parametrize("program", programs())
def test_a_client_that_insists_on_buildkit_is_told_how_to_build(engine: Engine, context: Path, program: str) -> None:
    insisting = engine.docker("build", str(context), program=program, env={"DOCKER_BUILDKIT": "1"}, check=False)
    assert insisting.code == 1
    assert re.search("DOCKER_BUILDKIT=0|buildx component is missing", insisting.err), insisting.err
    environment = {key: value for key, value in engine.docker_environment.items() if key != "DOCKER_BUILDKIT"}
    unset = subprocess.run([program, "build", str(context)], env=environment, capture_output=True, text=True)
    assert unset.returncode == 0 or "DOCKER_BUILDKIT=0" in unset.stderr, unset.stderr


# ---- clients of other ages


@pytest.mark.parametrize("version", ["1.24", "1.29", "1.40"])
def test_an_older_client_does_the_same(engine: Engine, version: str) -> None:
    def docker(*words: str, **more: object) -> tuple[int, str, str]:
        return engine.docker(*words, check=False, env={"DOCKER_API_VERSION": version}, **more)

    assert docker("run", "--name", "job", "busybox", "sh", "-c", "echo out; exit 6") == (6, "out\n", "")
    assert docker("start", "-a", "job") == (6, "out\n", "")
    assert docker("run", "--rm", "-i", "busybox", "cat", input="in") == (0, "in", "")
    assert docker("run", "--rm", "busybox", "false")[0] == 1
    until(lambda: docker("ps", "-aq")[1].count("\n") == 1, "the others are gone")
    assert docker("network", "create", "front")[0] == 0
    started = docker("run", "-d", "--name", "web", "--network", "front", "-p", "8080:80", "-v", "data:/d", "busybox", *WEB)
    assert started[0] == 0, started
    assert fetched(engine, 8080) == b"served\n"
    assert docker("ps", "--format", "{{.Names}} {{.Ports}}")[1] == "web 0.0.0.0:8080->80/tcp\n"
    assert docker("exec", "web", "sh", "-c", "echo in; exit 3") == (3, "in\n", "")
    assert docker("exec", "web", "no-such-program")[0] == 127
    assert docker("run", "--rm", "--network", "front", "busybox", *READS_WEB)[1] == "served\n"
    assert docker("logs", "job") == (0, "out\nout\n", "")
    assert docker("stop", "-t", "0", "web") == (0, "web\n", "")
    assert docker("wait", "web") == (0, "137\n", "")
    assert docker("inspect", "-f", "{{.State.Status}}", "web") == (0, "exited\n", "")
    assert docker("images", "--format", "{{.Repository}}") == (0, "busybox\n", "")
    assert docker("rm", "-f", "-v", "web", "job")[0] == 0
    assert docker("network", "rm", "front") == (0, "front\n", "")
    assert docker("volume", "rm", "data") == (0, "data\n", "")


@pytest.mark.parametrize(("version", "words"), [("1.23", "too old"), ("1.51", "too new")])
def test_a_client_outside_the_versions_is_told_them(engine: Engine, version: str, words: str) -> None:
    done = engine.docker("ps", check=False, env={"DOCKER_API_VERSION": version})
    assert done.code == 1
    assert words in done.err
