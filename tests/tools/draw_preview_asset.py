"""Makes the README's picture: two moments of the example's preview, side by side.

python -m tests.tools.draw_preview_asset assets/preview.png
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from multitalk_cli.generation.backends import preview
from multitalk_cli.media.audio.envelope import mouth_openings, voice_levels
from multitalk_cli.media.video.video import read_frames
from tests.generation.backends.previews import PORTRAIT, flac, framed, make_request, speech

WIDTH_PX, GAP_PX = 1200, 12


def two_moments() -> Image.Image:
    """The mouth at its widest, then in the pause of the sentence."""
    request = make_request(framed(Image.open(PORTRAIT)), [speech()])
    openings = mouth_openings(voice_levels(flac(speech()), request.frames, request.fps))
    middle = slice(request.frames // 4, request.frames * 3 // 4)
    moments = sorted(middle.start + int(pick(openings[middle])) for pick in (np.argmin, np.argmax))
    with TemporaryDirectory() as folder:
        video = Path(folder) / "example.preview.mp4"
        for _ in preview.run(request, video):
            pass
        frames = [frame for n, frame in enumerate(read_frames(video)) if n in moments]
    gap = np.full((frames[0].shape[0], GAP_PX * 3 // 2, 3), 255, np.uint8)
    joined = Image.fromarray(np.concatenate([frames[0], gap, frames[1]], 1))
    height = round(WIDTH_PX * joined.height / joined.width)
    return joined.resize((WIDTH_PX, height), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    two_moments().save(Path(sys.argv[1]), optimize=True)
