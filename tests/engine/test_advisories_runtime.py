"""One test for each advisory against container runtimes whose fault ours could have; the attack is made, not described."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gitopsd.dockerapi.errors import ApiError
from tests.engine.archives import PASSWD, Content, a_layer
from tests.engine.running import PYTHON, SOURCE, Engine, fails, until

pytestmark = pytest.mark.host

_PYTHON = "/usr/bin/python3"
_WITH_PYTHON = ["/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro"]
"""An attacker's tools: the machine's own Python, in a container."""
needs_python = pytest.mark.skipif(not os.path.exists(_PYTHON), reason="the machine has no /usr/bin/python3 to attack with")


def entry(name: str, kind: bytes, **fields: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def attempt(engine: Engine, script: str, **settings: Any) -> str:
    """What a script in a container says, or how its start was refused."""
    try:
        return engine.shell(script, **settings).out
    except ApiError as error:
        return f"refused: {error.message}"


def mapped_files(pid: int) -> set[str]:
    names = set()
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[5].startswith("/") and "(deleted)" not in fields[5]:
            begin, end = (int(number, 16) for number in fields[0].split("-"))
            names.add(f"/proc/{pid}/map_files/{begin:x}-{end:x}")
    return names


def engine_processes(engine: Engine) -> dict[str, int]:
    """Launcher, monitors, execs by their names."""
    found = {}
    for pid in engine.keeper.below():
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        if (
            name.startswith("gitopsd-")
            and len(re.findall(r"^NSpid:.*$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)) == 1
        ):
            found[name] = pid
    return found


# ---- the host's interpreter and our code


def test_cve_2019_5736_no_process_of_ours_runs_from_a_file_that_can_be_changed_through_it(engine: Engine) -> None:
    made = engine.run("sleep", "1000")
    waiting = engine.client.call("POST", f"/containers/{made}/exec", {"Cmd": ["sleep", "1000"]})["Id"]
    engine.client.call("POST", f"/exec/{waiting}/start", {"Detach": True})
    found = until(lambda: (names := engine_processes(engine)) and len(names) >= 3 and names, "launcher, monitor and exec run")
    assert {"gitopsd-launch", "gitopsd-monitor", "gitopsd-exec"} <= set(found)
    for name, pid in found.items():
        code = f"/proc/{pid}/root{SOURCE}/gitopsd/engine/runtime/init.py"
        for path in [f"/proc/{pid}/exe", code, os.path.dirname(code), *mapped_files(pid)]:
            mode = stat.S_IMODE(os.stat(path).st_mode)
            with pytest.raises(OSError) as caught:  # noqa: PT011  which one it is follows
                os.chmod(path, mode)
            assert caught.value.errno == errno.EROFS, f"{name}: {os.path.realpath(path)}: {caught.value}"
            if os.path.isdir(path):
                continue
            with pytest.raises(OSError) as caught:  # noqa: PT011
                os.close(os.open(path, os.O_WRONLY))
            assert caught.value.errno in (errno.EROFS, errno.ETXTBSY), f"{name}: {os.path.realpath(path)}: {caught.value}"


_OVERWRITE = """
import os, sys, collections
mine = os.readlink("/proc/self/exe")
said = collections.Counter()
held = {}
print("ready", flush=True)
while not os.path.exists("/end"):
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or pid in held or int(pid) <= 1 or int(pid) == os.getpid(): continue
        try: held[pid] = os.open(f"/proc/{pid}/exe", os.O_RDONLY)
        except OSError as error: said["open", error.errno] += 1
    for pid, fd in list(held.items()):
        for what, work in (("write", lambda: os.close(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY))), ("chmod", lambda: os.fchmod(fd, 0o4777)),
                           ("touch", lambda: os.utime(fd))):
            try:
                work()
                if "python" in os.readlink(f"/proc/self/fd/{fd}"): print("DONE", what, os.readlink(f"/proc/self/fd/{fd}"), flush=True)
            except OSError as error: said[what, error.errno] += 1
