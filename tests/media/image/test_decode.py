"""Pictures of every kind become upright sRGB pixels; damaged ones are rejected."""

import hashlib
import io
import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from multitalk_cli.errors import FileError
from multitalk_cli.media.image.frame import frame_picture
from multitalk_cli.media.image.load import load_picture
from multitalk_cli.media.image.pixels import KEPT_PIXELS
from tests.conftest import ROOT
from tests.media.image.pictures import (
    BLUE,
    GREEN,
    RED,
    assert_quarters,
    near,
    photograph,
    png_bytes,
    png_chunk,
    quarters,
    refused,
    saved,
)
from tests.repetitions import examples

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_formats_that_are_read(tmp_path, kind):
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    path = saved(tmp_path, quarters(), kind, **options)
    picture = load_picture(path)
    assert picture.pixels.shape == (96, 128, 3)
    assert picture.pixels.dtype == np.uint8
    assert (picture.format, picture.adjusted) == (kind, ())
    assert picture.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert_quarters(picture.pixels)


_TURN = Image.Transpose


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [
        (2, _TURN.FLIP_LEFT_RIGHT),
        (3, _TURN.ROTATE_180),
        (4, _TURN.FLIP_TOP_BOTTOM),
        (5, _TURN.TRANSPOSE),
        (6, _TURN.ROTATE_90),
        (7, _TURN.TRANSVERSE),
        (8, _TURN.ROTATE_270),
    ],
)
def test_exif_orientation_is_turned_upright(tmp_path, orientation, undo):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = quarters().transpose(undo)
    picture = load_picture(saved(tmp_path, stored, "JPEG", exif=exif, quality=95, subsampling=0))
    assert (picture.source_width_px, picture.source_height_px) == (128, 96)
    assert picture.adjusted == (f"turned upright (EXIF orientation {orientation})",)
    assert_quarters(picture.pixels)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_unknown_orientation_is_ignored(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = load_picture(saved(tmp_path, quarters(), "PNG", exif=exif))
    assert picture.adjusted == ()
    assert_quarters(picture.pixels)


@pytest.mark.parametrize(
    ("background", "name"), [((255, 255, 255), "white"), ((0, 0, 0), "black"), (GREEN, "#00ff00")]
)
def test_transparency_is_laid_on_the_background(tmp_path, background, name):
    image = Image.new("RGBA", (100, 80), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 50, 80))
    picture = load_picture(saved(tmp_path, image, "PNG"), background=background)
    assert near(picture.pixels[40, 25], BLUE, 0)
    assert near(picture.pixels[40, 75], background, 0)
    assert picture.adjusted == (f"transparency laid on {name}",)


def test_half_transparency_mixes(tmp_path):
    image = Image.new("RGBA", (80, 80), (0, 0, 0, 128))
    picture = load_picture(saved(tmp_path, image, "PNG"))
    assert near(picture.pixels[40, 40], (127, 127, 127), 1)


def test_opaque_alpha_is_not_worth_a_line(tmp_path):
    picture = load_picture(saved(tmp_path, quarters().convert("RGBA"), "PNG"))
    assert picture.adjusted == ()
    assert_quarters(picture.pixels)


@pytest.mark.parametrize("mode", ["P", "L", "LA", "1"])
def test_palettes_and_greys(tmp_path, mode):
    source = quarters() if mode == "P" else quarters().convert("L")
    picture = load_picture(saved(tmp_path, source.convert(mode), "PNG"))
    if mode == "P":
        assert_quarters(picture.pixels)
    assert near(picture.pixels[90, 120], (255, 255, 255), 0)
    assert picture.adjusted == ()


def test_palette_with_a_transparent_colour(tmp_path):
    image = quarters().convert("P", palette=Image.Palette.ADAPTIVE)
    transparent = image.getpixel((10, 10))
    picture = load_picture(saved(tmp_path, image, "PNG", transparency=transparent))
    assert near(picture.pixels[10, 10], (255, 255, 255), 0)
    assert near(picture.pixels[80, 10], BLUE, 4)


