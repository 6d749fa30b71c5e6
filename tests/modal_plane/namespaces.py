"""Runs one command in a file system of its own: `python -I namespaces.py SPEC.json`.

The root is a tmpfs whose entries are bind mounts of this machine's, so that the container has the
same Python and libraries, with a private /root and /tmp, the app's uploaded files, and its volumes.
Standard library only, because this file starts before any package is on the path. Every step keeps
the process id: who started it may signal it, and it dies with its parent.

Works as root (a mount namespace) and as an ordinary user (a user namespace as well).
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG = 1
PRIVATE_FOLDERS = ("root", "tmp")


@dataclass(kw_only=True)
class Bind:
    """A folder or file of this machine, shown at `target` inside."""

    source: str
    target: str
    read_only: bool = False


@dataclass(kw_only=True)
class Spec:
    """What to run, and in which file system.

    root: an empty folder to build the new root on.
    files: a folder copied over the new root, or empty.
    keep: paths under the private folders that stay visible (the Python installation).
    hidden: folders that must look empty.
    """

    root: str
    command: list[str]
    workdir: str = "/root"
    files: str = ""
    binds: list[Bind] = field(default_factory=list)
    keep: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    user_namespace: bool = False

    def to_json(self) -> str:
        """The form that the launcher reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Spec":
        """The reverse of `to_json`."""
        fields = json.loads(text)
        return cls(**{**fields, "binds": [Bind(**bind) for bind in fields["binds"]]})


def launcher(spec_file: Path) -> list[str]:
    """The command line that runs a written spec."""
    return [sys.executable, "-I", str(Path(__file__).resolve()), str(spec_file)]


@cache
def is_allowed(*, user_namespace: bool) -> bool:
    """Whether this user may make such namespaces on this machine."""
    code = f"import namespaces; namespaces.enter({user_namespace})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, check=False)
    return done.returncode == 0


def needs_user_namespace() -> bool | None:
    """Whether containers need a user namespace here; None where no namespace is allowed at all."""
    for user_namespace in (False, True):
        if is_allowed(user_namespace=user_namespace):
            return user_namespace
    return None


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    encoded = None if kind is None else kind.encode()
    result = _libc().mount(source.encode(), target.encode(), encoded, ctypes.c_ulong(flags), None)
    _check(result, f"mount {source} on {target}")


def die_with_parent() -> None:
    """Lets the kernel kill this process when the thread that started it ends."""
    _check(_libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")


def enter(user_namespace: bool) -> None:
    """Leaves the mount namespace of the parent (and its user namespace), and dies with it."""
    user, group = os.getuid(), os.getgid()
    _check(_libc().unshare(CLONE_NEWNS | (CLONE_NEWUSER if user_namespace else 0)), "unshare")
    if user_namespace:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    # After unshare, because a change of credentials may clear the setting.
    die_with_parent()


def _bind(source: Path, target: Path) -> None:
    """Shows `source` at `target`, which is created as a folder or a file to match."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount(str(source), str(target), None, MS_BIND | MS_REC)


def _mirror_machine(root: Path, keep: list[str]) -> None:
    for entry in Path("/").iterdir():
        target = root / entry.name
        if entry.is_symlink():
            target.symlink_to(entry.readlink())
        elif entry.name in PRIVATE_FOLDERS:
            target.mkdir()
        elif entry.exists():
            _bind(entry, target)
    for folder in {Path(*Path(path).parts[:3]) for path in keep}:
        if folder.parts[1] in PRIVATE_FOLDERS:
            _bind(folder, root / folder.relative_to("/"))


def _refuse_machine_folders(target: str) -> None:
    """Writing below a mirrored folder would change this machine."""
    top = Path(target).parts[1]
    if top not in PRIVATE_FOLDERS and Path("/", top).exists():
        raise ValueError(f"{target}: containers of the tests cannot write below /{top}")


def _copy_files(files: Path, root: Path) -> None:
    for entry in files.iterdir():
        _refuse_machine_folders(f"/{entry.name}")
        shutil.copytree(entry, root / entry.name, dirs_exist_ok=True)


def _bind_volumes(binds: list[Bind], root: Path) -> None:
    for bind in binds:
        _refuse_machine_folders(bind.target)
        target = root / bind.target.lstrip("/")
        _bind(Path(bind.source), target)
        if bind.read_only:
            _mount("none", str(target), None, MS_REMOUNT | MS_BIND | MS_RDONLY)


def enter_file_system(spec: Spec) -> None:
    """Builds the file system and moves this process into it."""
    enter(spec.user_namespace)
    root = Path(spec.root)
    _mount("tmpfs", str(root), "tmpfs", 0)
    _mirror_machine(root, spec.keep)
    for folder in spec.hidden:
        target = root / folder.lstrip("/")
        if target.is_dir():
            _mount("tmpfs", str(target), "tmpfs", MS_RDONLY)
    if spec.files:
        _copy_files(Path(spec.files), root)
    _bind_volumes(spec.binds, root)
    os.chroot(root)
    Path(spec.workdir).mkdir(parents=True, exist_ok=True)
    os.chdir(spec.workdir)


def run(spec: Spec) -> None:
    """Becomes the command in its file system; never returns."""
    enter_file_system(spec)
    # A shell that runs the tests in the background makes its children ignore SIGINT.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(spec.command[0], spec.command)


if __name__ == "__main__":
    run(Spec.from_json(Path(sys.argv[1]).read_text(encoding="utf-8")))
