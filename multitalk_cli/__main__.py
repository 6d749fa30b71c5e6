"""The process: start-up, and how it ends."""

import os
import signal
import sys


def main() -> None:
    """Runs the command line and ends the process as shells expect.

    An interrupted run ends by the signal that interrupted it, so that a shell loop stops too.
    """
    if sys.argv[1:] == ["--version"]:
        # Answered before typer is imported: scripts ask often, and it takes a third of the time.
        from multitalk_cli import __version__

        sys.stdout.write(f"multitalk {__version__}\n")
        return
    from multitalk_cli.main import run

    code = run(sys.argv[1:])
    if code > 128:
        number = signal.Signals(code - 128)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(code)


if __name__ == "__main__":
    main()
