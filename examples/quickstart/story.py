"""The quickstart: every step is what a person would type, done for real and checked. `run` beside this file prepares the machine for it."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
PORT = 8080
BOLD, DIM, GREEN, RED, END = ("\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m") if sys.stdout.isatty() else ("",) * 5


class StepError(Exception):
    """A step did not hold."""


class Story:
    def __init__(self, folder: Path) -> None:
        self.folder, self.repo, self.state, self.lab = folder, folder / "repo", folder / "state", folder / "state" / "lab"
        self.environment = {
            **os.environ,
            "GITOPSD_STATE_DIR": str(self.state),
            "GITOPSD_REPO": str(self.repo),
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_AUTHOR_NAME": "You",
            "GIT_AUTHOR_EMAIL": "you@example.org",
            "GIT_COMMITTER_NAME": "You",
            "GIT_COMMITTER_EMAIL": "you@example.org",
            "NO_COLOR": "1",
        }
        self.hosts: list[dict[str, Any]] = []
        self.serving: subprocess.Popen[bytes] | None = None
        self.summary: list[str] = []

    # telling

    @contextlib.contextmanager
    def step(self, sentence: str) -> Iterator[None]:
        started = time.monotonic()
        print(f"  {sentence} … ", end="", flush=True)
        try:
            yield
        except BaseException:
            print(f"{RED}failed{END}", flush=True)
            raise
        print(f"{DIM}{time.monotonic() - started:.1f} s{END}", flush=True)

    def chapter(self, number: int, title: str) -> None:
        print(f"\n{BOLD}{number}. {title}{END}", flush=True)

    def show(self, text: str, indent: str = "     ") -> None:
        for line in text.rstrip().splitlines():
            print(f"{indent}{DIM}{line}{END}", flush=True)

    # doing

    def run(self, *words: str | Path, expect: tuple[int, ...] = (0,), stdin: bytes | None = None) -> str:
        done = subprocess.run(words, env=self.environment, input=stdin, capture_output=True, check=False)
        if done.returncode not in expect:
            said = (done.stdout + done.stderr).decode(errors="replace")
            raise StepError(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{said}")
        return done.stdout.decode()

    def gitopsd(self, *words: str | Path, expect: tuple[int, ...] = (0,)) -> str:
        return self.run(BIN / "gitopsd", *words, expect=expect)

    def git(self, *words: str) -> str:
        return self.run("git", "-C", self.repo, *words)

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def builder(self, *words: str, stdin: bytes | None = None) -> str:
        return self.run(BIN / "gitopsd-engine", "-H", f"unix://{self.state}/run/engine.sock", *words, stdin=stdin)

    @contextlib.contextmanager
    def docker(self, host: int) -> Iterator[Callable[..., str]]:
        """The docker CLI on a host's socket, which ssh forwards."""
        sock = self.folder / "docker.sock"
        forward = subprocess.Popen(
            ["ssh", "-nNT", "-i", self.environment["GITOPSD_KEY"], "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o",
             "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ExitOnForwardFailure=yes", "-L",
             f"{sock}:/run/gitopsd-engine/engine.sock", f"root@{self.hosts[host]['address']}"]
        )  # fmt: skip
        try:
            self.until("ssh forwards the socket", sock.exists, 20)
            yield lambda *words: self.run("docker", "-H", f"unix://{sock}", *words)
        finally:
            forward.terminate()
            forward.wait()
            sock.unlink(missing_ok=True)

    def until(self, what: str, holds: Callable[[], Any], seconds: float = 90) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            try:
                found = holds()
            except (OSError, StepError, ValueError, KeyError):
                found = None
            if found:
                return found
            if self.serving is not None and self.serving.poll() is not None:
                raise StepError(f"gitopsd serve has ended:\n{self.log()}")
            if time.monotonic() > deadline:
                raise StepError(f"{what}: not within {seconds:g} s\n{self.log()}")
            time.sleep(0.3)

    def log(self) -> str:
        path = self.folder / "serve.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-40:]) if path.exists() else ""

    def fetch(self, host: int, path: str = "/") -> str:
        with urllib.request.urlopen(f"http://{self.hosts[host]['address']}:{PORT}{path}", timeout=5) as answer:
            return answer.read().decode()

    def version(self, host: int) -> str:
        return self.fetch(host, "/version").strip()

    def status(self) -> dict[str, Any]:
        return json.loads(self.gitopsd("status", "--json", expect=(0, 1, 2, 3)))

    def synced(self) -> bool:
        stacks = self.status()["stacks"]
        head = self.git("rev-parse", "--short=7", "HEAD").strip()
        return bool(stacks) and all(
            (stack["sync"], stack["health"]) == ("Synced", "Healthy") and stack["revision"].endswith(head) for stack in stacks
        )

    def etags(self) -> list[str]:
        return [host["etag"] for host in json.loads(self.gitopsd("host", "list", "--json"))["hosts"]]

    def must_be_empty(self) -> None:
        with self.step("`gitopsd plan` straight after it has nothing to do"):
            self.gitopsd("plan", expect=(0,))

    # the seven steps

    def make_hosts(self) -> None:
        self.chapter(1, "Hosts: two Linux machines made of namespaces, with sshd, without Docker")
        with self.step("gitopsd lab up 2"):
            lab = json.loads(self.gitopsd("lab", "up", "2", "--json"))
        self.hosts = lab["hosts"]
        self.environment["GITOPSD_KEY"] = lab["key"]
        for host in self.hosts:
            self.show(f"{host['name']}  {host['address']}")

    def make_repository(self) -> None:
        self.chapter(2, "Repository: a fleet file, a stack of two services, a Dockerfile")
        with self.step("git init, with what lies in examples/quickstart"):
            self.repo.mkdir(parents=True)
            for name in ("stacks", "web"):
                shutil.copytree(HERE / name, self.repo / name)
            fleet = (HERE / "gitopsd.yaml").read_text()
            for host in self.hosts:
                known = f'{host["name"]}: {{address: {host["address"]}, host_key: "{host["host_key"]}"}}'
                fleet = re.sub(rf"{host['name']}: {{.*}}", known, fleet)
            (self.repo / "gitopsd.yaml").write_text(fleet)
            self.git("init", "-q", "-b", "main")
            self.commit("feat: the shop")
        with self.step("gitopsd validate"):
            self.gitopsd("validate", self.repo)
        with self.step("a base image from Debian's busybox, pushed to the embedded registry as docker.io's busybox:stable"):
            self.gitopsd("registry", "start")
            self.builder("load", stdin=busybox_archive("127.0.0.1:5000/library/busybox:stable"))
            self.builder("push", "127.0.0.1:5000/library/busybox:stable")

    def first_commit(self) -> None:
        self.chapter(3, "First commit: gitopsd serve sees it and does the rest")
        started = time.monotonic()
        with self.step("serve plans, builds, pushes, brings the engine to both hosts and converges them"):
            with (self.folder / "serve.log").open("wb") as log:
                self.serving = subprocess.Popen(
                    [BIN / "gitopsd", "serve", "--drift", "600"], env=self.environment, stdout=log, stderr=log
                )
            self.until("both hosts are converged", self.synced, 180)
        self.summary.append(
            f"from the first commit to two converged hosts: {time.monotonic() - started:.1f} s, engine brought along"
        )
        self.show(self.log())
        with self.step("the page, fetched from outside the hosts"):
            pages = [self.fetch(host) for host in (0, 1)]
        for host, page in zip(self.hosts, pages, strict=True):
            self.show(f"{host['name']}: {' '.join(re.sub('<[^>]*>', ' ', page).split())}")
        self.must_be_empty()

    def change(self) -> None:
        self.chapter(4, "Change: a branch, its plan, and a deploy that nobody notices")
        self.git("checkout", "-q", "-b", "second")
        (self.repo / "web/site/version").write_text("2\n")
        self.commit("feat: version 2")
        self.git("checkout", "-q", "main")
        before = self.etags()
        with self.step("gitopsd plan --revision second: says what will happen and why"):
            self.show("\n" + self.gitopsd("plan", "--revision", "second", expect=(2,)))
        if self.etags() != before:
            raise StepError("planning changed a host")
        self.show("the state of both hosts has the same ETag before and after: nothing was changed")
        containers = self.containers(0)
        data = self.fetch(0, "/")
        with Load(self.hosts[0]["address"]) as load:
            started = time.monotonic()
            with self.step("git merge; serve applies it while a client opens a new connection for each fetch"):
                self.git("merge", "-q", "--ff-only", "second")
                self.until(
                    "both hosts answer with version 2", lambda: [self.version(h) for h in (0, 1)] == ["2", "2"] and self.synced()
                )
            taken = time.monotonic() - started
        load.must_be_clean()
        self.summary.append(f"second commit to converged: {taken:.1f} s; {load.text}")
        self.show(load.text)
        after = self.containers(0)
        if after["store"] != containers["store"] or after["web"] == containers["web"]:
            raise StepError(f"only web should have been replaced: {containers} became {after}")
        self.show("only web was replaced; the store's container is the same, and so is its data")
        if since(data) != since(self.fetch(0, "/")):
            raise StepError("the data in the volume has changed")
        self.must_be_empty()

    def containers(self, host: int) -> dict[str, str]:
        """Service to container id."""
        with self.docker(host) as docker:
            lines = docker("ps", "--no-trunc", "--format", '{{.Label "gitopsd.service"}} {{.ID}}').split("\n")
        return dict(line.split() for line in lines if len(line.split()) == 2)

    def drift(self) -> None:
        self.chapter(5, "Drift: somebody changes things by hand")
        with self.step("docker stop, docker network disconnect, docker update on lab-1"), self.docker(0) as docker:
            docker("stop", "shop-store-1")
            docker("network", "disconnect", "shop_shop", "shop-web-1")
            docker("update", "--memory", "128m", "--memory-swap", "256m", "shop-web-1")
        with self.step("gitopsd drift names each by its field"):
            found = self.gitopsd("drift", expect=(0, 2))
        self.show(found)
        for word in ("shop-store-1", "networks", "128"):
            if word not in found:
                raise StepError(f"drift does not name {word}:\n{found}")
        with self.step("gitopsd sync heals it"):
            self.gitopsd("sync")
            self.until("lab-1 is as Git says", self.synced)
        with self.docker(0) as docker:
            shown = json.loads(docker("inspect", "shop-web-1", "shop-store-1"))
        if shown[0]["HostConfig"]["Memory"] != 64 << 20 or "shop_shop" not in shown[0]["NetworkSettings"]["Networks"]:
            raise StepError("the web container is not as Git says")
        if not shown[1]["State"]["Running"]:
            raise StepError("the store does not run")
        self.must_be_empty()

    def back_and_away(self) -> None:
        self.chapter(6, "Back, and away: git revert, and a stack that leaves Git")
        builds = self.count_builds()
        with self.step("git revert: the first version is back"):
            self.git("revert", "--no-edit", "HEAD")
            self.until(
                "both hosts answer with version 1", lambda: [self.version(h) for h in (0, 1)] == ["1", "1"] and self.synced()
            )
        if self.count_builds() != builds:
            raise StepError("the revert built an image")
        self.show("nothing was built: the image of those files is in the registry")
        with self.step("the stack notes is taken out of gitopsd.yaml; its containers go"):
            lines = (self.repo / "gitopsd.yaml").read_text().splitlines(keepends=True)
            at = next(number for number, line in enumerate(lines) if line.startswith("  notes:"))
            (self.repo / "gitopsd.yaml").write_text("".join(lines[:at] + lines[at + 2 :]))
            self.commit("feat: no more notes")
            self.until("notes is gone", lambda: self.synced() and not self.notes())
        with self.docker(0) as first, self.docker_of(1) as second:
            volumes = first("volume", "ls", "-q") + second("volume", "ls", "-q")
        if "notes_log" not in volumes:
            raise StepError("the volume of notes is gone")
        said = self.gitopsd("history", "--json")
        if "notes_log" not in self.log() + said:
            raise StepError(f"nothing says that the volume notes_log is kept\n{self.log()}")
        self.show("its volume notes_log is kept, and said to be kept")
        self.must_be_empty()

    @contextlib.contextmanager
    def docker_of(self, host: int) -> Iterator[Callable[..., str]]:
        sock = f"/proc/{self.hosts[host]['pid']}/root/run/gitopsd-engine/engine.sock"
        yield lambda *words: self.run("docker", "-H", f"unix://{sock}", *words)

    def notes(self) -> str:
        with self.docker_of(0) as first, self.docker_of(1) as second:
            return "".join(docker("ps", "-aq", "--filter", "label=gitopsd.stack=notes") for docker in (first, second))

    def count_builds(self) -> int:
        return len(json.loads(self.builder("images", "--json")))

    def death(self) -> None:
        self.chapter(7, "Death: kill -9 of the engine's daemon on lab-1")
        root = Path(f"/proc/{self.hosts[0]['pid']}/root")
        with self.docker_of(0) as docker:
            docker("exec", "-d", "shop-web-1", "sh", "-c", LOOKUPS)
        with Load(self.hosts[0]["address"]) as load:
            time.sleep(0.5)
            pid = int((root / "run/gitopsd-engine/engine.pid").read_text())
            with self.step("kill -9, and it is back by itself"):
                self.gitopsd("lab", "exec", self.hosts[0]["name"], "--", "kill", "-9", str(pid))
                self.until("another daemon runs", lambda: int((root / "run/gitopsd-engine/engine.pid").read_text()) != pid, 20)
                self.until("it answers", lambda: self.containers(0), 20)
            with self.docker_of(0) as docker:
                docker("exec", "shop-web-1", "touch", "/tmp/enough")
                lookups = self.until("the look-ups have ended", lambda: docker("exec", "shop-web-1", "cat", "/tmp/lookups.all"))
        load.must_be_clean()
        words = lookups.split()
        if words.count("failed"):
            raise StepError(f"{words.count('failed')} of {len(words)} look-ups of store failed")
        self.show(f"{load.text}; {words.count('ok')} look-ups of store inside web, none failed")
        self.summary.append("the engine's daemon was killed: no fetch and no look-up failed")
        with self.docker(0) as docker:
            self.show(docker("ps", "--format", "table {{.Names}}\t{{.Status}}"))
        self.must_be_empty()

    # the end

    def down(self) -> None:
        if self.serving is not None:
            self.serving.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.serving.wait(30)
        pid_file = self.folder / "serve.pid"
        if pid_file.exists():
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(pid_file.read_text()), signal.SIGTERM)
        if self.lab.exists():
            self.gitopsd("lab", "down")
        if self.state.exists():
            self.gitopsd("registry", "remove", "--yes")
        shutil.rmtree(self.folder, ignore_errors=True)  # noqa: TID251  its hosts have gone, and what they had with them


