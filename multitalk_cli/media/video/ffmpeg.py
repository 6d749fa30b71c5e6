"""The only place that starts ffmpeg: the files it may open, how it ends, and its errors."""

import errno
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from multitalk_cli.errors import FileError, SetupError
from multitalk_cli.files import LIFT_LIMIT, TOO_LARGE

if TYPE_CHECKING:
    from multitalk_cli.errors.exceptions import Fact

# The limit of one allocation: a header's claim must not fill the memory.
_MAX_ALLOCATION_BYTES = 256 * 1024 * 1024
_LOG_BYTES = 8192
_FULL = ("No space left on device", "Disk quota exceeded")
_TOO_LARGE = "File too large"
_SIGXFSZ = 25
_NO_PROGRAM = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENOEXEC}
VARIABLE = "IMAGEIO_FFMPEG_EXE"
"""The variable by which imageio-ffmpeg is told to use another ffmpeg."""
# "[mp3 @ 0x55d0c8ad6040] ": a part of ffmpeg, and where it lies in memory.
_SPEAKER = re.compile(r"\[[^\]]*@ 0x[0-9a-f]+\] ?")
# What it prints of a damaged part: a wrong checksum, a part that it cannot decode, or both.
_DAMAGE = (
    re.compile(rb"CRC (error|mismatch)"),
    re.compile(rb"Decoding error|Error submitting packet"),
)
_REPEATED = re.compile(rb"\s*Last message repeated (\d+) times")