print(dict(said), len(held), flush=True)
"""


@needs_python
def test_cve_2019_5736_a_container_that_runs_the_interpreter_as_its_program_cannot_change_it(engine: Engine) -> None:
    before = os.stat(os.path.realpath(PYTHON))
    made = engine.run(_PYTHON, "-I", "-c", _OVERWRITE, Binds=_WITH_PYTHON, CapAdd=["SYS_PTRACE"])
    until(lambda: "ready" in engine.logs(made), "the attacker waits")
    for _ in range(10):
        engine.execute(made, "/proc/self/exe", "-I", "-S", "-c", "import time; time.sleep(.1)")
        engine.execute(made, "true")
    engine.execute(made, "touch", "/end")
    engine.wait(made)
    assert "DONE" not in engine.logs(made), engine.logs(made)
    assert int(engine.logs(made).split()[-1]) > 0, "the attacker held a process's file"
    after = os.stat(os.path.realpath(PYTHON))
    assert (after.st_mode, after.st_mtime_ns, after.st_size) == (before.st_mode, before.st_mtime_ns, before.st_size)


_SPY = """
import os
def name(pid):
    with open(f"/proc/{pid}/comm") as file: return file.read().strip()
print("ready", flush=True)
seen = 0
while not os.path.exists("/end"):
    for pid in os.listdir("/proc"):
        if not pid.isdigit(): continue
        try:
            if not name(pid).startswith("gitopsd"): continue
            seen += 1
            for what in ("fd", "environ", "mem", "maps", "cwd", "root", "exe", "auxv", "map_files"):
                path = f"/proc/{pid}/{what}"
                try:
                    if what == "fd": [os.readlink(f"{path}/{number}") for number in os.listdir(path)] or 1 / 0
                    elif what == "map_files": os.listdir(path)
                    elif what in ("cwd", "root", "exe"): os.readlink(path)
                    else:
                        with open(path, "rb") as file: file.read(1)
                except (OSError, ZeroDivisionError): continue
                if name(pid).startswith("gitopsd"): print("OPEN", what, flush=True)
        except OSError: pass