LOOKUPS = """
while [ ! -e /tmp/enough ]; do nslookup store 127.0.0.11 >/dev/null 2>&1 && echo ok || echo failed; done > /tmp/lookups
mv /tmp/lookups /tmp/lookups.all
"""


class Load:
    """A client that opens a new connection for each fetch, in a process of its own."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.text = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, HERE / "client.py", f"{self._address}:{PORT}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(self, *_: object) -> None:
        output, _ = self._process.communicate(timeout=30)
        self._counted: dict[str, Any] = json.loads(output)
        self.text = "{fetches} fetches, {rate:.0f} a second, {failed} failed".format(**self._counted)

    def must_be_clean(self) -> None:
        if self._counted["failed"] or self._counted["rate"] < 200:
            raise StepError(f"{self.text}: {self._counted['errors']}")


def since(page: str) -> str:
    return next(line for line in page.splitlines() if "since" in line)


def busybox_archive(reference: str) -> bytes:
    """The distribution's static busybox as an image, in the form of `docker save`."""
    binary = shutil.which("busybox") or "/bin/busybox"
    words = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True).stdout.split()
    folders = ["bin", "etc", "root", "tmp", "var"]
    layer = tar(
        [(name, tarfile.DIRTYPE, b"", "", 0o1777 if name == "tmp" else 0o755) for name in folders]
        + [("bin/busybox", tarfile.REGTYPE, Path(binary).read_bytes(), "", 0o755)]
        + [("etc/passwd", tarfile.REGTYPE, b"root:x:0:0:root:/root:/bin/sh\n", "", 0o644)]
        + [(f"bin/{word}", tarfile.SYMTYPE, b"", "busybox", 0o777) for word in words if word != "busybox"]
    )
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {"architecture": architecture, "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
              "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}}  # fmt: skip
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
    members = {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode(), "layer.tar": layer}
    return tar([(name, tarfile.REGTYPE, data, "", 0o644) for name, data in members.items()])


def tar(entries: list[tuple[str, bytes, bytes, str, int]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, data, link, mode in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname, entry.mode = kind, len(data), link, mode
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bash examples/quickstart/run", description="From a commit to running containers on two hosts."
    )
    parser.add_argument("--keep", action="store_true", help="leave it up to play with")
    parser.add_argument("--down", action="store_true", help="take away what --keep left")
    options = parser.parse_args()
    story = Story(Path(os.environ.get("GITOPSD_QUICKSTART_DIR", "/var/tmp/gitopsd-quickstart")))
    if options.down:
        story.down()
        return 0
    if story.folder.exists():
        print(f"{story.folder} is there from an earlier run: bash examples/quickstart/run --down", file=sys.stderr)
        return 2
    story.folder.mkdir(parents=True, mode=0o700)
    started = time.monotonic()
    code = 1
    try:
        for step in (
            story.make_hosts,
            story.make_repository,
            story.first_commit,
            story.change,
            story.drift,
            story.back_and_away,
            story.death,
        ):
            step()
        code = 0
        print(f"\n{BOLD}{GREEN}All seven steps held, in {time.monotonic() - started:.0f} s.{END}")
        for line in story.summary:
            print(f"  {line}")
    except (StepError, OSError, KeyError, ValueError, StopIteration, subprocess.SubprocessError) as error:
        print(f"\n{RED}{error}{END}", flush=True)
    finally:
        if options.keep and code == 0:
            (story.folder / "serve.pid").write_text(str(story.serving.pid if story.serving else 0))
            print_next(story)
        else:
            with story.step("\n  taking everything away"):
                story.down()
            if code == 0:
                print("\nTo play with it: bash examples/quickstart/run --keep.  Hosts of your own: README.md")
    return code


def print_next(story: Story) -> None:
    print(f"""
It is up. Try:
  export GITOPSD_STATE_DIR={story.state} GITOPSD_REPO={story.repo} GITOPSD_KEY={story.environment["GITOPSD_KEY"]} PATH={BIN}:$PATH
  gitopsd status
  curl http://{story.hosts[0]["address"]}:{PORT}/
  cd {story.repo}; echo 3 > web/site/version; git commit -qam three; tail -f {story.folder}/serve.log
  docker -H unix:///proc/{story.hosts[0]["pid"]}/root/run/gitopsd-engine/engine.sock ps
Away with it: bash examples/quickstart/run --down""")


if __name__ == "__main__":
    sys.exit(main())