class FfmpegError(FileError):
    """ffmpeg failed; `log` holds the end of what it printed."""

    def __init__(self, message: str, *, code: str, log: str = "", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.log = log

    @property
    def last_line(self) -> str:
        """The last line of the log, for a message."""
        return last_line(self.log)


def last_line(log: str) -> str:
    """The last line of a log, cut to what fits into a message."""
    return log.rsplit("\n", 1)[-1][:200]


def executable() -> str:
    """The path of the ffmpeg that is included in imageio-ffmpeg, or that its variable names.

    Raises SetupError if there is none for this machine.
    """
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise SetupError("no ffmpeg for this machine", code="E_NO_FFMPEG") from error


def _no_ffmpeg(program: str, problem: str) -> SetupError:
    """The error for a program that is no ffmpeg for this machine."""
    facts: dict[str, Fact] = {}
    named = f"ffmpeg {program!r}"
    if os.environ.get(VARIABLE):
        named = f"{VARIABLE} names {program!r}, which"
        facts = {"unset": (VARIABLE,)}
    return SetupError(f"{named} {problem}", code="E_NO_FFMPEG", facts=facts)


def read_from(
    path: Path,
    demuxer: str,
    *,
    options: Sequence[str] = (),
    span: tuple[int, int] | None = None,
) -> list[str]:
    """Arguments that open `path` as exactly this format, and let it open nothing else.

    span: start and end of the bytes that are read; None for the whole file.
    """
    # The prefix keeps a name such as "-x" or "concat:a" from being read as an option or protocol.
    source, protocols = f"file:{path}", "file,pipe"
    if span is not None:
        source = f"subfile,,start,{span[0]},end,{span[1]},,:{source}"
        protocols = f"{protocols},subfile"
    return ["-protocol_whitelist", protocols, "-f", demuxer, *options, "-i", source]


class _DamageCount:
    """Counts in a log, as it is written, the parts that are damaged."""

    def __init__(self) -> None:
        self._counts = [0, 0]
        self._last: int | None = None
        self._pending = b""

    @property
    def parts(self) -> int:
        """Damaged parts; neighbours may be one."""
        return max(self._counts)

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the log."""
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        self._pending = self._pending[:_LOG_BYTES]
        for line in lines:
            repeated = _REPEATED.match(line)
            if repeated is None:
                found = (n for n, pattern in enumerate(_DAMAGE) if pattern.search(line))
                self._last = next(found, None)
            if self._last is not None:
                self._counts[self._last] += 1 if repeated is None else int(repeated[1])


class Running:
    """A running ffmpeg: bytes in, bytes out, and the end of its log."""

    def __init__(self, arguments: Sequence[str], *, feeds: bool, reads: bool) -> None:
        self._program = program = executable()
        command = [program, "-hide_banner", "-nostdin", "-nostats", "-v", "error"]
        command += ["-max_alloc", str(_MAX_ALLOCATION_BYTES), *arguments]
        self._log, self._damage = bytearray(), _DamageCount()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if feeds else subprocess.DEVNULL,
                stdout=subprocess.PIPE if reads else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                # Ctrl-C in the terminal is for this process alone, which then stops ffmpeg.
                start_new_session=True,
            )
        except OSError as error:
            if error.errno not in _NO_PROGRAM:
                raise
            reason = error.strerror if error.strerror else str(error)
            raise _no_ffmpeg(program, f"cannot be started: {reason}") from error
        self._listener = threading.Thread(target=self._listen, daemon=True)
        try:
            self._listener.start()
        except BaseException:
            self._process.kill()
            raise

    def _listen(self) -> None:
        stderr = self._pipe(self._process.stderr).fileno()
        while chunk := os.read(stderr, 4096):
            self._damage.feed(chunk)
            self._log += chunk
            del self._log[:-_LOG_BYTES]

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise ValueError("this ffmpeg was started without that pipe")
        return pipe

    @property
    def log(self) -> str:
        """The end of its output on standard error so far, one line per message, printable."""
        text = _SPEAKER.sub("", bytes(self._log).decode("utf-8", "replace"))
        lines = ("".join(c if c.isprintable() else " " for c in line) for line in text.split("\n"))
        return "\n".join(line.strip() for line in lines if line.strip())

    @property
    def damaged_parts(self) -> int:
        """After `finish`: how many parts of its input are damaged, as far as that can be told."""
        return self._damage.parts

    def write(self, chunk: bytes | memoryview) -> None:
        """Feeds bytes; raises FfmpegError if it ended before it read them."""
        try:
            self._pipe(self._process.stdin).write(chunk)
        except BrokenPipeError:
            self._fail()

    def read(self, size_bytes: int) -> bytes:
        """The next `size_bytes` of its output, fewer only at the end."""
        return self._pipe(self._process.stdout).read(size_bytes)

    def finish(self) -> str:
        """Ends the input, waits, and returns the log; raises FfmpegError if it failed."""
        try:
            if self._process.stdin is not None:
                self._process.stdin.close()
        except BrokenPipeError:
            self._fail()
        self._process.wait()
        self._listener.join()
        if self._process.returncode != 0:
            self._fail()
        return self.log

    def _fail(self) -> None:
        self._process.wait()
        self._listener.join()
        log = self.log
        if self._process.returncode == -_SIGXFSZ or _TOO_LARGE in log:
            message = f"the video cannot be written: {TOO_LARGE}"
            raise FfmpegError(message, code="E_OUTPUT_PATH", log=log, hint=LIFT_LIMIT)
        if any(reason in log for reason in _FULL):
            raise FfmpegError("no space left on the disk", code="E_DISK_FULL", log=log)
        if not log and self._process.returncode == 0:
            raise _no_ffmpeg(self._program, "is not ffmpeg")
        log = log if log else f"exit code {self._process.returncode}"
        raise FfmpegError(f"ffmpeg failed: {last_line(log)}", code="E_FFMPEG", log=log)

    def stop(self) -> None:
        """Kills it if it is still running, and closes its pipes; may be called at any time."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


@contextmanager
def running(
    arguments: Sequence[str], *, feeds: bool = False, reads: bool = False
) -> Iterator[Running]:
    """Runs ffmpeg for the length of the block, and stops it at the end, however that comes.

    arguments: all after the executable. feeds: `write` is used. reads: `read` is used. It never
    inherits standard input.
    """
    process = Running(arguments, feeds=feeds, reads=reads)
    try:
        yield process
    finally:
        process.stop()


def run_by_hand(arguments: Sequence[str], *, is_quiet: bool, keeps_stdout: bool) -> None:
    """Runs ffmpeg as its user typed it, on the streams of this process; FfmpegError if it fails.

    is_quiet: errors only. keeps_stdout: what it would write there goes to standard error.
    """
    program = executable()
    quiet = ["-v", "error"] if is_quiet else []
    try:
        ran = subprocess.run(
            [program, "-hide_banner", "-nostdin", *quiet, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=2 if keeps_stdout else None,
            check=False,
        )
    except OSError as error:
        if error.errno not in _NO_PROGRAM:
            raise
        raise _no_ffmpeg(program, f"cannot be started: {error.strerror}") from error
    if ran.returncode:
        message = f"ffmpeg failed, exit code {ran.returncode}: its message is above"
        raise FfmpegError(message, code="E_FFMPEG", hint="multitalk ffmpeg -h")


def run(arguments: Sequence[str], *, fed: bytes | None = None) -> str:
    """Runs ffmpeg to its end and returns its log; raises FfmpegError if it failed."""
    with running(arguments, feeds=fed is not None) as process:
        if fed is not None:
            process.write(fed)
        return process.finish()
