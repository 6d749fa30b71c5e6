"""Pictures of every kind become upright sRGB pixels; what is no usable picture is refused."""

import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from multitalk_cli.errors import FileError, MultitalkError, UsageError
from multitalk_cli.media.faces.detect import Face
from multitalk_cli.media.image.decode import KEPT_PIXELS
from multitalk_cli.media.image.frame import frame_picture
from multitalk_cli.media.image.load import load_picture, looks_like_picture
from multitalk_cli.media.image.sizes import BUCKETS_480P, BUCKETS_720P, nearest_bucket, resolve_size
from tests.conftest import ROOT
from tests.media.image.pictures import drawing, photograph, to_picture

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def _quarters(width=128, height=96):
    """Red, green / blue, white: tells every turn and mirroring apart."""
    image = Image.new("RGB", (width, height), "white")
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def _saved(folder, image, kind, **options):
    path = folder / f"picture.{kind.lower()}"
    image.save(path, kind, **options)
    return path


def _near(pixel, color, slack=12):
    return np.abs(np.asarray(pixel, int) - color).max() <= slack


def _assert_quarters(pixels, slack=12):
    height, width = pixels.shape[:2]
    places = ((0.25, 0.25, RED), (0.25, 0.75, GREEN), (0.75, 0.25, BLUE), (0.75, 0.75, (255,) * 3))
    for down, across, color in places:
        assert _near(pixels[int(down * height), int(across * width)], color, slack)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_formats_that_are_read(tmp_path, kind):
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    path = _saved(tmp_path, _quarters(), kind, **options)
    picture = load_picture(path)
    assert picture.pixels.shape == (96, 128, 3)
    assert picture.pixels.dtype == np.uint8
    assert (picture.format, picture.adjusted) == (kind, ())
    assert picture.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    _assert_quarters(picture.pixels)


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
    stored = _quarters().transpose(undo)
    picture = load_picture(_saved(tmp_path, stored, "JPEG", exif=exif, quality=95, subsampling=0))
    assert (picture.source_width_px, picture.source_height_px) == (128, 96)
    assert picture.adjusted == (f"turned upright (EXIF orientation {orientation})",)
    _assert_quarters(picture.pixels)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_unknown_orientation_is_ignored(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = load_picture(_saved(tmp_path, _quarters(), "PNG", exif=exif))
    assert picture.adjusted == ()
    _assert_quarters(picture.pixels)


@pytest.mark.parametrize(
    ("background", "name"), [((255, 255, 255), "white"), ((0, 0, 0), "black"), (GREEN, "#00ff00")]
)
def test_transparency_is_laid_on_the_background(tmp_path, background, name):
    image = Image.new("RGBA", (100, 80), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 50, 80))
    picture = load_picture(_saved(tmp_path, image, "PNG"), background=background)
    assert _near(picture.pixels[40, 25], BLUE, 0)
    assert _near(picture.pixels[40, 75], background, 0)
    assert picture.adjusted == (f"transparency laid on {name}",)


def test_half_transparency_mixes(tmp_path):
    image = Image.new("RGBA", (80, 80), (0, 0, 0, 128))
    picture = load_picture(_saved(tmp_path, image, "PNG"))
    assert _near(picture.pixels[40, 40], (127, 127, 127), 1)


def test_opaque_alpha_is_not_worth_a_line(tmp_path):
    picture = load_picture(_saved(tmp_path, _quarters().convert("RGBA"), "PNG"))
    assert picture.adjusted == ()
    _assert_quarters(picture.pixels)


@pytest.mark.parametrize("mode", ["P", "L", "LA", "1"])
def test_palettes_and_greys(tmp_path, mode):
    source = _quarters() if mode == "P" else _quarters().convert("L")
    picture = load_picture(_saved(tmp_path, source.convert(mode), "PNG"))
    if mode == "P":
        _assert_quarters(picture.pixels)
    assert _near(picture.pixels[90, 120], (255, 255, 255), 0)
    assert picture.adjusted == ()


def test_palette_with_a_transparent_colour(tmp_path):
    image = _quarters().convert("P", palette=Image.Palette.ADAPTIVE)
    transparent = image.getpixel((10, 10))
    picture = load_picture(_saved(tmp_path, image, "PNG", transparency=transparent))
    assert _near(picture.pixels[10, 10], (255, 255, 255), 0)
    assert _near(picture.pixels[80, 10], BLUE, 4)