print("seen", seen, flush=True)
"""


@needs_python
def test_cve_2016_9962_a_container_cannot_look_into_a_process_that_is_about_to_join_it(engine: Engine) -> None:
    made = engine.run(_PYTHON, "-I", "-c", _SPY, Binds=_WITH_PYTHON)
    until(lambda: "ready" in engine.logs(made), "the attacker waits")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: engine.execute(made, "true"), range(40)))
    engine.execute(made, "touch", "/end")
    engine.wait(made)
    assert "OPEN" not in engine.logs(made), engine.logs(made)
    assert int(engine.logs(made).split()[-1]) > 0, "the attacker saw one"


def test_a_later_container_finds_no_secret_of_an_earlier_one_in_the_engines_memory(engine: Engine) -> None:
    secret, other = os.urandom(12).hex(), os.urandom(12).hex()
    first = engine.run("sleep", "1000", Env=[f"SECRET={secret}"])
    engine.execute(first, "true", Env=[f"OTHER={other}"])
    second = engine.run("sleep", "1000")
    with engine.monitor(second) as monitor:
        watched = {
            "the second monitor": monitor.ask("hello")["monitor"],
            "the launcher": engine_processes(engine)["gitopsd-launch"],
        }
    for name, pid in watched.items():
        memory = read_memory(pid)
        assert len(memory) > 1 << 20, name
        for word in (secret, other):
            assert word.encode() not in memory, name
    with engine.monitor(first) as monitor:
        assert secret.encode() in read_memory(monitor.ask("hello")["monitor"]), "this test would find one"


def read_memory(pid: int) -> bytes:
    parts = []
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            fields = line.split()
            if "r" in fields[1] and (len(fields) < 6 or not fields[5].startswith(("[vvar", "[vsyscall", "[vdso"))):
                start, end = (int(number, 16) for number in fields[0].split("-"))
                memory.seek(start)
                try:
                    parts.append(memory.read(end - start))
                except OSError:
                    continue
    return b"".join(parts)


def test_cve_2019_14271_nothing_is_imported_from_a_container(engine: Engine) -> None:
    """The image has a module of every name, wherever our interpreter or our code would look; each would run as root of the host."""
    trap = b"open('/pwned', 'w').write(__name__)\n"
    library = os.path.dirname(os.__file__)
    names = sorted(getattr(sys, "stdlib_module_names", ())) or [name[:-3] for name in os.listdir(library) if name.endswith(".py")]
    codecs = [name for name in os.listdir(f"{library}/encodings") if name.endswith(".py")]
    entries: dict[str, Content] = {}
    for top in {library, f"{sys.prefix}/lib", "/usr/lib/python3", str(SOURCE), ""}:
        entries |= {f"{top}/{name}.py".lstrip("/"): trap for name in names}
        entries |= {f"{top}/encodings/{name}".lstrip("/"): trap for name in codecs}
    entries |= {f"{str(SOURCE)[1:]}/gitopsd/engine/runtime/{name}.py": trap for name in ("user", "init", "guard", "anything")}
    image = engine.load("traps", a_layer({**entries, "etc/passwd": PASSWD + b"caf\xc3\xa9:x:7:7::/:\n\xff\xfe:x:8:8::/:\n"}))
    made = engine.run("sleep", "1000", image=image)
    upper = engine.data_root / "containers" / made / "upper"
    for command, settings in (
        (["true"], {}), (["nothing"], {}), (["/etc"], {}), (["true"], {"User": "ghost"}), (["true"], {"User": "caf\u00e9"}),
        (["true"], {"User": "\u0663"}),
        (["true"], {"WorkingDir": "/etc/passwd"}), (["true"], {"WorkingDir": "/new/\u2603"}), (["\u2603"], {}), (["true"], {"Env": ["X=\u2603"]}),
        (["x" * 5000], {}), (["true"], {"User": "99999999999999999999"}), (["true"], {"User": ":ghost"}), (["true"], {"User": "a:b:c"}),
    ):  # fmt: skip
        try:
            engine.execute(made, *command, **settings)
        except ApiError as error:
            assert error.status in (400, 500), error  # noqa: PT017
        assert not (upper / "pwned").exists(), (command, settings)
        with_own = engine.create(*command, image=image, **settings)
        engine.call("POST", f"/containers/{with_own}/start")
        assert not (engine.data_root / "containers" / with_own / "upper/pwned").exists(), (command, settings)
        engine.remove(with_own)


# ---- descriptors, working directories, devices, masks


@pytest.mark.parametrize(
    "place",
    [*(f"/proc/self/fd/{number}" for number in range(3, 14)), "/proc/self/cwd", "/proc/1/cwd", "/proc/self/root/..", "/wd"],
)
def test_cve_2024_21626_a_working_directory_never_lies_outside(engine: Engine, place: str) -> None:
    image = engine.load("wd", a_layer({"wd": "/proc/self/fd/7", "inside": b"yes"}))
    made = engine.run("sleep", "1000", image=image)
    script = "cd . && ls -d inside ../inside ../../../inside 2>/dev/null; cat ../../../../../../../inside; ls -di . /"
    for answer in (attempt(engine, script, image=image, WorkingDir=place), _exec(engine, made, script, WorkingDir=place)):
        assert answer.startswith("refused") or "yes" in answer, answer


def _exec(engine: Engine, container: str, script: str, **settings: Any) -> str:
    done = engine.execute(container, "sh", "-c", script, **settings)
    return f"refused: {done.err}" if done.err.startswith("exec in ") else done.out


def test_cve_2024_21626_a_program_has_no_descriptor_but_its_three(engine: Engine) -> None:
    assert engine.shell("ls /proc/$$/fd; true").out.split() == ["0", "1", "2"]


@pytest.mark.parametrize("null", ["/etc/passwd", "/proc/sysrq-trigger", "/secret"])
def test_cve_2025_31133_what_covers_a_masked_file_is_the_hosts_null_device(engine: Engine, null: str) -> None:
    image = engine.load("null", a_layer({"dev": None, "dev/null": null, "secret": b"secret"}))
    script = "for f in /proc/kcore /proc/keys /proc/timer_list; do [ ! -e $f ] || stat -c '%F %t:%T' $f; done; echo x > /proc/keys; cat /secret"
    out = attempt(engine, script, image=image)
    assert set(re.findall(r"character special file.*", out)) == {"character special file 1:3"}
    assert out.endswith("secret")


@pytest.mark.parametrize("target", ["{host}", "../../../../..{host}", "/proc/1/root{host}", "/tmp"])
def test_cve_2026_41579_a_dev_that_is_a_link_gets_no_device_on_the_host(engine: Engine, tmp_path: Path, target: str) -> None:
    image = engine.load("dev-link", a_layer({"dev": target.format(host=tmp_path)}))
    out = attempt(engine, "ls /dev/", image=image)
    assert out.startswith("refused") or "null" in out
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("names", [{"proc": "/fake"}, {"proc": "/fake", "fake": None}, {"proc": "/sys"}, {"sys": "/proc"}, {"dev": "/proc"},
                                   {"proc": "/dev"},
                                   {"dev": None, "dev/shm": "/proc"}, {"dev": None, "dev/pts": "../proc/sys"}])  # fmt: skip
def test_cve_2025_52881_a_proc_that_leads_elsewhere_hides_and_redirects_nothing(
    engine: Engine, names: dict[str, Content]
) -> None:
    """What is written to /proc for a container is written to the host's own, before the image has a say."""
    image = engine.load("proc-link", a_layer(names))
    settings: dict[str, Any] = {"image": image, "OomScoreAdj": 321, "Sysctls": {"net.ipv4.ip_forward": "1"}}
    made = engine.create(
        "sh", "-c", "cat /proc/sys/net/ipv4/ip_forward; echo b > /proc/sysrq-trigger; wc -c < /proc/kcore; sleep 1000", **settings
    )
    answer = engine.call("POST", f"/containers/{made}/start")
    if answer.status != 204:
        assert answer.status == 500
        return
    pid = engine.status(made)["Pid"]
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "321\n"
    until(lambda: engine.logs(made, 2), "it has tried")
    assert "ead-only" in engine.logs(made, 2) or "nonexistent" in engine.logs(made, 2) or "No such" in engine.logs(made, 2), (
        engine.logs(made, 2)
    )
    execution = engine.client.call("POST", f"/containers/{made}/exec", {"Cmd": ["sleep", "1000"]})["Id"]
    engine.client.call("POST", f"/exec/{execution}/start", {"Detach": True})
    inner = engine.client.call("GET", f"/exec/{execution}/json")["Pid"]
    assert Path(f"/proc/{inner}/oom_score_adj").read_text() == "321\n"


