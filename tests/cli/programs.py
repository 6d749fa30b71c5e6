"""Programs on a terminal of their own."""

import sys
from pathlib import Path

import pexpect
import pyte

ROOT = Path(__file__).resolve().parents[2]


class Program:
    """A program on a terminal of 100 by 24 characters, and its screen."""

    def __init__(self, argv, env):
        self.child = pexpect.spawn(
            sys.executable,
            argv,
            dimensions=(24, 100),
            cwd=ROOT,
            env={"TERM": "xterm-256color", **env},
            timeout=20,
        )
        self.raw = b""

    def until(self, text):
        self.child.expect_exact(text)
        self.raw += self.child.before + self.child.after

    def end(self):
        self.child.expect(pexpect.EOF)
        self.raw += self.child.before
        self.child.close()
        return self.screen

    @property
    def screen(self):
        screen = pyte.Screen(100, 24)
        pyte.ByteStream(screen).feed(self.raw)
        return [line.rstrip() for line in screen.display if line.strip()]
