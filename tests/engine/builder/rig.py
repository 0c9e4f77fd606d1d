"""What the builder's tests build with: a real launcher's workers, a real image store, and a chroot for RUN."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Optional

from gitopsd.dockerapi.errors import ApiError
from gitopsd.engine.builder.build import Builder
from gitopsd.engine.builder.needs import Command, Ended
from gitopsd.engine.builder.options import BuildOptions
from gitopsd.engine.images.images import Image, Images
from gitopsd.engine.runtime import messages
from gitopsd.engine.runtime.launcher import Launcher
from gitopsd.oci.platform import normalise

NOW = 1_700_000_000
PLATFORM = normalise("linux", os.uname().machine)


def run_worker(launcher: Launcher, job: str, arguments: dict[str, Any], descriptors: list[int]) -> Any:
    """A job in a real worker of a real launcher."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    result = os.memfd_create("result", os.MFD_CLOEXEC)
    try:
        with theirs:
            launcher.launch("worker", {"job": job, "arguments": arguments}, [theirs.fileno(), result, *descriptors])
        messages.receive(ours)
        os.lseek(result, 0, os.SEEK_SET)
        with os.fdopen(os.dup(result), "rb") as file:
            answer = json.loads(file.read())
    finally:
        ours.close()
        os.close(result)
    if "error" in answer:
        raise ApiError(answer["error"]["status"], answer["error"]["message"])
    return answer["result"]