def test_sixteen_bit_grey_keeps_its_scale(tmp_path):
    ramp = np.linspace(0, 65535, 100 * 100).reshape(100, 100).astype(np.uint16)
    picture = load_picture(_saved(tmp_path, Image.fromarray(ramp), "PNG"))
    assert picture.adjusted == ("16 bits per channel reduced to 8",)
    assert np.abs(picture.pixels[..., 0] - ramp / 257).max() <= 0.51


def _chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png(width, height, depth, color, rows, extra=b""):
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    body = _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + extra + body


def test_sixteen_bit_colour_png(tmp_path):
    row = b"\0" + struct.pack(">HHH", 65535, 32896, 0) * 70
    path = tmp_path / "deep.png"
    path.write_bytes(_png(70, 70, 16, 2, row * 70))
    picture = load_picture(path)
    assert _near(picture.pixels[35, 35], (255, 128, 0), 0)
    assert picture.adjusted == ("16 bits per channel reduced to 8",)


def test_sixteen_bit_grey_with_a_transparent_value(tmp_path):
    row = b"\0" + struct.pack(">H", 5000) * 35 + struct.pack(">H", 257 * 100) * 35
    path = tmp_path / "key.png"
    path.write_bytes(_png(70, 70, 16, 0, row * 70, _chunk(b"tRNS", struct.pack(">H", 5000))))
    picture = load_picture(path)
    assert _near(picture.pixels[35, 10], (255, 255, 255), 0)
    assert _near(picture.pixels[35, 60], (100, 100, 100), 0)


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_floating_point_tiff(tmp_path, white):
    values = np.linspace(0, white, 6400, dtype=np.float32).reshape(80, 80)
    picture = load_picture(_saved(tmp_path, Image.fromarray(values), "TIFF"))
    assert np.abs(picture.pixels[..., 0] - values * 255 / white).max() <= 0.51


def test_floating_point_tiff_with_nan_is_broken(tmp_path):
    values = np.full((80, 80), np.nan, dtype=np.float32)
    _refused(_saved(tmp_path, Image.fromarray(values), "TIFF"), "E_IMAGE_BROKEN", "not numbers")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_srgb(tmp_path, kind):
    picture = load_picture(_saved(tmp_path, _quarters().convert("CMYK"), kind))
    assert picture.adjusted == ("CMYK converted to sRGB",)
    assert _near(picture.pixels[90, 120], (255, 255, 255), 4)
    assert picture.pixels[10, 10].argmax() == 0


def test_lab_becomes_srgb(tmp_path):
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(_quarters(), to_lab)
    picture = load_picture(_saved(tmp_path, lab, "TIFF"))
    assert picture.adjusted == ("LAB converted to sRGB",)
    _assert_quarters(picture.pixels, slack=25)  # 8 bits of Lab are coarse


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
    picture = load_picture(_saved(tmp_path, image, "PNG", icc_profile=_swapped_profile()))
    assert _near(picture.pixels[40, 40], BLUE)
    assert len(picture.adjusted) == 1
    assert picture.adjusted[0].startswith("colours converted from ")