def test_sixteen_bit_grey_keeps_its_scale(tmp_path):
    ramp = np.linspace(0, 65535, 100 * 100).reshape(100, 100).astype(np.uint16)
    picture = load_picture(saved(tmp_path, Image.fromarray(ramp), "PNG"))
    assert picture.adjusted == ("16 bits per channel reduced to 8",)
    assert np.abs(picture.pixels[..., 0] - ramp / 257).max() <= 0.51


def test_sixteen_bit_colour_png(tmp_path):
    row = b"\0" + struct.pack(">HHH", 65535, 32896, 0) * 70
    path = tmp_path / "deep.png"
    path.write_bytes(png_bytes(70, 70, 16, 2, row * 70))
    picture = load_picture(path)
    assert near(picture.pixels[35, 35], (255, 128, 0), 0)
    assert picture.adjusted == ("16 bits per channel reduced to 8",)


def test_sixteen_bit_grey_with_a_transparent_value(tmp_path):
    row = b"\0" + struct.pack(">H", 5000) * 35 + struct.pack(">H", 257 * 100) * 35
    path = tmp_path / "key.png"
    path.write_bytes(
        png_bytes(70, 70, 16, 0, row * 70, png_chunk(b"tRNS", struct.pack(">H", 5000)))
    )
    picture = load_picture(path)
    assert near(picture.pixels[35, 10], (255, 255, 255), 0)
    assert near(picture.pixels[35, 60], (100, 100, 100), 0)


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_floating_point_tiff(tmp_path, white):
    values = np.linspace(0, white, 6400, dtype=np.float32).reshape(80, 80)
    picture = load_picture(saved(tmp_path, Image.fromarray(values), "TIFF"))
    assert np.abs(picture.pixels[..., 0] - values * 255 / white).max() <= 0.51


def test_floating_point_tiff_with_nan_is_broken(tmp_path):
    values = np.full((80, 80), np.nan, dtype=np.float32)
    refused(saved(tmp_path, Image.fromarray(values), "TIFF"), "E_IMAGE_BROKEN", "NaN or infinite")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_srgb(tmp_path, kind):
    picture = load_picture(saved(tmp_path, quarters().convert("CMYK"), kind))
    note = "CMYK without a profile converted to sRGB: its colours are approximate"
    assert picture.adjusted == (note,)
    assert near(picture.pixels[90, 120], (255, 255, 255), 4)
    assert picture.pixels[10, 10].argmax() == 0


def test_lab_becomes_srgb(tmp_path):
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(quarters(), to_lab)
    picture = load_picture(saved(tmp_path, lab, "TIFF"))
    assert picture.adjusted == ("LAB converted to sRGB",)
    assert_quarters(picture.pixels, slack=25)  # 8 bits of Lab are coarse