# ---- mounts


@pytest.mark.parametrize("settings", [
    {"image": "over-proc", "Volumes": {"/link": {}}}, {"image": "over-proc", "Binds": ["vol:/link"]},
    {"image": "over-proc", "Binds": ["vol:/link/sys"]},
    {"image": "over-proc", "Tmpfs": {"/link": ""}}, {"image": "over-proc", "Tmpfs": {"/link/self": ""}},
    {"image": "over-proc", "Binds": ["vol:/deep/link"]},
    {"image": "volume-proc"}, {"image": "volume-proc-sys"}, {"Volumes": {"/proc": {}}}, {"Binds": ["vol:/./proc"]},
    {"Binds": ["vol:/tmp/../proc/self"]},
    {"Mounts": [{"Type": "tmpfs", "Target": "/proc/self"}]}, {"image": "over-proc", "Mounts": [{"Type": "tmpfs", "Target": "/link"}]},
])  # fmt: skip
def test_cve_2019_16884_nothing_is_mounted_over_proc(engine: Engine, settings: dict[str, Any]) -> None:
    engine.load("over-proc", a_layer({"link": "/proc", "deep": None, "deep/link": "../link"}))
    engine.load("volume-proc", Volumes={"/proc": {}})
    engine.load("volume-proc-sys", Volumes={"/proc/sys": {}})
    out = attempt(engine, "grep -c ' /proc ' /proc/mounts; touch /proc/own && echo OVER; grep ' /proc' /proc/mounts", **settings)
    assert out.startswith("refused: "), out


_SWAP = "while true; do mv /vol/a /vol/b; ln -s {0} /vol/a; rm /vol/a; mv /vol/b /vol/a; done 2>/dev/null"