def test_srgb_profile_changes_nothing(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = photograph("astronaut.png")
    picture = load_picture(_saved(tmp_path, image, "PNG", icc_profile=profile))
    assert picture.adjusted == ()
    assert np.array_equal(picture.pixels, np.asarray(image))


@pytest.mark.parametrize("profile", [b"rubbish" * 40, _swapped_profile()[:200]])
def test_broken_colour_profile_is_ignored_and_said(tmp_path, profile):
    picture = load_picture(_saved(tmp_path, _quarters(), "PNG", icc_profile=profile))
    assert picture.adjusted == ("a colour profile that does not fit the picture ignored",)
    _assert_quarters(picture.pixels)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_first_of_several_frames(tmp_path, kind):
    more = [Image.new("RGB", (128, 96), "black"), Image.new("RGB", (128, 96), "gray")]
    path = _saved(tmp_path, _quarters(), kind, save_all=True, append_images=more, lossless=True)
    picture = load_picture(path)
    assert picture.adjusted == ("the first of several frames used",)
    _assert_quarters(picture.pixels)


def test_wrong_extension_is_no_matter(tmp_path):
    path = tmp_path / "voice.wav"
    _quarters().save(path, "PNG")
    assert load_picture(path).format == "PNG"


@pytest.mark.parametrize("name", ["a b.png", "a\nb.png", "-a.png", "ü=ß.png"])
def test_names_of_any_kind(tmp_path, name):
    path = tmp_path / name
    _quarters().save(path, "PNG")
    assert load_picture(path).format == "PNG"


def _refused(path, code, words=""):
    with pytest.raises(MultitalkError) as caught:
        load_picture(path)
    assert caught.value.code == code
    assert words in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "E_FILE_UNREADABLE", "is empty"),
        (b"hello", "E_IMAGE_FORMAT", "is not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "E_IMAGE_FORMAT", "SVG"),
        (b"<?xml version='1.0'?>\n<!-- c --><svg/>", "E_IMAGE_FORMAT", "SVG"),
        (b"<?xml version='1.0'?><html/>", "E_IMAGE_FORMAT", "is not a picture"),
        (b"%PDF-1.7\n", "E_IMAGE_FORMAT", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "E_IMAGE_FORMAT", "HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "E_IMAGE_FORMAT", "AVIF"),
        (b"BM\x36\0\0\0\0\0\0\0", "E_IMAGE_FORMAT", "BMP"),
        (b"RIFF\0\0\0\0WAVEfmt ", "E_IMAGE_FORMAT", "a sound or a video (WAV)"),
        (b"ID3\x04\0\0", "E_IMAGE_FORMAT", "a sound or a video (MP3)"),
        (b"\0\0\0\x18ftypisom", "E_IMAGE_FORMAT", "a sound or a video (MP4)"),
        (b"\x89PNG\r\n\x1a\n", "E_IMAGE_BROKEN", "is damaged"),
        (b"\xff\xd8\xff\xe0", "E_IMAGE_BROKEN", "is damaged"),
        (b"GIF89a", "E_IMAGE_BROKEN", "is damaged"),
        (b"II*\0\x08\0\0\0", "E_IMAGE_BROKEN", "is damaged"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "E_IMAGE_BROKEN", "is damaged"),
    ],
)
def test_what_is_no_usable_picture_is_named(tmp_path, content, code, words):
    path = tmp_path / "portrait.png"
    path.write_bytes(content)
    _refused(path, code, words)


def test_missing_and_unreadable_files(tmp_path):
    _refused(tmp_path / "none.png", "E_FILE_MISSING", "does not exist")
    _refused(tmp_path / "no\nne.png", "E_FILE_MISSING", r"no\nne.png")
    _refused(tmp_path, "E_FILE_UNREADABLE", "is a directory")
    _refused(Path("/dev/null"), "E_FILE_UNREADABLE", "is a device")
    _refused(tmp_path / ("n" * 300), "E_FILE_UNREADABLE", "cannot be read")
    _refused(tmp_path / "nul\0.png", "E_FILE_UNREADABLE", "cannot be read")


def test_pipe_is_refused_without_waiting(tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    start = time.monotonic()
    _refused(pipe, "E_FILE_UNREADABLE", "is a pipe")
    assert not looks_like_picture(pipe)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("address", ["https://a.example/b.png", "s3://bucket/b.png", "HTTP://a.b"])
def test_web_address_is_a_mistake_of_the_command_line(address):
    with pytest.raises(UsageError) as caught:
        load_picture(Path(address))
    assert caught.value.code == "E_URL"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_files(tmp_path, kind, share):
    path = _saved(tmp_path, photograph("astronaut.png").resize((200, 200)), kind)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    _refused(path, "E_IMAGE_BROKEN")


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
    _refused(_saved(tmp_path, Image.new("RGB", size), "PNG"), "E_IMAGE_SIZE", words)


@pytest.mark.parametrize("side", [10_001, 30_000, 2_000_000_000])
def test_decompression_bomb_is_refused_from_its_header(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(_png(side, side, 8, 2, b"\0" * 1000))
    start = time.monotonic()
    tracemalloc.start()
    _refused(path, "E_IMAGE_SIZE")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.monotonic() - start < 1
    assert peak < 20_000_000


def test_text_chunk_bomb_is_refused(tmp_path):
    text = b"Comment\0\0" + zlib.compress(b"\0" * 200_000_000, 9)
    path = tmp_path / "text.png"
    path.write_bytes(_png(80, 80, 8, 0, (b"\0" * 81) * 80, _chunk(b"zTXt", text)))
    _refused(path, "E_IMAGE_BROKEN")


def test_file_of_absurd_length_is_refused_before_it_is_read(tmp_path):
    path = _saved(tmp_path, _quarters(), "PNG")
    os.truncate(path, 600 * 10**6)
    _refused(path, "E_IMAGE_SIZE", "larger than 512 MB")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_huge_picture_is_kept_smaller(tmp_path, kind):
    path = _saved(tmp_path, _quarters(8000, 6000), kind)
    picture = load_picture(path)
    assert (picture.source_width_px, picture.source_height_px) == (8000, 6000)
    assert picture.pixels.shape == (3000, 4000, 3)
    assert picture.width_px * picture.height_px <= KEPT_PIXELS
    framed = frame_picture(picture, 896, 448, "cover", ())
    assert framed.crop == pytest.approx((0, 700, 8000, 4700))
    _assert_quarters(picture.pixels)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n", True),
        (b"\xff\xd8\xff\xe0", True),
        (b"\0\0\0\x18ftypheic", True),
        (b"<svg/>", True),
        (b"RIFF\0\0\0\0WAVE", False),
        (b"%PDF-1.4", False),
        (b"", False),
        (b"text", False),
    ],
)
def test_magic_number_tells_a_picture(tmp_path, content, expected):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert looks_like_picture(path) is expected
    assert not looks_like_picture(tmp_path)
    assert not looks_like_picture(tmp_path / "missing")


