"""What the builder's tests build with: a real launcher's workers, a chroot for RUN, a store of layers in a temporary folder."""

from __future__ import annotations

import hashlib
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
from gitopsd.engine.builder.errors import BuildError
from gitopsd.engine.builder.needs import BaseImage, BuiltImage, Command, Emit, Ended, Layer
from gitopsd.engine.builder.options import BuildOptions
from gitopsd.engine.runtime import messages
from gitopsd.engine.runtime.launcher import Launcher
from gitopsd.oci.digest import Digest
from gitopsd.oci.manifest import OCI_LAYER, Descriptor, chain_ids
from gitopsd.oci.platform import normalise
from gitopsd.oci.reference import parse_reference

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


class FolderStore:
    """Images as folders of layers. Layers are told apart by a tar of their content, times cut at the epoch."""

    def __init__(self, folder: Path) -> None:
        self.layers_root = str(folder / "layers")
        os.makedirs(self.layers_root)
        self.chains: dict[str, str] = {}
        self.images: dict[str, BaseImage] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        self.pulled: list[str] = []
        self.registry: dict[str, BaseImage] = {}

    def find(self, reference: str) -> Optional[BaseImage]:
        return self.images.get(reference)

    def pull(self, reference: str, emit: Emit) -> BaseImage:
        self.pulled.append(reference)
        if reference not in self.registry:
            raise BuildError(f"pull {reference}: not found", 404)
        self.images[reference] = self.registry[reference]
        return self.registry[reference]

    def has(self, layers: Sequence[Layer]) -> bool:
        return all(chain in self.chains for chain in self._chains(layers))

    def lower(self, layers: Sequence[Layer]) -> tuple[str, ...]:
        return tuple(self.chains[chain] for chain in reversed(self._chains(layers)))

    def add_layer(self, below: Sequence[Layer], upper: str, epoch: Optional[int]) -> Optional[Layer]:
        if not os.listdir(upper):
            return None
        diff_id = "sha256:" + hashlib.sha256(_tar_of(upper, epoch)).hexdigest()
        layer = Layer(diff_id, Descriptor(OCI_LAYER, Digest(diff_id), 1))
        chain = self._chains((*below, layer))[-1]
        if chain not in self.chains:
            short = format(len(os.listdir(self.layers_root)) + 1, "x")
            shutil.move(upper, os.path.join(self.layers_root, short))
            self.chains[chain] = short
        return layer

    def add_image(self, layers: Sequence[Layer], config: bytes, names: Sequence[str]) -> BuiltImage:
        digest = "sha256:" + hashlib.sha256(config).hexdigest()
        image = BaseImage(digest, digest, json.loads(config), tuple(layers))
        for name in names:
            self.images[str(parse_reference(name))] = image
        self.images[digest] = image
        return BuiltImage(digest, digest)

    def forget(self, layers: Sequence[Layer]) -> None:
        """The highest of these layers is lost."""
        del self.chains[self._chains(layers)[-1]]

    @staticmethod
    def _chains(layers: Sequence[Layer]) -> list[str]:
        return [str(chain) for chain in chain_ids([Digest(layer.diff_id) for layer in layers])]


def _tar_of(folder: str, epoch: Optional[int]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(Path(folder).rglob("*")):
            member = archive.gettarinfo(str(path), str(path.relative_to(folder)))
            member.mtime = min(member.mtime, epoch) if epoch is not None else member.mtime
            member.uname = member.gname = ""
            if member.isreg():
                archive.addfile(member, io.BytesIO(path.read_bytes()))
            else:
                archive.addfile(member)
    return out.getvalue()


class Rig:
    """A builder with everything it needs, and a base image `busybox:stable` made from Debian's busybox-static."""

    def __init__(self, folder: Path, launcher: Launcher) -> None:
        self.folder = folder
        self.store = FolderStore(folder)
        self.runner = ChrootRunner(self.store.layers_root)
        self.launcher = launcher
        self.builder = self.new_builder()
        self.base = self._make_base()
        self.output: list[Mapping[str, Any]] = []

    def new_builder(self) -> Builder:
        return Builder(
            str(self.folder / "builder"), self.store, self.runner, partial(run_worker, self.launcher), PLATFORM, lambda: NOW
        )

    def build(self, text: str, files: Optional[Mapping[str, Any]] = None, **options: Any) -> BaseImage:
        """Build a Dockerfile with these files in its context; options are those of BuildOptions."""
        return self.build_tar(tar({"Dockerfile": text, **(files or {})}), **options)

    def build_tar(self, data: bytes, **options: Any) -> BaseImage:
        self.output = []
        archive = self.builder.open_spool()
        try:
            os.write(archive, data)
            built = self.builder.build(archive, BuildOptions(**options), self.output.append, self.cancelled())
        finally:
            os.close(archive)
        return self.store.images[built.digest]

    def cancelled(self) -> threading.Event:
        return threading.Event()

    @property
    def printed(self) -> str:
        return "".join(str(event.get("stream", "")) for event in self.output)

    @property
    def hits(self) -> int:
        return self.printed.count("Using cache")

    def files(self, image: BaseImage) -> dict[str, str]:
        """What the layers of an image that are not the base's hold: path to a short description."""
        found: dict[str, str] = {}
        for short in reversed(self.store.lower(image.layers)[: len(image.layers) - len(self.base.layers)]):
            root = os.path.join(self.store.layers_root, short)
            for path in sorted(Path(root).rglob("*")):
                found["/" + str(path.relative_to(root))] = describe(path)
        return found

    def read(self, image: BaseImage, path: str) -> str:
        for short in self.store.lower(image.layers):
            place = Path(self.store.layers_root, short, path.lstrip("/"))
            if place.is_file():
                return place.read_text()
        raise FileNotFoundError(path)

    def leftovers(self) -> list[str]:
        return os.listdir(self.folder / "builder" / "work")

    def _make_base(self) -> BaseImage:
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
        layer = self.store.add_layer((), str(root), None)
        assert layer
        document = {
            "architecture": PLATFORM.architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
            "history": [{"created_by": "busybox"}],
        }
        return self.add_image("busybox:stable", document, (layer,))

    def add_image(self, name: str, document: Mapping[str, Any], layers: Sequence[Layer]) -> BaseImage:
        digest = "sha256:" + hashlib.sha256(json.dumps([name, document]).encode()).hexdigest()
        image = BaseImage(digest, digest, document, tuple(layers))
        reference = parse_reference(name)
        self.store.images[str(reference)] = image
        self.store.images[f"{reference.name}@{digest}"] = image
        return image


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