def test_cve_2021_30465_and_2024_45310_a_place_that_is_swapped_for_a_link_is_never_the_hosts(
    engine: Engine, tmp_path: Path
) -> None:
    target = tmp_path / "host"
    target.mkdir()
    (target / "deep").mkdir()
    engine.run("sh", "-c", f"mkdir -p /vol/a/deep; {_SWAP.format(target)}", Binds=["shared:/vol"])
    before = engine.keeper.mounts()
    outcomes = set()
    for number in range(25):
        place = ["/vol/a", "/vol/a/deep", "/vol/a/deep/new/er", "/vol/a/file"][number % 4]
        made = engine.create("true", Binds=["shared:/vol", f"other:{place}"])
        outcomes.add(engine.call("POST", f"/containers/{made}/start").status)
        assert os.listdir(target) == ["deep"]
        assert os.listdir(target / "deep") == []
        engine.remove(made)
    assert outcomes <= {204, 500}
    assert engine.keeper.mounts() == before


def test_a_fresh_volume_is_filled_from_the_image_whatever_link_is_there(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "hosts-secret").write_text("secret")
    for target in (str(tmp_path), f"../../../../../..{tmp_path}", "/proc/self/root", "/etc"):
        image = engine.load("seed-link", a_layer({"data": target, "etc/of-the-image": b""}), Volumes={"/data": {}})
        out = attempt(engine, "ls -R /data/ | head -50", image=image)
        assert "hosts-secret" not in out
        if target == "/etc":
            assert "of-the-image" in out
        engine.empty()


# ---- users and capabilities


def test_cve_2022_24769_inheritable_and_ambient_capabilities_are_empty(engine: Engine) -> None:
    script = "grep -E '^Cap(Inh|Amb)' /proc/self/status | cut -f 2"
    made = engine.run("sleep", "1000", CapAdd=["ALL"])
    for user in ("root", "web", "4242"):
        assert engine.shell(script, CapAdd=["ALL"], User=user).out.split() == ["0" * 16] * 2
        assert engine.execute(made, "sh", "-c", script, User=user).out.split() == ["0" * 16] * 2


def test_cve_2022_36109_a_programs_group_is_among_its_groups(engine: Engine) -> None:
    made = engine.run("sleep", "1000")
    for user, groups in (("web", {"1000", "1500"}), ("web:other", {"1501"}), ("4242:4243", {"4243"}), ("root", {"0"})):
        script = "grep ^Groups /proc/self/status"
        assert set(engine.shell(script, User=user).out.split()[1:]) == groups
        assert set(engine.execute(made, "sh", "-c", script, User=user).out.split()[1:]) == groups


def test_cve_2016_3697_a_number_is_a_number_whatever_passwd_calls_by_it(engine: Engine) -> None:
    image = engine.load(
        "numbers", a_layer({"etc/passwd": b"1000:x:0:0::/:\n4242:x:0:0::/:\nroot:x:0:0::/:\n", "etc/group": b"7:x:0:\n"})
    )
    assert engine.shell("id -u", image=image, User="1000").out == "1000\n"
    assert engine.shell("id -u; id -g", image=image, User="4242:7").out == "4242\n7\n"


@pytest.mark.parametrize(
    "user",
    ["2147483648", "4294967295", "4294967296", "18446744073709551616", "-1", "0x0", "1e3", "+5", " 5", "5:4294967296", "5:-1"],
)
def test_cve_2024_40635_a_number_out_of_range_never_becomes_root(engine: Engine, user: str) -> None:
    made = engine.create("id", User=user)
    with fails(400):
        engine.start_container(made)
    assert engine.execute(engine.run("sleep", "1000"), "id", User=user)[:2] == (126, "")