def test_readers_remarks_stay_off_the_terminal(tmp_path):
    path = _saved(tmp_path, _quarters(), "TIFF")
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


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def test_tables_are_the_published_ones(golden_dir):
    golden = json.loads((golden_dir / "masks.json").read_text())
    for name, buckets in (("ASPECT_RATIO_627", BUCKETS_480P), ("ASPECT_RATIO_960", BUCKETS_720P)):
        rows = [(float(k), v["height"], v["width"]) for k, v in golden[name].items()]
        assert [(b.ratio, b.height_px, b.width_px) for b in buckets] == rows


@pytest.mark.parametrize(("name", "buckets"), [("480", BUCKETS_480P), ("720", BUCKETS_720P)])
def test_nearest_bucket_is_the_models_choice(golden_dir, name, buckets):
    cases = json.loads((golden_dir / "masks.json").read_text())["buckets"][name]
    for case in cases:
        bucket = nearest_bucket(case["w"], case["h"], buckets)
        assert [bucket.height_px, bucket.width_px] == case["target_hw"], case


@pytest.mark.parametrize(
    ("option", "size", "expected", "warned"),
    [
        ("896x448", (300, 900), (896, 448), False),
        ("auto", (900, 450), (896, 448), False),
        ("auto", (450, 900), (448, 896), False),
        ("AUTO", (700, 700), (640, 640), False),
        ("720p", (1280, 720), (1280, 704), False),
        ("1280X704", (100, 100), (1280, 704), False),
        (" 640×384 ", (100, 100), (640, 384), True),  # noqa: RUF001
        ("32x32", (100, 100), (32, 32), True),
    ],
)
def test_sizes_that_can_be_asked_for(option, size, expected, warned):
    width, height, warnings = resolve_size(option, to_picture(Image.new("RGB", size)))
    assert (width, height) == expected
    assert len(warnings) == warned


@pytest.mark.parametrize(
    "option",
    ["", "big", "896", "896x", "896x449", "16x448", "4096x448", "-896x448", "0x0", "1e3x4"],
)
def test_sizes_that_cannot_be_made_are_refused(option):
    with pytest.raises(UsageError) as caught:
        resolve_size(option, to_picture(Image.new("RGB", (100, 100))))
    assert caught.value.code == "E_RANGE"


def test_refused_size_names_one_that_would_do():
    with pytest.raises(UsageError, match="896x448 would do"):
        resolve_size("900x450", to_picture(Image.new("RGB", (100, 100))))


def test_cover_without_faces_cuts_the_middle_and_more_below_than_above():
    wide = frame_picture(to_picture(Image.new("RGB", (2000, 500))), 896, 448, "cover", ())
    tall = frame_picture(to_picture(Image.new("RGB", (500, 1000))), 896, 448, "cover", ())
    assert wide.crop == pytest.approx((500, 0, 1500, 500))
    assert tall.crop == pytest.approx((0, 262.5, 500, 512.5))
    assert wide.adjusted == ("cropped to 896x448",)
    assert wide.pixels.shape == (448, 896, 3)


def test_picture_of_the_right_shape_is_left_alone():
    image = photograph("astronaut.png").resize((896, 448))
    framed = frame_picture(to_picture(image), 896, 448, "cover", ())
    assert framed.adjusted == ()
    assert np.array_equal(framed.pixels, np.asarray(image))


def _face(box):
    return Face(
        box=box, keypoints=np.zeros((6, 2)), score=1.0, mesh=np.zeros((468, 2)), mesh_score=0.0
    )


