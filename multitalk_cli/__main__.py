"""The process: start-up, and how it ends."""

import gc
import os
import signal
import sys
from contextlib import suppress

GC_THRESHOLDS = (250_000, 20, 20)


def main() -> None:
    """Runs the command line and ends the process as shells expect.

    An interrupted run ends by the signal that interrupted it, so that a shell loop stops too.
    """
    _open_missing_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Nothing needs cleaning up before a command runs, and a traceback would not help.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1:] == ["--version"]:
        _print_version()
        return
    if sys.argv[1:2] == ["_complete"]:
        _print_candidates(sys.argv[2:])
        return
    _speed_up()
    from multitalk_cli.cli.app import run
    from multitalk_cli.cli.streams import mask_streams

    mask_streams()
    code = run(sys.argv[1:])
    if code > 128:
        number = signal.Signals(code - 128)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    # The memory goes with the process: looking for garbage in it once more takes 0.2 s.
    gc.freeze()
    sys.exit(code)


def _speed_up() -> None:
    """Settings that the start of a short command needs, before anything large is imported."""
    # Up to its call a command makes 190,000 objects, nearly all of which stay: Python's default of
    # looking for garbage after every 700 takes a third of the imports' time.
    gc.set_threshold(*GC_THRESHOLDS)
    # The face finder's matrices are small: handing them out to threads costs several times more
    # than multiplying them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _print_version() -> None:
    """Answers before typer is imported: scripts ask often, and it takes a third of the time."""
    from multitalk_cli import __version__

    with suppress(OSError):
        os.write(1, f"multitalk {__version__}\n".encode())


def _print_candidates(words: list[str]) -> None:
    """Answers a shell in which Tab was pressed; errors are never printed there."""
    from multitalk_cli.cli.completion.candidates import answer

    if len(words) == 2:
        lines = "".join(f"{line}\n" for line in answer(*words))
        with suppress(OSError):
            os.write(1, lines.encode("utf-8", "surrogateescape"))


def _open_missing_streams() -> None:
    """Opens what a caller closed (`>&-`), so that no file of ours becomes the standard output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    main()