def _swapped_profile():
    """A valid profile whose red and blue primaries are exchanged, to see that it is applied."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for name in (b"rXYZ", b"bXYZ"):
        assert data.count(name) >= 1
    red, blue = data.index(b"rXYZ"), data.index(b"bXYZ")
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(data).replace(b"s\0R\0G\0B", b"o\0t\0h\0e").replace(b"sRGB b", b"othe b")


def test_colour_profile_is_applied(tmp_path):
    image = Image.new("RGB", (80, 80), RED)
    picture = load_picture(saved(tmp_path, image, "PNG", icc_profile=_swapped_profile()))
    assert near(picture.pixels[40, 40], BLUE)
    assert len(picture.adjusted) == 1
    assert picture.adjusted[0].startswith("colours converted from ")


def test_srgb_profile_changes_nothing(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = photograph("astronaut.png")
    picture = load_picture(saved(tmp_path, image, "PNG", icc_profile=profile))
    assert picture.adjusted == ()
    assert np.array_equal(picture.pixels, np.asarray(image))


@pytest.mark.parametrize("profile", [b"rubbish" * 40, _swapped_profile()[:200]])
def test_broken_colour_profile_is_ignored_with_a_note(tmp_path, profile):
    picture = load_picture(saved(tmp_path, quarters(), "PNG", icc_profile=profile))
    assert picture.adjusted == ("a colour profile that does not fit the picture ignored",)
    assert_quarters(picture.pixels)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_first_of_several_frames(tmp_path, kind):
    more = [Image.new("RGB", (128, 96), "black"), Image.new("RGB", (128, 96), "gray")]
    path = saved(tmp_path, quarters(), kind, save_all=True, append_images=more, lossless=True)
    picture = load_picture(path)
    assert picture.adjusted == ("the first of several frames used",)
    assert_quarters(picture.pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_files(tmp_path, kind, share):
    path = saved(tmp_path, photograph("astronaut.png").resize((200, 200)), kind)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    refused(path, "E_IMAGE_BROKEN")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((1, 1), "less than 64"),
        ((63, 200), "less than 64"),
        ((50_000, 10), "less than 64"),
        ((1000, 100), "8 times as long as wide"),
    ],
)
def test_sizes_that_cannot_work(tmp_path, size, words):
    refused(saved(tmp_path, Image.new("RGB", size), "PNG"), "E_IMAGE_SIZE", words)


@pytest.mark.parametrize("side", [10_001, 30_000, 2_000_000_000])
def test_decompression_bomb_is_refused_from_its_header(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bytes(side, side, 8, 2, b"\0" * 1000))
    tracemalloc.start()
    refused(path, "E_IMAGE_SIZE")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_text_chunk_bomb_is_not_inflated(tmp_path):
    text = b"Comment\0\0" + zlib.compress(b"\0" * 200_000_000, 9)
    path = tmp_path / "text.png"
    path.write_bytes(png_bytes(80, 80, 8, 0, (b"\0" * 81) * 80, png_chunk(b"zTXt", text)))
    tracemalloc.start()
    picture = load_picture(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not picture.pixels.any()
    assert peak < 20_000_000


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_huge_picture_is_kept_smaller(tmp_path, kind):
    path = saved(tmp_path, quarters(8000, 6000), kind)
    picture = load_picture(path)
    assert (picture.source_width_px, picture.source_height_px) == (8000, 6000)
    assert picture.pixels.shape == (3000, 4000, 3)
    assert picture.width_px * picture.height_px <= KEPT_PIXELS
    framed = frame_picture(picture, 896, 448, "cover", ())
    assert framed.crop == pytest.approx((0, 700, 8000, 4700))
    assert_quarters(picture.pixels)


def test_readers_remarks_stay_off_the_terminal(tmp_path):
    path = saved(tmp_path, quarters(), "TIFF")
    data = bytearray(path.read_bytes())
    samples = data.index(struct.pack("<HHI", 277, 3, 1))  # SamplesPerPixel
    data[samples + 8] = 128
    path.write_bytes(data)
    # In a process of its own: here pytest's log handlers would hide what a user would see.
    script = (
        "import pathlib, sys\n"
        "from multitalk_cli.errors import FileError\n"
        "from multitalk_cli.media.image.load import load_picture\n"
        "try:\n    load_picture(pathlib.Path(sys.argv[1]))\n"
        "except FileError as error:\n    print(error.code)\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("E_IMAGE_BROKEN\n", "")


def _seeds():
    stored = []
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF"):
        file = io.BytesIO()
        photograph("astronaut.png").resize((72, 72)).save(file, kind)
        stored.append(file.getvalue())
    return stored


@settings(max_examples=examples(400), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.sampled_from(_seeds()),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    cut=st.floats(0.05, 1),
)
def test_damaged_bytes_give_a_picture_or_a_clear_refusal(tmp_path, data, edits, cut):
    damaged = bytearray(data[: max(1, int(cut * len(data)))])
    for place, value in edits:
        damaged[int(place**3 * (len(damaged) - 1))] = value  # headers are hit most
    path = tmp_path / "damaged"
    path.write_bytes(damaged)
    try:
        picture = load_picture(path)
    except FileError as error:
        assert error.code.startswith("E_IMAGE_")
        assert error.message.isprintable()
    else:
        assert picture.pixels.ndim == 3