@given(
    size=st.tuples(st.integers(64, 900), st.integers(64, 900)),
    bucket=st.sampled_from((*BUCKETS_480P, *BUCKETS_720P)),
    data=st.data(),
)
@settings(max_examples=150)
def test_cover_keeps_faces_whenever_it_can(size, bucket, data):
    width, height = size
    share = st.floats(0, 1)
    faces = []
    for _ in range(data.draw(st.integers(1, 3))):
        x0, x1 = sorted((data.draw(share) * width, data.draw(share) * width))
        y0, y1 = sorted((data.draw(share) * height, data.draw(share) * height))
        faces.append(_face((x0, y0, max(x1, x0 + 4), max(y1, y0 + 4))))
    picture = to_picture(Image.new("RGB", size))
    framed = frame_picture(picture, bucket.width_px, bucket.height_px, "cover", faces)
    x0, y0, x1, y1 = framed.crop
    boxes = np.clip([face.box for face in faces], 0, [width, height, width, height])
    fits = np.ptp(boxes[:, ::2]) <= x1 - x0 and np.ptp(boxes[:, 1::2]) <= y1 - y0
    kept = all(
        b[0] >= x0 - 1e-6 and b[1] >= y0 - 1e-6 and b[2] <= x1 + 1e-6 and b[3] <= y1 + 1e-6
        for b in boxes
    )
    assert kept or not fits
    assert bool(framed.warnings) is not kept
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height


def test_cover_leaves_room_for_hair_where_there_is_any():
    framed = frame_picture(
        to_picture(Image.new("RGB", (500, 1000))), 896, 448, "cover", [_face((200, 700, 280, 780))]
    )
    assert framed.crop[1] <= 700 - 0.6 * 80
    assert framed.crop[3] >= 780 + 0.4 * 80


def test_cover_keeps_a_box_that_the_user_gave():
    picture = to_picture(Image.new("RGB", (500, 1000)))
    framed = frame_picture(picture, 896, 448, "cover", (), keep=[(100, 800, 300, 1000)])
    assert framed.crop[1] <= 800
    assert framed.crop[3] == pytest.approx(1000)


def test_faces_that_cannot_all_stay_are_named():
    faces = [_face((10, 10, 60, 60)), _face((100, 20, 150, 70)), _face((900, 20, 990, 110))]
    picture = to_picture(Image.new("RGB", (1000, 300)))
    framed = frame_picture(picture, 448, 896, "cover", faces)
    assert framed.warnings[0].startswith("1 of 3 faces cannot be whole in 448x896")
    assert len(framed.faces) == 2


def test_contain_shows_everything_on_bars_of_the_background():
    picture = to_picture(_quarters(400, 400))
    framed = frame_picture(picture, 896, 448, "contain", [_face((100, 100, 200, 200))])
    assert framed.pixels.shape == (448, 896, 3)
    assert framed.crop == (0, 0, 400, 400)
    assert _near(framed.pixels[224, 10], (255, 255, 255), 0)
    _assert_quarters(framed.pixels[:, 224:672])
    assert framed.faces[0].box == pytest.approx((336, 112, 448, 224))
    assert framed.adjusted[0] == "bars added to fill 896x448"


def test_stretch_says_by_how_much():
    picture = to_picture(_quarters(400, 400))
    framed = frame_picture(picture, 896, 448, "stretch", ())
    _assert_quarters(framed.pixels)
    assert framed.adjusted[0] == "stretched to 896x448: 2.00 times wider than it was"
    same = frame_picture(to_picture(_quarters(1792, 896)), 896, 448, "stretch", ())
    assert same.adjusted == ()


def test_unknown_fit_is_refused():
    with pytest.raises(UsageError, match="cover, contain or stretch"):
        frame_picture(to_picture(_quarters()), 896, 448, "crop", ())


@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
def test_coordinates_map_both_ways_and_meet_the_pixels(fit):
    image = drawing((700, 500), [(300, 200, 60)])
    image.paste((255, 0, 255), (420, 240, 440, 260))
    framed = frame_picture(to_picture(image), 640, 640, fit, ())
    box = (420.0, 240.0, 440.0, 260.0)
    x0, y0, x1, y1 = framed.to_frame(box)
    assert _near(framed.pixels[round((y0 + y1) / 2), round((x0 + x1) / 2)], (255, 0, 255), 3)
    assert framed.from_frame(framed.to_frame(box)) == pytest.approx(box)
    corners = np.array(box).reshape(2, 2)
    assert framed.points_to_frame(corners).ravel() == pytest.approx(framed.to_frame(box))


def test_enlarging_a_small_picture_is_said():
    framed = frame_picture(to_picture(Image.new("RGB", (224, 112))), 896, 448, "cover", ())
    assert framed.adjusted == ("enlarged 4.0 times: the picture has fewer pixels than the video",)
