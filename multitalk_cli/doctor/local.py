"""Checks of this machine: Python, ffmpeg, folders, and whether media can be read and written."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli import settings
from multitalk_cli.doctor import eight_bit
from multitalk_cli.doctor.check import Check, Outcome
from multitalk_cli.reporting.formatting import human_bytes, human_count, shell_line
from multitalk_cli.weights.local import PACKS

if TYPE_CHECKING:
    from multitalk_cli.settings import Settings

LEAST_PYTHON = (3, 11)
PACKAGES = (
    "boto3", "imageio-ffmpeg", "modal", "numpy", "pillow", "platformdirs", "rich", "soundfile",
    "soxr", "tomlkit", "typer",
)  # fmt: skip
SHOWN = ("modal",)
MODAL_MAJOR = 1
ENCODERS = {"libx264": "h264", "aac": "aac"}
_MOVIE_PX, _MOVIE_FRAMES, _MOVIE_FPS = 64, 12, 24
_FULL_BYTES, _TIGHT_BYTES = 200 * 1000**2, 2 * 1000**3
_PROBED_BYTES = 1 << 20
_NARROW_COLUMNS = 60


def _install(*packages: str) -> str:
    """The command that installs packages for the Python that runs."""
    return shell_line([sys.executable, "-m", "pip", "install", *packages])


def _own_ffmpeg() -> str:
    """The command that restores the included ffmpeg, which was replaced by another one."""
    return f"unset IMAGEIO_FFMPEG_EXE; {_install('--force-reinstall', 'imageio-ffmpeg')}"


def checks(columns: int) -> list[Check]:
    """All checks of this machine that work offline. columns: of the terminal."""

    def check(name: str, run: Callable[[], Outcome], *needs: str) -> Check:
        return Check(name=name, group="local", run=run, needs=needs)

    return [
        check("python", check_python),
        check("settings", check_settings),
        check("ffmpeg", check_ffmpeg),
        check("media", check_media, "ffmpeg"),
        check("disk", lambda: check_disk(_places())),
        check("folders", lambda: check_folders(_places())),
        check("jobs", check_jobs, "folders"),
        check("terminal", lambda: check_terminal(columns, sys.getfilesystemencoding())),
        check("model", check_weights, "settings"),
    ]


def check_python(
    version: tuple[int, int] = sys.version_info[:2], packages: Iterable[str] = PACKAGES
) -> Outcome:
    """Versions of Python and of the packages that multitalk needs."""
    shown_version = f"Python {version[0]}.{version[1]}"
    if version < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        text = f"{shown_version} is older than {least}"
        return Outcome(text=text, state="fail", remedy=f"pipx install --python python{least} .")
    found, absent = {}, []
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
    if absent:
        text = f"{shown_version}, {', '.join(absent)} not installed"
        return Outcome(text=text, state="fail", remedy=_install(*absent))
    if not found.get("modal", f"{MODAL_MAJOR}.").startswith(f"{MODAL_MAJOR}."):
        text = f"{shown_version}, modal {found['modal']} is not version {MODAL_MAJOR}"
        return Outcome(text=text, state="fail", remedy=_install(f"modal<{MODAL_MAJOR + 1}"))
    shown = [f"{name} {found[name]}" for name in SHOWN if name in found]
    return Outcome(text=", ".join([shown_version, *shown]))


def check_settings() -> Outcome:
    """The settings that are not at their defaults. Raises for those that cannot be read."""
    chosen = [
        f"{setting.name} ({value.origin})"
        for setting, value in settings.load_settings().items()
        if value.origin != "default"
    ]
    return Outcome(text=f"settings {', '.join(chosen)}" if chosen else "default settings")


def check_ffmpeg() -> Outcome:
    """Whether ffmpeg runs and has the encoders."""
    from multitalk_cli.media.video import ffmpeg

    path = ffmpeg.executable()
    try:
        words = _printed("-version").split()
        listed = set(_printed("-encoders").split())
    except (OSError, ffmpeg.FfmpegError) as error:
        text = f"ffmpeg at {path} does not run: {error}"
        return Outcome(text=text, state="fail", remedy=_own_ffmpeg(), code="E_NO_FFMPEG")
    absent = [name for name in ENCODERS if name not in listed]
    if absent:
        text = f"ffmpeg at {path} lacks {', '.join(absent)}"
        return Outcome(text=text, state="fail", remedy=_own_ffmpeg(), code="E_NO_FFMPEG")
    version = words[2].partition("-")[0] if len(words) > 2 else "of unknown version"
    return Outcome(text=f"ffmpeg {version} ({', '.join(ENCODERS.values())})")


def _printed(question: str) -> str:
    from multitalk_cli.media.video import ffmpeg

    with ffmpeg.running([question], reads=True) as process:
        text = process.read(_PROBED_BYTES).decode("utf-8", "replace")
        process.finish()
    return text


def check_media() -> Outcome:
    """Reads the example picture and voice, and writes both as a tiny MP4."""
    from multitalk_cli.media.audio.tracks import write_sound_track
    from multitalk_cli.media.audio.voice import load_voice
    from multitalk_cli.media.image.load import load_picture
    from multitalk_cli.media.video.probe import probe_video
    from multitalk_cli.media.video.video import VideoWriter, join_segments

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="multitalk-")))
        examples = resources.files("multitalk_cli") / "examples"
        portrait = stack.enter_context(resources.as_file(examples / "portrait.png"))
        recording = stack.enter_context(resources.as_file(examples / "voice.wav"))
        pixels = load_picture(portrait).pixels[:_MOVIE_PX, :_MOVIE_PX]
        voice = load_voice(recording)
        segment, sound, movie = folder / "1.mp4", folder / "sound.flac", folder / "movie.mp4"
        side = _MOVIE_PX
        with VideoWriter(segment, width=side, height=side, fps=_MOVIE_FPS) as writer:
            for _ in range(_MOVIE_FRAMES):
                writer.write(pixels)
        write_sound_track((voice,), "sequence", sound, _MOVIE_FRAMES, _MOVIE_FPS)
        join_segments([segment], sound, movie, frames=_MOVIE_FRAMES, fps=_MOVIE_FPS, recipe="{}")
        if not probe_video(movie).has_audio:
            return Outcome(text="the MP4 has no sound", state="fail", code="E_FFMPEG")
    return Outcome(text="picture, voice and MP4 work")


def _places() -> tuple[Path, ...]:
    """The folders that multitalk writes to: videos, settings, jobs, caches, partial files."""
    from multitalk_cli.files import user_folder
    from multitalk_cli.jobs import ledger

    return (
        Path.cwd(),
        settings.files()[-1].absolute().parent,
        ledger.ledger_path().parent,
        user_folder("cache"),
        Path(tempfile.gettempdir()),
    )


def check_disk(
    places: Iterable[Path], full_bytes: int = _FULL_BYTES, tight_bytes: int = _TIGHT_BYTES
) -> Outcome:
    """The least free space of these places; fails below `full_bytes`, warns below `tight_bytes`."""
    free_bytes, place = min((shutil.disk_usage(_existing(each)).free, each) for each in places)
    free = f"{human_bytes(free_bytes)} free"
    if free_bytes >= tight_bytes:
        return Outcome(text=free)
    is_full = free_bytes < full_bytes
    return Outcome(
        text=f"{free} at {place}",
        state="fail" if is_full else "warn",
        remedy=f"free some space at {place}",
        code="E_DISK_FULL" if is_full else "",
    )


def _existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def check_folders(places: Iterable[Path]) -> Outcome:
    """Whether files can be created in all these places."""
    for place in places:
        existing = _existing(place)
        try:
            with tempfile.TemporaryFile(dir=existing):
                continue
        except OSError as error:
            text = f"{place} is not writable: {error.strerror}"
            is_folder = existing.is_dir()
            words = ("chmod", "u+rwx") if is_folder else ("mv", "-n", str(existing))
            last = str(existing) if is_folder else f"{existing}.old"
            remedy = shell_line([*words, last])
            return Outcome(text=text, state="fail", remedy=remedy, code="E_OUTPUT_PATH")
    return Outcome(text="folders writable")


def check_jobs() -> Outcome:
    """Whether the list of jobs can be read. Raises FileError E_LEDGER."""
    from multitalk_cli.jobs import ledger as jobs_ledger

    count = jobs_ledger.Ledger().count()
    return Outcome(text=human_count(count, "job") if count else "no jobs yet")


def check_terminal(columns: int, encoding: str) -> Outcome:
    """Whether the terminal shows every character and has room for tables."""
    if encoding.lower().replace("-", "") != "utf8":
        text = f"the terminal's encoding is {encoding}: names may look wrong"
        return Outcome(text=text, state="warn", remedy="export LC_ALL=C.UTF-8")
    if columns < _NARROW_COLUMNS:
        text = f"the terminal has {columns} columns: tables wrap"
        return Outcome(text=text, state="warn", remedy="make the window wider")
    return Outcome(text=f"terminal of {columns} columns")


def check_weights() -> Outcome:
    """The weights for --backend local. Raises SetupError for incomplete ones."""
    from multitalk_cli.generation.backends import local

    chosen = settings.load_settings()
    if not uses_this_machine(chosen):
        return Outcome(
            text="no weights on this machine (only needed for --backend local)", state="skip"
        )
    folder = local.check_setup(chosen["weights"], chosen.origin("weights"))
    is_of_download = folder.name in PACKS.values()
    where = ("--to", str(folder.parent)) if is_of_download else None
    return eight_bit.outcome(f"weights in {folder}", eight_bit.local_states(folder), where)


def uses_this_machine(chosen: Settings) -> bool:
    """Whether videos are made on this machine, without an account."""
    return chosen["weights"] is not None or chosen["backend"] == "local"