class ChrootRunner:
    """Runs a command in a chroot on an overlay, in a mount namespace of its own; counts what it ran."""

    def __init__(self, layers_root: str) -> None:
        self.layers_root = layers_root
        self.commands: list[Command] = []
        self.running = 0
        self.most_running = 0
        self._lock = threading.Lock()

    def run(self, command: Command, output: Callable[[bytes], None], cancelled: threading.Event) -> Ended:
        with self._lock:
            self.commands.append(command)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        target = os.path.join(os.path.dirname(command.upper), "merged")
        stub = '[ -e "$t/etc/hosts" ] || { mkdir -p "$t/etc" && : > "$t/etc/hosts"; }; mkdir -p "$t/proc"; mount -t proc proc "$t/proc";'
        script = (
            'set -e; t=$1; o=$2; d=$3; shift 3; mount -t overlay overlay -o "$o" "$t"; '
            f'{stub} exec chroot "$t" /bin/busybox sh -c \'cd "$0" && exec "$@"\' "$d" "$@"'
        )
        options = f"lowerdir={':'.join(command.lower)},upperdir={command.upper},workdir={command.work}"
        arguments = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", script, "sh", target, options]
        process = subprocess.Popen(
            [*arguments, command.directory, *command.arguments],
            cwd=self.layers_root,
            env=dict(variable.split("=", 1) for variable in command.environment) | {"PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout
        watcher = threading.Thread(target=lambda: cancelled.wait(60) and process.kill(), daemon=True)
        watcher.start()
        with process.stdout:
            while data := os.read(process.stdout.fileno(), 65536):
                output(data)
        code = process.wait()
        with self._lock:
            self.running -= 1
        return Ended(137 if code < 0 else code, ("/proc", "/etc/hosts"))


class Rig:
    """A builder with everything it needs, and a base image `busybox:stable` made from Debian's busybox-static."""

    def __init__(self, folder: Path, launcher: Launcher) -> None:
        self.folder = folder
        self.run_worker = partial(run_worker, launcher)
        (folder / "data").mkdir(mode=0o700)
        self.images = Images(str(folder / "data"), self.run_worker)
        self.runner = ChrootRunner(self.images.layer_store.folder)
        self.builder = self.new_builder()
        self.base = self._make_base()
        self.output: list[Mapping[str, Any]] = []

    def new_builder(self) -> Builder:
        """As another daemon would have it."""
        return Builder(str(self.folder / "data/builder"), self.images, self.runner, self.run_worker, lambda: NOW)

    def build(self, text: str, files: Optional[Mapping[str, Any]] = None, **options: Any) -> Image:
        """Build a Dockerfile with these files in its context; options are those of BuildOptions."""
        return self.build_tar(tar({"Dockerfile": text, **(files or {})}), **options)

    def build_tar(self, data: bytes, **options: Any) -> Image:
        self.output = []
        archive = self.builder.open_spool()
        try:
            os.write(archive, data)
            built = self.builder.build(archive, BuildOptions(**options), self.output.append, self.cancelled())
        finally:
            os.close(archive)
        return self.images.find(built.digest)

    def cancelled(self) -> threading.Event:
        return threading.Event()

    @property
    def printed(self) -> str:
        return "".join(str(event.get("stream", "")) for event in self.output)

    @property
    def hits(self) -> int:
        return self.printed.count("Using cache")

    def layers(self, image: Image) -> list[Path]:
        """The folders of an image's layers, the highest first."""
        return [Path(self.images.layer_store.folder, short) for short in self.images.layers(image.digest)]

    def files(self, image: Image) -> dict[str, str]:
        """What the layers of an image that are not the base's hold: path to a short description."""
        found: dict[str, str] = {}
        folders = self.layers(image)
        for root in reversed(folders[: len(folders) - len(self.base.manifest.layers)]):
            for path in sorted(root.rglob("*")):
                found["/" + str(path.relative_to(root))] = describe(path)
        return found

    def read(self, image: Image, path: str) -> str:
        for root in self.layers(image):
            if (root / path.lstrip("/")).is_file():
                return (root / path.lstrip("/")).read_text()
        raise FileNotFoundError(path)

    def leftovers(self) -> list[str]:
        return os.listdir(self.folder / "data/builder/work")

    def _make_base(self) -> Image:
        root = self.folder / "base"
        (root / "bin").mkdir(parents=True)
        (root / "etc").mkdir()
        (root / "tmp").mkdir()
        (root / "tmp").chmod(0o1777)
        shutil.copy("/bin/busybox", root / "bin/busybox")
        for name in (
            "sh",
            "ls",
            "cat",
            "echo",
            "mkdir",
            "touch",
            "rm",
            "ln",
            "chmod",
            "chown",
            "env",
            "sleep",
            "true",
            "stat",
            "id",
            "mv",
        ):
            (root / "bin" / name).symlink_to("busybox")
        (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\nstaff:x:50:\n")
        with self.images.blobs.lease() as lease:
            self.base_layer = self.images.add_layer((), str(root), 0, lease)
        return self.add_image("busybox:stable", {"Env": ["PATH=/bin"], "Cmd": ["sh"]})

    def add_image(self, name: str, config: Mapping[str, Any], history: Sequence[Any] = ({"created_by": "busybox"},)) -> Image:
        """An image of the base's layer with this config."""
        diff_id, blob = self.base_layer
        document = {
            "architecture": PLATFORM.architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": history,
        }
        with self.images.blobs.lease() as lease:
            lease.keep(blob.digest)
            return self.images.commit(document, [blob], [name], lease)


def describe(path: Path) -> str:
    """Kind, mode, owner and content of a file in one line."""
    status = path.lstat()
    if path.is_symlink():
        return f"-> {os.readlink(path)}"
    mode = f"{status.st_mode & 0o7777:o} {status.st_uid}:{status.st_gid}"
    if path.is_dir():
        return f"{mode} /"
    return f"{mode} {path.read_text()!r}" if path.is_file() else f"{mode} {status.st_mode & 0o170000:o}"


def tar(files: Mapping[str, Any], compression: str = "") -> bytes:
    """A context: text, bytes, None for a folder, a `(mode, text)`, or a ready TarInfo for what is out of the ordinary."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.mtime, member.mode, member.uid, member.gid = 1_600_000_000, 0o644, 1000, 1000
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                archive.addfile(content)
                continue
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
                continue
            if isinstance(content, tuple):
                member.mode, content = content
            data = content.encode() if isinstance(content, str) else content
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def link(target: str, hard: bool = False) -> tarfile.TarInfo:
    member = tarfile.TarInfo()
    member.type, member.linkname = (tarfile.LNKTYPE if hard else tarfile.SYMTYPE), target
    return member
