"""What a program in a container sees and may do: namespaces, users, capabilities, files, devices. Docker's defaults are the measure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.engine.running import Engine, fails

pytestmark = pytest.mark.host

_HIDDEN_FILES = ["/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug"]
_HIDDEN_FOLDERS = ["/proc/asound", "/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"]


def lines(engine: Engine, script: str, **settings: object) -> list[str]:
    done = engine.shell(script, **settings)
    assert done.code == 0, done
    return done.out.splitlines()


def test_a_container_has_six_namespaces_of_its_own(engine: Engine) -> None:
    inside = dict(
        line.split("=")
        for line in lines(engine, "for n in cgroup ipc mnt net pid uts; do echo $n=$(readlink /proc/self/ns/$n); done")
    )
    for name, value in inside.items():
        assert value != os.readlink(f"/proc/{engine.keeper.pid}/ns/{name}"), name


def test_a_container_sees_only_its_own_processes(engine: Engine) -> None:
    assert lines(engine, "echo $$; ls /proc | grep -c '^[0-9]'")[0] == "1"
    assert lines(engine, "ps -o pid,comm") == ["PID   COMMAND", "    1 sh", "    2 ps"] or len(lines(engine, "ps -o pid")) <= 3


def test_a_container_sees_only_its_own_cgroup(engine: Engine) -> None:
    for line in lines(engine, "cat /proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers in ("memory", "pids", "cpu", "cpuacct", "devices", "freezer", "blkio", "cpuset"):
            assert path == "/", line


def test_capabilities_are_dockers_fourteen_and_none_is_inheritable(engine: Engine) -> None:
    status = dict(line.split(":\t") for line in lines(engine, "grep ^Cap /proc/self/status"))
    assert status == {
        "CapInh": "0" * 16, "CapAmb": "0" * 16, "CapPrm": "00000000a80425fb", "CapEff": "00000000a80425fb", "CapBnd": "00000000a80425fb",
    }  # fmt: skip


def test_capabilities_are_added_and_dropped_by_name(engine: Engine) -> None:
    script = "grep -E '^Cap(Eff|Bnd)' /proc/self/status | cut -f 2"
    assert lines(engine, script, CapDrop=["ALL"]) == ["0" * 16] * 2
    assert lines(engine, script, CapDrop=["ALL"], CapAdd=["CAP_CHOWN", "net_admin"]) == ["0000000000001001"] * 2
    with fails(400):
        engine.create("true", CapAdd=["EVERYTHING"])


def test_a_user_has_no_capabilities_but_may_gain_those_of_the_bounding_set(engine: Engine) -> None:
    status = dict(line.split(":\t") for line in lines(engine, "grep ^Cap /proc/self/status", User="web"))
    assert (status["CapEff"], status["CapPrm"], status["CapBnd"]) == ("0" * 16, "0" * 16, "00000000a80425fb")


@pytest.mark.parametrize("path", _HIDDEN_FILES)
def test_files_that_tell_of_the_host_read_empty(engine: Engine, path: str) -> None:
    assert lines(engine, f"[ ! -e {path} ] || [ $(wc -c < {path}) = 0 ] && echo hidden") == ["hidden"]


@pytest.mark.parametrize("path", _HIDDEN_FOLDERS)
def test_folders_that_tell_of_the_host_are_empty_and_cannot_be_written(engine: Engine, path: str) -> None:
    assert lines(engine, f"ls -A {path} 2>/dev/null | wc -l; touch {path}/x 2>/dev/null && echo written || true") == ["0"]


@pytest.mark.parametrize(
    "path",
    ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/sys/kernel/uevent_helper"],
)
def test_switches_of_the_kernel_cannot_be_written(engine: Engine, path: str) -> None:
    done = engine.shell(f"[ ! -e {path} ] || echo b > {path}", CapAdd=["ALL"])
    assert done.code == 0 if not os.path.exists(path) else (done.code != 0 and "ead-only" in done.err)


def test_the_devices_are_the_default_ones(engine: Engine) -> None:
    assert lines(engine, "ls /dev") == ["core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
                                        "stdout", "tty", "urandom", "zero"]  # fmt: skip
    script = (
        "head -c 3 /dev/zero | od -An -tx1; echo x > /dev/null; head -c 16 /dev/urandom | wc -c; echo x > /dev/full || echo full"
    )
    assert lines(engine, script) == [" 00 00 00", "16", "full"]


def test_a_disk_cannot_be_opened_even_by_a_node_of_ones_own(engine: Engine) -> None:
    disks = [Path("/sys/block", name, "dev").read_text().strip() for name in os.listdir("/sys/block")]
    major, minor = disks[0].split(":")
    for script in (
        f"mknod /d b {major} {minor} && head -c 1 /d",
        "mknod /m c 1 1 && head -c 1 /m",
        f"mknod /tmp/d b {major} {minor} && echo > /tmp/d",
    ):
        done = engine.shell(script)
        assert done.code != 0, script
        assert "not permitted" in done.err, done.err


def test_a_read_only_root_takes_writes_only_where_something_is_mounted(engine: Engine) -> None:
    script = "touch /x 2>&1; touch /tmp/a && echo tmp; touch /dev/shm/b && echo shm; touch /v/c && echo volume"
    assert lines(engine, script, ReadonlyRootfs=True, Tmpfs={"/tmp": ""}, Volumes={"/v": {}}) == [
        "touch: /x: Read-only file system", "tmp", "shm", "volume"]  # fmt: skip


def test_a_tmpfs_has_the_size_mode_and_flags_asked_for(engine: Engine) -> None:
    script = "grep ' /t ' /proc/mounts | cut -d' ' -f 4; stat -c %a /t; head -c 2000000 /dev/zero > /t/x || echo full"
    flags, mode, full = lines(engine, script, Tmpfs={"/t": "size=1m,mode=700"})
    assert {"rw", "nosuid", "nodev", "noexec"} <= set(flags.split(","))
    assert (mode, full) == ("700", "full")
    mounts = [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o700}}]
    assert lines(engine, script, Mounts=mounts)[1:] == ["700", "full"]
    assert "exec" not in lines(engine, script, Tmpfs={"/t": "exec"})[0].replace("noexec", "").split(",")


def test_a_plain_tmpfs_can_be_written_by_everybody(engine: Engine) -> None:
    assert lines(engine, "touch /t/x && stat -c %a /t", Tmpfs={"/t": ""}, User="web") == ["1777"]


@pytest.mark.parametrize(("user", "expected"), [
    ("", "uid=0(root) gid=0(root) groups=0(root)"),
    ("web", "uid=1000(web) gid=1000(web) groups=1000(web),1500(extra)"),
    ("1000", "uid=1000(web) gid=1000(web) groups=1000(web),1500(extra)"),
    ("web:other", "uid=1000(web) gid=1501(other) groups=1501(other)"),
    ("web:7", "uid=1000(web) gid=7 groups=7"),
    ("4242", "uid=4242 gid=0(root) groups=0(root)"),
    ("4242:4243", "uid=4242 gid=4243 groups=4243"),
    ("1001", "uid=1001 gid=0(root) groups=0(root)"),
])  # fmt: skip
def test_users_are_looked_up_in_the_image(engine: Engine, user: str, expected: str) -> None:
    assert lines(engine, "id", User=user) == [expected]


def test_home_is_that_of_the_user_unless_said(engine: Engine) -> None:
    assert lines(engine, "echo $HOME", User="web") == ["/home/web"]
    assert lines(engine, "echo $HOME", User="4242") == ["/"]
    assert lines(engine, "echo $HOME", User="web", Env=["HOME=/tmp"]) == ["/tmp"]


def test_a_user_who_is_not_there_is_an_error_that_names_them(engine: Engine) -> None:
    made = engine.create("true", User="ghost")
    with fails(400) as errors:
        engine.start_container(made)
    assert "unable to find user ghost" in errors[0].message
    assert engine.status(made)["ExitCode"] != 0


def test_no_new_privileges_is_set_when_asked_for(engine: Engine) -> None:
    script = "grep NoNewPrivs /proc/self/status | cut -f 2"
    assert lines(engine, script) == ["0"]
    assert lines(engine, script, SecurityOpt=["no-new-privileges"]) == ["1"]
    assert lines(engine, script, SecurityOpt=["no-new-privileges:true"], User="web") == ["1"]


def test_sysctls_of_the_containers_own_namespaces_are_set(engine: Engine) -> None:
    sysctls = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "123456789", "fs.mqueue.msg_max": "11"}
    assert lines(engine, "sysctl -n net.ipv4.ip_forward kernel.shmmax fs.mqueue.msg_max", Sysctls=sysctls) == [
        "1",
        "123456789",
        "11",
    ]


def test_a_sysctl_that_the_kernel_does_not_have_is_an_error_that_names_it(engine: Engine) -> None:
    made = engine.create("true", Sysctls={"net.no.such.thing": "1"})
    with fails(500) as errors:
        engine.start_container(made)
    assert "/proc/sys/net/no/such/thing" in errors[0].message
    assert "/proc/sys/net/no/such/thing" in engine.status(made)["Error"]


@pytest.mark.parametrize(
    "name",
    [
        "kernel.core_pattern",
        "vm.swappiness",
        "net/../kernel/core_pattern",
        "kernel.shm../core_pattern",
        "kernel.shmmax/../core_pattern",
    ],
)
def test_sysctls_of_the_host_are_refused(engine: Engine, name: str) -> None:
    with fails(400):
        engine.create("true", Sysctls={name: "1"})


def test_low_ports_and_ping_need_no_privilege(engine: Engine) -> None:
    assert lines(
        engine,
        "(nc -l -p 80 </dev/null & sleep 0.1; netstat -lnt | grep -c :80; kill %1) 2>/dev/null",
        User="web",
        CapDrop=["ALL"],
    ) == ["1"]
    assert lines(engine, "cat /proc/sys/net/ipv4/ping_group_range") == ["0\t2147483647"]


def test_ulimits_are_set(engine: Engine) -> None:
    limits = [{"Name": "nofile", "Soft": 64, "Hard": 128}, {"Name": "core", "Soft": 0, "Hard": 0}]
    assert lines(engine, "ulimit -n; ulimit -Hn; ulimit -c", Ulimits=limits) == ["64", "128", "0"]
    assert lines(engine, "ulimit -n") == ["1024"]


def test_hostname_hosts_and_resolver_are_the_containers_own(engine: Engine) -> None:
    made = engine.run("sleep", "100", Hostname="moon", ExtraHosts=["there:192.0.2.7"], Dns=["192.0.2.53"])
    address = engine.inspect(made)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    assert engine.execute(made, "hostname").out == "moon\n"
    assert engine.execute(made, "cat", "/etc/hostname").out == "moon\n"
    hosts = engine.execute(made, "cat", "/etc/hosts").out.splitlines()
    assert f"{address}\tmoon" in hosts
    assert "192.0.2.7\tthere" in hosts
    assert "127.0.0.1\tlocalhost" in hosts
    assert engine.execute(made, "cat", "/etc/resolv.conf").out.startswith("nameserver 127.0.0.11\n")
    assert engine.execute(made, "hostname", "mars").code != 0, "without CAP_SYS_ADMIN"
    unnamed = engine.run("sleep", "100")
    assert engine.execute(unnamed, "hostname").out == f"{unnamed[:12]}\n"


def test_the_environment_is_the_images_and_the_containers(engine: Engine) -> None:
    engine.load("env", Env=["PATH=/bin", "A=image", "B=image"])
    made = engine.run("env", image="env", Env=["B=own", "C=two words=and more", "A"], Hostname="h")
    engine.wait(made)
    assert sorted(engine.logs(made).splitlines()) == ["B=own", "C=two words=and more", "HOME=/root", "HOSTNAME=h", "PATH=/bin"]


def test_a_working_directory_is_made_if_it_is_missing_and_owned_by_the_user(engine: Engine) -> None:
    assert lines(engine, "pwd", WorkingDir="/tmp") == ["/tmp"]
    assert lines(engine, "pwd; stat -c %u .", WorkingDir="/srv/deep/er", User="web") == ["/srv/deep/er", "1000"]


@pytest.mark.parametrize(("command", "status", "code", "words"), [
    (["nothing-here"], 400, 127, "executable file not found"),
    (["/not/here"], 400, 127, "no such file"),
    (["/etc/passwd-plain"], 400, 126, "permission denied"),
    (["/etc"], 400, 126, "permission denied"),
    (["/tmp/script-of-nothing"], 400, 127, "no such file"),
    (["/tmp/garbage"], 400, 126, "exec format error"),
    (["x" * 100_000], 400, 127, "executable file not found"),
    (["/" + "y" * 100_000], 400, 126, "name too long"),
])  # fmt: skip
def test_a_program_that_cannot_run_is_an_error_with_a_shells_exit_code(
    engine: Engine, command: list[str], status: int, code: int, words: str
) -> None:
    from tests.engine.archives import a_layer

    plain = a_layer({"tmp/script-of-nothing": b"#!/not/there\n", "tmp/garbage": b"\x00\x01\x02 garbage"})
    engine.load("broken", plain)
    made = engine.create(*command, image="broken", Entrypoint=[])
    if command == ["/etc/passwd-plain"]:
        made = engine.create("/etc/group", image="broken", Entrypoint=[], User="web")
    with fails(status) as errors:
        engine.start_container(made)
    assert words in errors[0].message.lower()
    assert engine.status(made)["ExitCode"] == code
    assert engine.status(made)["Status"] in ("created", "exited")


@pytest.mark.parametrize(("script", "code"), [
    ("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("nothing-here", 127), ("/etc/group", 126),
])  # fmt: skip
def test_exit_codes_are_the_programs(engine: Engine, script: str, code: int) -> None:
    assert engine.shell(script).code == code


@pytest.mark.parametrize("number", [1, 6, 9, 11, 15])
def test_a_program_that_a_signal_ends_exits_with_128_and_its_number(engine: Engine, number: int) -> None:
    # a program that is not the first of its namespace, and that no shell wraps
    made = engine.run("sleep", "100")
    script = f"sleep 100 & kill -{number} $!; wait $!; echo $?"
    assert engine.execute(made, "sh", "-c", script).out == f"{128 + number}\n"
    assert engine.execute(made, "sh", "-c", f"kill -{number} $$").code == 128 + number