@pytest.mark.parametrize("passwd", [
    entry("etc/passwd", tarfile.FIFOTYPE), entry("etc/passwd", tarfile.SYMTYPE, linkname="/dev/zero"), entry("etc/passwd", tarfile.DIRTYPE),
    entry("etc/passwd", tarfile.SYMTYPE, linkname="../../../../../etc/passwd"), entry("etc/passwd", tarfile.SYMTYPE, linkname="/proc/self/mem"),
], ids=["fifo", "endless", "folder", "host", "memory"])  # fmt: skip
def test_cve_2026_47262_and_2024_9676_a_passwd_that_is_no_file_neither_blocks_nor_is_read(
    engine: Engine, passwd: tarfile.TarInfo
) -> None:
    image = engine.load("odd-passwd", a_layer({"etc/passwd": passwd}))
    began = time.monotonic()
    made = engine.create("id", image=image, User="web")
    with fails(400) as errors:
        engine.start_container(made)
    assert "unable to find user web" in errors[0].message
    assert engine.shell("grep ^Uid: /proc/self/status", image=image, User="1000").out.split()[1] == "1000"
    assert time.monotonic() - began < 10


def test_cve_2024_9676_a_passwd_without_end_is_refused(engine: Engine) -> None:
    image = engine.load("large-passwd", a_layer({"etc/passwd": b"x" * (3 << 20)}))
    made = engine.create("id", image=image, User="web")
    with fails(400) as errors:
        engine.start_container(made)
    assert "larger than" in errors[0].message


# ---- what of the engine can be reached from a container


def test_cve_2020_15257_no_socket_of_ours_has_an_abstract_name(engine: Engine) -> None:
    made = engine.run("sleep", "1000", NetworkMode="host")
    assert "@" not in engine.execute(made, "cat", "/proc/net/unix").out
    for path in [engine.socket, *(engine.exec_root / "m").iterdir()]:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o007


def test_cve_2024_25621_nobody_else_sees_what_is_kept(engine: Engine) -> None:
    engine.run("sleep", "1000", Env=["SECRET=x"])
    open_ = []
    for top in (engine.data_root, engine.exec_root / "m", engine.exec_root / "c"):
        assert stat.S_IMODE(top.stat().st_mode) == 0o700
    pid = os.fork()
    if pid == 0:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        for path in ("", "containers", "VERSION", "blobs"):
            try:
                os.listdir(engine.data_root / path)
                open_.append(path)
            except PermissionError:
                continue
            except OSError:
                open_.append(path)
        os._exit(len(open_))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_cve_2023_25809_a_container_cannot_write_its_cgroup(engine: Engine) -> None:
    script = "find /sys/fs/cgroup -name cgroup.procs | head -3; mkdir /sys/fs/cgroup/x; grep cgroup /proc/mounts | grep -w rw; echo end"
    assert engine.shell(script).out == "end\n"


def test_cve_2025_64329_attaching_and_leaving_costs_nothing(engine: Engine) -> None:
    made = engine.run("sleep", "1000", OpenStdin=True)
    before = len(os.listdir(f"/proc/{engine.pid}/fd"))
    for _ in range(30):
        taken = engine.client.take_over(f"/containers/{made}/attach", None, stream=True, stdout=True, stdin=True)
        taken.close()
    until(lambda: len(os.listdir(f"/proc/{engine.pid}/fd")) <= before + 1, "all descriptors are closed")
    with engine.monitor(made) as monitor:
        pid = monitor.ask("hello")["monitor"]
    assert len(os.listdir(f"/proc/{pid}/fd")) < 40


def test_cve_2026_53488_words_of_an_image_are_never_a_command(engine: Engine) -> None:
    words = "$(touch /pwned); `touch /pwned`\n' \" \\ %s {0} ../../x"
    engine.load(
        "words",
        Labels={words: words, "a": words},
        Env=["PATH=/bin", f"W={words}"],
        StopSignal="TERM",
        ExposedPorts={"80/tcp": {}},
    )
    made = engine.run("sh", "-c", 'printf %s "$W"', image="words", Labels={"own": words})
    engine.wait(made)
    assert engine.logs(made) == words
    assert engine.inspect(made)["Config"]["Labels"] == {words: words, "a": words, "own": words}
    assert not os.path.exists("/pwned")
    config = json.loads((engine.data_root / "containers" / made / "bundle/config.json").read_text())
    assert config["process"]["args"] == ["sh", "-c", 'printf %s "$W"']
