"""The largest pictures that are accepted are read in bounded memory."""

import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import features

from tests.conftest import ROOT
from tests.media.image.files import encoded, huge_tiff, portrait, tall_jpeg
from tests.media.image.pictures import png_chunk, refused

pytestmark = pytest.mark.slow

MOST_BYTES = 300 * 10**6

# In a process of its own: only a new one has a peak that is the picture's.
MEASURED = """
import json, pathlib, resource, sys
from PIL import Image, ImageCms, JpegImagePlugin, TiffImagePlugin
from multitalk_cli.media.image.load import load_picture
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
Image.init()
before = peak()
picture = load_picture(pathlib.Path(sys.argv[1]))
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps({
    "extra": (peak() - before) * unit,
    "size": [picture.source_width_px, picture.source_height_px],
    "mean": picture.pixels.mean(axis=(0, 1)).tolist(),
}))
"""


def measured(path):
    """Size, mean colour and extra bytes of memory of loading a picture."""
    command = [sys.executable, "-c", MEASURED, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def huge_png(depth, color, palette=b""):
    """9999x9999 pixels that repeat the bytes 0 to 255 in each row."""
    row_bytes = (9999 * depth * (3 if color == 2 else 1) + 7) // 8
    row = b"\0" + bytes(np.arange(row_bytes, dtype=np.uint32).astype(np.uint8))
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(row) for _ in range(9999)) + packer.flush()
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 9999, 9999, depth, color, 0, 0, 0))
    extra = png_chunk(b"PLTE", palette) if palette else b""
    ends = png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + extra + ends


@pytest.mark.parametrize(
    ("depth", "color", "mean"),
    [
        (8, 2, (127, 127, 127)),
        pytest.param(16, 2, (127, 127, 127), marks=pytest.mark.long),
        pytest.param(16, 0, (127, 127, 127), marks=pytest.mark.long),
        pytest.param(8, 3, (127.5, 0, 255), marks=pytest.mark.long),
        pytest.param(1, 0, (127.5, 127.5, 127.5), marks=pytest.mark.long),
    ],
)
def test_huge_png_of_any_mode(tmp_path, depth, color, mean):
    path = tmp_path / "huge.png"
    palette = b"".join(bytes([n, 0, 255]) for n in range(256)) if color == 3 else b""
    path.write_bytes(huge_png(depth, color, palette))
    seen = measured(path)
    assert seen["size"] == [9999, 9999]
    assert seen["mean"] == pytest.approx(mean, abs=2)
    assert seen["extra"] < MOST_BYTES


@pytest.mark.parametrize("rows", [64, pytest.param(4000, marks=pytest.mark.long)])
def test_huge_tiff_in_strips(tmp_path, rows):
    path = tmp_path / "huge.tif"
    path.write_bytes(huge_tiff(9999, 9999, rows))
    seen = measured(path)
    assert seen["size"] == [9999, 9999]
    assert seen["mean"] == pytest.approx((127, 0, 0), abs=2)
    assert seen["extra"] < MOST_BYTES


def test_webp_and_avif_that_take_a_gigabyte_are_refused(tmp_path):
    path = tmp_path / "huge"
    data = bytearray(encoded(portrait(), "WEBP"))
    at = data.index(b"\x9d\x01\x2a") + 3
    data[at : at + 4] = struct.pack("<HH", 8000, 7900)
    path.write_bytes(data)
    refused(path, "E_IMAGE_SIZE", "takes 1.0 GB of memory; at most 1 GB is used (62 megapixels)")
    if not features.check("avif"):
        return
    data = bytearray(encoded(portrait(), "AVIF", subsampling="4:4:4"))
    at = data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", 9990, 9990)
    path.write_bytes(data)
    refused(path, "E_IMAGE_SIZE", "decoding AVIF of that size takes 1.1 GB of memory")


@pytest.mark.parametrize(
    "size", [pytest.param((12000, 9000), marks=pytest.mark.long), (16320, 12240)]
)
def test_jpeg_of_a_phone_with_108_or_200_megapixels(tmp_path, size):
    path = tmp_path / "phone.jpg"
    path.write_bytes(tall_jpeg(*size))
    seen = measured(path)
    assert seen["size"] == list(size)
    assert seen["mean"] == pytest.approx(np.asarray(portrait()).mean(axis=(0, 1)), abs=8)
    assert seen["extra"] < MOST_BYTES


def test_jpeg_above_the_limit_and_large_progressive_ones_are_refused(tmp_path):
    path = tmp_path / "phone.jpg"
    path.write_bytes(tall_jpeg(16384, 15360))
    refused(path, "E_IMAGE_SIZE", "more than 250 megapixels")
    data = bytearray(encoded(portrait(), "JPEG", progressive=True))
    at = data.index(b"\xff\xc2") + 5
    data[at : at + 4] = struct.pack(">HH", 10_000, 10_001)
    path.write_bytes(data)
    refused(path, "E_IMAGE_SIZE", "more than 100 megapixels")
