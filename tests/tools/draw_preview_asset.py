"""Makes the README's picture: the example's preview as the terminal and two of its frames show it.

python -m tests.tools.draw_preview_asset assets/preview.png

The font is DejaVu Sans Mono, which must be installed.
"""

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from multitalk_cli.media.audio.envelope import mouth_openings, voice_levels
from multitalk_cli.media.video.video import read_frames
from tests.generation.backends.previews import PORTRAIT, VOICE, flac, speech
from tests.terminal.program import Program, Screen, colourful

WIDTH_PX, GAP_PX = 1200, 12
COLUMNS, ROWS = 104, 24
FONT_PX, LINE_PX, MARGIN_PX = 18, 24, 16
PAPER, INK, DIM, PROMPT = "#16181d", "#d8dbe0", "#8b919b", "#7fc98f"
COLOURS = {
    "default": INK, "black": DIM, "red": "#e06c75", "green": PROMPT, "brown": "#e5c07b",
    "blue": "#61afef", "magenta": "#c678dd", "cyan": "#56b6c2", "white": INK,
}  # fmt: skip
COMMAND = ("generate", "portrait.png", "voice.wav", "--backend", "preview", "--seed", "7")


def run_in(folder: Path) -> Screen:
    """The screen of the command, whose files are in the folder."""
    for source in (PORTRAIT, VOICE):
        shutil.copy(source, folder / source.name)
    environment = {**colourful(os.environ), "HOME": str(folder), "TERM": "xterm-256color"}
    words = [sys.executable, "-m", "multitalk_cli", *COMMAND]
    program = Program(words, environment, columns=COLUMNS, rows=ROWS, cwd=folder)
    program.end()
    return program.screen


def draw_screen(screen: Screen, folder: Path) -> Image.Image:
    """The lines that the command left, in the colours of a dark terminal."""
    font = ImageFont.truetype("DejaVuSansMono.ttf", FONT_PX)
    cell_px = font.getlength("m")
    lines = screen.lines
    picture = Image.new("RGB", (WIDTH_PX, (len(lines) + 1) * LINE_PX + 2 * MARGIN_PX), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN_PX, MARGIN_PX), "$", fill=PROMPT, font=font)
    typed = " ".join(("multitalk", *COMMAND))
    draw.text((MARGIN_PX + 2 * cell_px, MARGIN_PX), typed, fill="white", font=font)
    for number, line in enumerate(lines, 1):
        top = MARGIN_PX + number * LINE_PX
        if str(folder) in line:
            text = line.replace(str(folder), "/home/you")
            draw.text((MARGIN_PX, top), text, fill=INK, font=font)
            continue
        for column, cell in screen.pyte.buffer[number - 1].items():
            # pyte names the eight colours, and has the hexadecimal digits of any other.
            colour = COLOURS.get(cell.fg, f"#{cell.fg}")
            place = (MARGIN_PX + column * cell_px, top)
            draw.text(place, cell.data, fill=ImageColor.getrgb(colour), font=font)
    return picture


def two_moments(video: Path) -> Image.Image:
    """The mouth in the pause of the sentence, and at its widest."""
    frames = list(read_frames(video))
    openings = mouth_openings(voice_levels(flac(speech()), len(frames), 24))
    middle = slice(len(frames) // 4, len(frames) * 3 // 4)
    moments = sorted(middle.start + int(pick(openings[middle])) for pick in (np.argmin, np.argmax))
    gap = np.full((frames[0].shape[0], GAP_PX * 3 // 2, 3), 255, np.uint8)
    joined = Image.fromarray(np.concatenate([frames[moments[0]], gap, frames[moments[1]]], 1))
    height = round(WIDTH_PX * joined.height / joined.width)
    return joined.resize((WIDTH_PX, height), Image.Resampling.LANCZOS)


def draw() -> Image.Image:
    """The terminal above the frames."""
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        shown = draw_screen(run_in(folder), folder)
        frames = two_moments(folder / "voice.preview.mp4")
    whole = Image.new("RGB", (WIDTH_PX, shown.height + GAP_PX + frames.height), "white")
    whole.paste(shown, (0, 0))
    whole.paste(frames, (0, shown.height + GAP_PX))
    return whole


if __name__ == "__main__":
    draw().save(Path(sys.argv[1]), optimize=True)
