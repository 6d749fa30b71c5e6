"""Makers of test videos, whose frames carry their numbers."""

import numpy as np

from multitalk_cli.media.video.video import VideoWriter, join_segments, read_frames

RECIPE = '{"seed": 0, "text": "a=b;#\\\\ \\n \\"é\\" ☃"}'


def numbered(count, *, width=64, height=32, start=0):
    """Frames that carry their number as eight wide bars, dark or bright, [n, h, w, 3]."""
    numbers = np.arange(start, start + count)
    bits = (numbers[:, None] >> np.arange(8)) & 1
    bars = (30 + 190 * bits).astype(np.uint8).repeat(width // 8, axis=1)
    return np.broadcast_to(bars[:, None, :, None], (count, height, width, 3)).copy()


def shown_numbers(path):
    """The numbers that the decoded frames carry."""
    read = []
    for frame in read_frames(path):
        bars = frame.mean(axis=(0, 2)).reshape(8, -1).mean(axis=1) > 125
        read.append(int((bars << np.arange(8)).sum()))
    return read


def write_segment(path, frames, fps=24, **settings):
    """The path of a segment with these frames."""
    _, height, width, _ = frames.shape
    with VideoWriter(
        path, width=width, height=height, fps=fps, preset="veryfast", **settings
    ) as writer:
        writer.write(frames)
    return path


def joined(folder, *, count=30, fps=24, **options):
    """The path of a video of one segment, by `join_segments`."""
    segment = write_segment(folder / "s.mp4", numbered(count), fps)
    target = folder / "out.mp4"
    settings = {"sound": None, "recipe": RECIPE, **options}
    join_segments([segment], settings.pop("sound"), target, frames=count, fps=fps, **settings)
    return target
