"""Pictures as cameras, phones and programs write them look like the picture that they hold."""

import io
import struct
import subprocess
import sys
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from multitalk_cli.errors import FileError
from multitalk_cli.media.image.load import load_picture
from multitalk_cli.media.image.profiles import ColorSpace, grey_profile, rgb_profile
from tests.conftest import ROOT
from tests.media.image.files import (
    ADOBE,
    P3,
    REC2020,
    SRGB,
    as_image,
    camera_raw,
    encoded,
    exif_of_a_camera,
    exif_with_orientation,
    gamma_chunk,
    hlg_levels,
    light,
    portrait,
    pq_levels,
    primaries_chunk,
    psnr,
    recolored,
    scan_places,
    spoiled,
    srgb_levels,
    text_chunk,
    tiff,
    with_chunks,
    with_height_behind,
)
from tests.media.image.pictures import png_bytes, png_chunk, quarters, refused, saved

pytestmark = pytest.mark.slow

HAS_AVIF = "avif" in features.modules and features.check("avif")
needs_avif = pytest.mark.skipif(not HAS_AVIF, reason="needs a Pillow with AVIF")
RECORDED = ROOT / "tests/recordings/pictures"
SIXTEEN = "16 bits per channel reduced to 8"
FEW = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
sizes = st.tuples(st.integers(64, 300), st.integers(64, 200))


def loaded(folder, data):
    """The loaded picture of these bytes."""
    path = folder / "picture"
    path.write_bytes(data)
    return load_picture(path)


# TIFF


def samples(image, bits):
    return np.asarray(image).astype(np.uint16) * 257 if bits == 16 else np.asarray(image)


@pytest.mark.parametrize("tile", [None, (64, 64)])
@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_separate_planes(tmp_path, bits, order, compression, tile):
    options = {"compression": compression, "byteorder": order, "tile": tile}
    data = tiff(samples(portrait(), bits), planarconfig="separate", **options)
    assert psnr(loaded(tmp_path, data).pixels, portrait()) > 50


@FEW
@given(
    size=sizes,
    bits=st.sampled_from([8, 16]),
    planes=st.sampled_from(["contig", "separate"]),
    compression=st.sampled_from([None, "deflate"]),
    order=st.sampled_from("<>"),
    tile=st.sampled_from([None, (64, 64)]),
    is_big=st.booleans(),
)
def test_tiff_of_any_layout_gives_its_pixels(
    tmp_path, size, bits, planes, compression, order, tile, is_big
):
    assume(not (is_big and order == ">"))
    image = portrait(*size)
    options = {"planarconfig": planes, "compression": compression, "byteorder": order}
    data = tiff(samples(image, bits), **options, tile=tile, bigtiff=is_big)
    picture = loaded(tmp_path, data)
    assert psnr(picture.pixels, image) > 50
    assert picture.adjusted == ((SIXTEEN,) if bits == 16 else ())


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("opacity", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_tiff_with_opacity(tmp_path, bits, opacity, planes):
    image = portrait().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    stored = samples(image, bits).copy()
    if opacity == "assocalpha":
        share = np.asarray(image.getchannel("A"))[..., None] / 255
        stored[..., :3] = np.round(stored[..., :3] * share)
    picture = loaded(tmp_path, tiff(stored, planarconfig=planes, extrasamples=[opacity]))
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A"))
    assert psnr(picture.pixels, flat) > 45


def test_sixteen_bit_planes_that_are_too_many_are_refused(tmp_path):
    path = tmp_path / "planes.tif"
    image = np.dstack([samples(portrait(), 16)] * 2)
    path.write_bytes(tiff(image[..., :4], planarconfig="separate", extrasamples=[0]))
    refused(path, "E_IMAGE_FORMAT", "extra planes of 16 bits")
    path.write_bytes(tiff(image[..., :5], extrasamples=[2, 0]))
    refused(path, "E_IMAGE_FORMAT", "5 channels of 16 bits")


def test_big_endian_big_tiff_is_refused_by_name(tmp_path):
    path = tmp_path / "big.tif"
    path.write_bytes(tiff(np.asarray(portrait()), bigtiff=True, byteorder=">"))
    refused(path, "E_IMAGE_FORMAT", "a big-endian BigTIFF")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_grey_that_counts_from_white_is_no_negative(tmp_path, kind, compression):
    grey = np.asarray(portrait().convert("L"))
    most = np.iinfo(kind).max
    stored = most - grey.astype(kind) * (most // 255)
    data = tiff(stored.astype(kind), photometric="miniswhite", compression=compression)
    assert psnr(loaded(tmp_path, data).pixels[..., 0], grey) > 50


@FEW
@given(
    orientation=st.integers(1, 8),
    kind=st.sampled_from(["BYTE", "ASCII", "SHORT", "LONG", "RATIONAL", "UNDEFINED", "SLONG"]),
    order=st.sampled_from("<>"),
    format_=st.sampled_from(["JPEG", "PNG", "WEBP"]),
)
def test_orientation_counts_whatever_its_type(tmp_path, orientation, kind, order, format_):
    data = encoded(quarters(), format_, exif=exif_with_orientation(orientation, kind, order))
    exif = Image.Exif()
    exif[274] = orientation
    picture, usual = (
        loaded(tmp_path, data),
        loaded(tmp_path, encoded(quarters(), format_, exif=exif)),
    )
    assert np.array_equal(picture.pixels, usual.pixels)
    assert picture.adjusted == usual.adjusted


@pytest.mark.parametrize("kind", "BHI")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_turned_by_its_tag_says_so(tmp_path, orientation, kind):
    turn = Image.Transpose
    undo = {2: 0, 3: 3, 4: 1, 5: turn.TRANSPOSE, 6: turn.ROTATE_90, 7: 6, 8: turn.ROTATE_270}
    stored = portrait().transpose(undo[orientation]) if orientation > 1 else portrait()
    tag = (274, kind, 1, orientation, True)
    picture = loaded(tmp_path, tiff(np.asarray(stored), extratags=[tag]))
    assert psnr(picture.pixels, portrait()) > 50
    assert (picture.source_width_px, picture.source_height_px) == portrait().size
    note = f"turned upright (EXIF orientation {orientation})"
    assert picture.adjusted == (() if orientation == 1 else (note,))


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (np.float32(light(portrait())), "3 channels of 32-bit floating-point"),
        (np.float16(light(portrait())), "3 channels of 16-bit floating-point"),
        (np.float64(light(portrait()))[..., 0], "grey of 64-bit floating-point"),
        (samples(portrait(), 16).astype(np.uint32), "3 channels of 32 bits"),
        (samples(portrait().convert("LA"), 16), "2 channels of 16 bits"),
        (samples(portrait(), 16), "3 channels of 16 bits in Lab"),
    ],
)
def test_tiff_of_samples_that_cannot_be_read_names_them(tmp_path, stored, words):
    path = tmp_path / "render.tif"
    options = {"photometric": "cielab"} if "Lab" in words else {}
    if stored.shape[-1] == 2:
        options = {"photometric": "minisblack", "extrasamples": ["unassalpha"]}
    path.write_bytes(tiff(stored, **options))
    refused(path, "E_IMAGE_FORMAT", words)


def test_numbers_too_large_for_the_reader_are_refused(tmp_path):
    path = tmp_path / "count.tif"
    path.write_bytes(tiff(np.asarray(portrait().convert("L")).astype(np.uint32) << 24))
    refused(path, "E_IMAGE_BROKEN", "32 bits that are too large")


def test_full_picture_behind_its_smaller_copy_is_read(tmp_path):
    import tifffile

    stored = io.BytesIO()
    with tifffile.TiffWriter(stored) as writer:
        writer.write(np.asarray(portrait(80, 66)), photometric="rgb", subfiletype=1)
        writer.write(np.asarray(portrait()), photometric="rgb")
    picture = loaded(tmp_path, stored.getvalue())
    assert psnr(picture.pixels, portrait()) > 50
    assert picture.adjusted == ("the full picture used, not the smaller copy before it",)


# Camera raws


@pytest.mark.parametrize("name", ["photo.raw", "photo.tif"])
@pytest.mark.parametrize("kind", ["DNG", "NEF", "ARW", "PEF"])
def test_camera_raw_is_refused_by_what_it_is(tmp_path, kind, name):
    path = tmp_path / name
    path.write_bytes(camera_raw(kind, portrait()))
    refused(path, "E_IMAGE_FORMAT", f"a camera raw file ({kind})")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"II*\0\x10\0\0\0CR\x02\0", "CR2"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "CR3"),
        (b"IIRO\x08\0\0\0", "ORF"),
        (b"IIU\0\x18\0\0\0", "RW2"),
        (b"FUJIFILMCCD-RAW 0201", "RAF"),
    ],
)
def test_camera_raw_with_a_mark_of_its_own(tmp_path, head, kind):
    path = tmp_path / "photo.jpg"
    path.write_bytes(head + bytes(1000))
    refused(path, "E_IMAGE_FORMAT", f"a camera raw file ({kind})")


# Colours

SPACES = {
    "linear": (SRGB, lambda linear: linear, 1.0, 30),
    "Mac gamma": (SRGB, lambda linear: linear ** (1 / 1.8), 1.8, 40),
    "Adobe RGB": (ADOBE, lambda linear: linear ** (256 / 563), 563 / 256, 40),
    "Display P3": (P3, srgb_levels, "srgb", 40),
    "BT.2020": (REC2020, srgb_levels, "srgb", 38),
}


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("called", ["{}", "{} (sRGB)"])
def test_profile_decides_and_not_its_name(tmp_path, name, called):
    primaries, levels, curve, likeness = SPACES[name]
    space = ColorSpace(name=called.format(name), primaries=primaries, curve=curve)
    stored = as_image(recolored(portrait(), primaries, levels))
    picture = loaded(tmp_path, encoded(stored, "PNG", icc_profile=rgb_profile(space)))
    assert (
        psnr(picture.pixels, portrait()) > likeness > psnr(stored, portrait()) or name != "linear"
    )
    assert psnr(picture.pixels, portrait()) > likeness
    assert picture.adjusted == (f'colours converted from "{space.name}" to sRGB',)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Display P3 of a studio, calibrated in May to 120 nits", None),
        ("Display\nP3\x07", "Display P3"),
    ],
)
def test_the_whole_name_of_a_profile_is_quoted(tmp_path, name, shown):
    profile = rgb_profile(ColorSpace(name=name, primaries=P3, curve="srgb"))
    picture = loaded(tmp_path, encoded(portrait(), "PNG", icc_profile=profile))
    assert picture.adjusted == (f'colours converted from "{shown or name}" to sRGB',)


@FEW
@given(
    gamma=st.floats(1.0, 3.0),
    moves=st.lists(st.floats(-0.03, 0.03), min_size=6, max_size=6),
    name=st.sampled_from(["sRGB", "monitor"]),
    chunks=st.booleans(),
)
def test_any_gamma_and_primaries_are_undone(tmp_path, gamma, moves, name, chunks):
    shifted = [part + move for part, move in zip(REC2020[2:], moves, strict=True)]
    primaries = (*REC2020[:2], *shifted)
    stored = as_image(recolored(portrait(), primaries, lambda linear: linear ** (1 / gamma)))
    if chunks:
        whole = (gamma_chunk(1 / gamma), primaries_chunk(primaries))
        data = with_chunks(encoded(stored, "PNG"), *whole)
    else:
        space = ColorSpace(name=name, primaries=primaries, curve=gamma)
        data = encoded(stored, "JPEG", quality=97, subsampling=0, icc_profile=rgb_profile(space))
    picture = loaded(tmp_path, data)
    assert psnr(picture.pixels, portrait()) > 28
    mean = np.abs(picture.pixels.mean(axis=(0, 1)) - np.asarray(portrait()).mean(axis=(0, 1)))
    assert mean.max() < 1.5
    assert picture.adjusted[0].startswith("colours converted from ")


@pytest.mark.parametrize("gamma", [0.45455, 0.44, 0.47])
@pytest.mark.parametrize("points", [None, SRGB])
def test_srgb_said_in_chunks_changes_nothing(tmp_path, gamma, points):
    chunks = [gamma_chunk(gamma), *([primaries_chunk(points)] if points else [])]
    picture = loaded(tmp_path, with_chunks(encoded(portrait(), "PNG"), *chunks))
    assert np.array_equal(picture.pixels, np.asarray(portrait()))
    assert picture.adjusted == ()


def test_srgb_chunk_wins_over_gamma_and_primaries(tmp_path):
    chunks = (png_chunk(b"sRGB", b"\0"), gamma_chunk(1.0), primaries_chunk(ADOBE))
    picture = loaded(tmp_path, with_chunks(encoded(portrait(), "PNG"), *chunks))
    assert np.array_equal(picture.pixels, np.asarray(portrait()))


@pytest.mark.parametrize("gamma", [1.0, 0.5556, 0.3])
def test_gamma_of_a_grey_png(tmp_path, gamma):
    grey = portrait().convert("L")
    stored = as_image(light(grey) ** gamma)
    picture = loaded(tmp_path, with_chunks(encoded(stored, "PNG"), gamma_chunk(gamma)))
    assert psnr(picture.pixels[..., 0], grey) > 30


@pytest.mark.parametrize("broken", [(0.3, 0.3) * 4, (0.3127, 0.0) * 4, (0.0,) * 8])
def test_senseless_primaries_are_ignored_with_a_note(tmp_path, broken):
    data = with_chunks(encoded(portrait(), "PNG"), primaries_chunk(broken))
    picture = loaded(tmp_path, data)
    assert picture.adjusted == ("a colour profile that does not fit the picture ignored",)
    assert np.array_equal(picture.pixels, np.asarray(portrait()))


CODES = {
    (1, 13): (SRGB, srgb_levels, 60),
    (12, 13): (P3, srgb_levels, 40),
    (9, 16): (REC2020, pq_levels, 33),
    (9, 18): (REC2020, hlg_levels, 33),
    (1, 8): (SRGB, lambda linear: linear, 30),
}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("profiled", [False, True])
def test_colour_codes_of_a_png_win_over_its_profile(tmp_path, code, profiled):
    primaries, levels, likeness = CODES[code]
    stored = as_image(recolored(portrait(), primaries, levels))
    other = rgb_profile(ColorSpace(name="other", primaries=ADOBE, curve=1.0))
    data = encoded(stored, "PNG", **({"icc_profile": other} if profiled else {}))
    picture = loaded(tmp_path, with_chunks(data, png_chunk(b"cICP", bytes([*code, 0, 1]))))
    assert psnr(picture.pixels, portrait()) > likeness


@pytest.mark.parametrize("stated", [(2,), (0xFFFF, "R03"), (2, "R03")])
def test_adobe_rgb_of_a_camera_without_a_profile(tmp_path, stated):
    image = as_image(recolored(portrait(), ADOBE, SPACES["Adobe RGB"][1]))
    exif = exif_of_a_camera(*stated)
    picture = loaded(tmp_path, encoded(image, "JPEG", quality=97, subsampling=0, exif=exif))
    assert picture.adjusted == ("colours converted from Adobe RGB to sRGB",)
    assert psnr(picture.pixels, portrait()) > 38


@pytest.mark.parametrize("stated", [(1,), (0xFFFF,), (7,), (0xFFFF, "R98"), (1, "R03")])
def test_other_colour_spaces_of_exif_change_nothing(tmp_path, stated):
    exif = exif_of_a_camera(*stated)
    assert loaded(tmp_path, encoded(portrait(), "JPEG", exif=exif)).adjusted == ()


def test_grey_profile_is_applied(tmp_path):
    grey = portrait().convert("L")
    profile = grey_profile(ColorSpace(name="Linear grey", primaries=SRGB, curve=1.0))
    picture = loaded(tmp_path, encoded(as_image(light(grey)), "PNG", icc_profile=profile))
    assert psnr(picture.pixels[..., 0], grey) > 30
    assert picture.adjusted == ('colours converted from "Linear grey" to sRGB',)


def test_profile_for_colours_on_a_grey_picture_is_applied(tmp_path):
    grey = portrait().convert("L")
    space = ColorSpace(name="Adobe RGB", primaries=ADOBE, curve=563 / 256)
    stored = as_image(light(grey) ** (256 / 563))
    data = encoded(stored, "JPEG", quality=97, icc_profile=rgb_profile(space))
    picture = loaded(tmp_path, data)
    assert psnr(picture.pixels[..., 0], grey) > 38
    assert picture.adjusted == ('colours converted from "Adobe RGB" to sRGB',)


def test_profile_of_more_than_a_megabyte_is_read(tmp_path):
    primaries, levels, curve, likeness = SPACES["Adobe RGB"]
    profile = rgb_profile(ColorSpace(name="large", primaries=primaries, curve=curve))
    profile = struct.pack(">I", len(profile) + 3_000_000) + profile[4:] + bytes(3_000_000)
    stored = as_image(recolored(portrait(), primaries, levels))
    picture = loaded(tmp_path, encoded(stored, "PNG", icc_profile=profile))
    assert psnr(picture.pixels, portrait()) > likeness


# PNG chunks


@FEW
@given(
    name=st.sampled_from([b"tEXt", b"tIME", b"pHYs", b"gAMA", b"zzZz", b"eXIf", b"iCCP", b"bKGD"]),
    body=st.binary(max_size=60),
    size=sizes,
)
def test_wrong_checksum_of_a_chunk_that_is_not_needed(tmp_path, name, body, size):
    image = portrait(*size)
    data = with_chunks(encoded(image, "PNG"), spoiled(png_chunk(name, body)))
    picture = loaded(tmp_path, data)
    assert np.array_equal(picture.pixels, np.asarray(image))
    assert picture.adjusted == (f"a damaged chunk of the PNG ignored: {name.decode()}",)


# What a reader needs of each chunk and lacks here, with the right checksum.
NONSENSE = {
    "iCCP": [b"", b"icc\0\1" + zlib.compress(b"a profile")],
    "gAMA": [b"", b"\0\0"],
    "cHRM": [b"\0" * 8],
    "sRGB": [b""],
    "pHYs": [b"\0"],
    "tRNS": [b"", b"\0"],
    "zTXt": [b"key\0\5abc"],
}


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("name", NONSENSE)
def test_chunk_without_its_content_is_ignored(tmp_path, name, behind):
    for body in NONSENSE[name]:
        chunk = png_chunk(name.encode(), body)
        picture = loaded(tmp_path, with_chunks(encoded(portrait(), "PNG"), chunk, behind=behind))
        assert np.array_equal(picture.pixels, np.asarray(portrait()))
        assert picture.adjusted == (f"a damaged chunk of the PNG ignored: {name}",)


@FEW
@given(
    name=st.sampled_from([b"acTL", b"fcTL", b"fdAT"]),
    body=st.binary(max_size=30),
    behind=st.booleans(),
)
def test_damaged_animation_does_not_matter_to_the_picture(tmp_path, name, body, behind):
    data = encoded(portrait(), "PNG", save_all=True, append_images=[Image.new("RGB", (256, 132))])
    data = with_chunks(data, png_chunk(name, body), behind=behind)
    picture = loaded(tmp_path, data)
    assert np.array_equal(picture.pixels, np.asarray(portrait()))


def test_png_for_apps_of_ios_is_named(tmp_path):
    path = tmp_path / "icon.png"
    data = encoded(portrait(), "PNG")
    path.write_bytes(data[:8] + png_chunk(b"CgBI", bytes(4)) + data[8:])
    refused(path, "E_IMAGE_FORMAT", "CgBI")


def test_wrong_checksum_of_the_header_is_damage(tmp_path):
    data = bytearray(encoded(portrait(), "PNG"))
    data[29] ^= 1
    path = tmp_path / "header.png"
    path.write_bytes(data)
    refused(path, "E_IMAGE_BROKEN", "is damaged")


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
@pytest.mark.parametrize("length", [1_100_000, 5_000_000])
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_long_texts_of_a_png(tmp_path, kind, length, behind, count):
    chunk = text_chunk(kind, length)
    data = with_chunks(encoded(portrait(), "PNG"), *[chunk] * count, behind=behind)
    picture = loaded(tmp_path, data)
    assert np.array_equal(picture.pixels, np.asarray(portrait()))
    assert picture.adjusted == ()


@pytest.mark.parametrize(
    ("depth", "color", "left", "right", "value"),
    [
        (1, 0, b"\x00", b"\xff", (0,)),
        (2, 0, b"\x55", b"\xff", (1,)),
        (4, 0, b"\x99", b"\xff", (9,)),
        (8, 0, b"\x99", b"\xff", (0x99,)),
        (16, 0, b"\x99\x01", b"\xff\xff", (0x9901,)),
        (8, 2, b"\x01\x02\x03", b"\xff\xff\xff", (1, 2, 3)),
        (16, 2, b"\x03\xe8\x4e\x20\x9c\x40", b"\xff" * 6, (1000, 20000, 40000)),
    ],
)
def test_value_of_a_png_that_stands_for_transparency(tmp_path, depth, color, left, right, value):
    samples_of_8 = max(1, 8 // depth) if color == 0 else 1
    row = b"\0" + left * (80 // samples_of_8) + right * (80 // samples_of_8)
    key = png_chunk(b"tRNS", struct.pack(f">{len(value)}H", *value))
    path = tmp_path / "key.png"
    path.write_bytes(png_bytes(160, 80, depth, color, row * 80, key))
    picture = load_picture(path, background=(10, 200, 30))
    assert tuple(picture.pixels[40, 20]) == (10, 200, 30)
    assert tuple(picture.pixels[40, 140]) == (255, 255, 255)
    assert picture.adjusted[-1] == "transparency laid on #0ac81e"


def test_png_of_absurdly_many_chunks_is_refused(tmp_path):
    path = tmp_path / "many.png"
    path.write_bytes(with_chunks(encoded(portrait(), "PNG"), png_chunk(b"zzZz", b"") * 300_001))
    refused(path, "E_IMAGE_BROKEN", "more than 300,000 chunks")


def test_interlaced_png(tmp_path):
    from tests.media.image.files import interlaced_png

    picture = loaded(tmp_path, interlaced_png(portrait(131, 97)))
    assert np.array_equal(picture.pixels, np.asarray(portrait(131, 97)))


# Files without their end


@FEW
@given(
    size=st.tuples(st.integers(64, 700), st.integers(64, 500)),
    cut=st.integers(1, 40),
    quality=st.integers(60, 95),
    progressive=st.booleans(),
    subsampling=st.sampled_from([0, 1, 2]),
    zeros=st.sampled_from([0, 0, 3000]),
)
def test_jpeg_without_its_last_bytes(tmp_path, size, cut, quality, progressive, subsampling, zeros):
    options = {"quality": quality, "progressive": progressive, "subsampling": subsampling}
    whole = encoded(portrait(*size), "JPEG", **options)
    try:
        picture = loaded(tmp_path, whole[:-cut] + bytes(zeros))
    except FileError as error:
        assert "of the picture cannot be read" in error.message
        assert cut > 3
        assert size[1] < 50 * 32
        return
    with Image.open(io.BytesIO(whole)) as right:
        assert psnr(picture.pixels, right.convert("RGB")) > 30
    assert picture.adjusted[0].startswith("the end of the file is missing")


@FEW
@given(
    size=sizes,
    mode=st.sampled_from(["RGB", "L"]),
    subsampling=st.sampled_from([0, 2]),
    within=st.floats(0, 0.9),
    ending=st.sampled_from([b"\xff\xd9", b"", bytes(300)]),
)
def test_progressive_jpeg_that_lacks_scans_says_so(
    tmp_path, size, mode, subsampling, within, ending
):
    whole = encoded(
        portrait(*size).convert(mode), "JPEG", progressive=True, subsampling=subsampling
    )
    places = scan_places(whole)
    for start, end in pairwise(places):
        cut = whole[: start + int(within * (end - start))]
        (tmp_path / "cut.jpg").write_bytes(cut + ending)
        # The first two scans: the mean of each block, then its coarse detail, which may be cut off.
        if sum(place + 20 <= len(cut) for place in places) < 3:
            refused(tmp_path / "cut.jpg", "E_IMAGE_BROKEN", "only a coarse preview")
            continue
        note = "the last part of the file is missing, and with it fine detail"
        assert load_picture(tmp_path / "cut.jpg").adjusted == (note,)


@FEW
@given(size=sizes, progressive=st.booleans(), rows=st.sampled_from([0, 1]))
def test_jpeg_whose_height_stands_behind_its_first_scan(tmp_path, size, progressive, rows):
    options = {"progressive": progressive, "restart_marker_rows": rows}
    whole = encoded(portrait(*size), "JPEG", **options)
    picture = loaded(tmp_path, with_height_behind(whole))
    assert np.array_equal(picture.pixels, loaded(tmp_path, whole).pixels)
    assert picture.adjusted == ()
    (tmp_path / "open.jpg").write_bytes(with_height_behind(whole, is_stated=False))
    refused(tmp_path / "open.jpg", "E_IMAGE_FORMAT", "does not say how high it is")


SEGMENTS = (
    b"\xff\xee\0\x07Adobe", b"\xff\xe2\0\x0eICC_PROFILE\0", b"\xff\xe0\0\x07JFIF\0",
    b"\xff\xfe\0\x02",
)  # fmt: skip


@FEW
@given(
    segments=st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=4),
    orientation=st.sampled_from([1, 6]),
    cut=st.sampled_from([0, 2]),
)
def test_damaged_metadata_of_a_jpeg_does_not_matter(tmp_path, segments, orientation, cut):
    exif = Image.Exif()
    exif[0x112] = orientation
    data = encoded(portrait(), "JPEG", quality=95, exif=exif)
    data = data[:2] + b"".join(segments) + data[2 : len(data) - cut]
    picture = loaded(tmp_path, data)
    turn = Image.Transpose.ROTATE_270
    upright = portrait().transpose(turn) if orientation == 6 else portrait()
    assert psnr(picture.pixels[:120], np.asarray(upright)[:120]) > 35


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_without_its_end_marker_is_whole(tmp_path, progressive):
    data = encoded(portrait(), "JPEG", progressive=progressive)
    with Image.open(io.BytesIO(data)) as right:
        assert np.array_equal(loaded(tmp_path, data[:-2]).pixels, np.asarray(right))


@FEW
@given(share=st.floats(0.1, 0.9), mode=st.sampled_from(["RGB", "L"]), size=sizes)
def test_end_mark_of_a_jpeg_too_early_is_not_the_end(tmp_path, share, mode, size):
    data = encoded(portrait(*size).convert(mode), "JPEG")
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: 700 + int(share * (len(data) - 700))] + b"\xff\xd9")
    refused(path, "E_IMAGE_BROKEN", "% of the picture cannot be read")


def test_grey_picture_is_not_taken_for_an_unfinished_one(tmp_path):
    grey = Image.new("RGB", (200, 150), (128, 128, 128))
    picture = loaded(tmp_path, encoded(grey, "JPEG"))
    assert (picture.pixels == 128).all()
    assert picture.adjusted == ()


@pytest.mark.parametrize("cut", [0, 0.4])
def test_zeros_behind_a_jpeg(tmp_path, cut):
    data = encoded(portrait(), "JPEG")
    path = tmp_path / "stopped.jpg"
    path.write_bytes(data[: int((1 - cut) * len(data))].ljust(len(data) + 500, b"\0"))
    if cut:
        refused(path, "E_IMAGE_BROKEN", "% of the picture cannot be read")
    else:
        assert load_picture(path).adjusted == ()


@FEW
@given(share=st.floats(0.05, 0.93), kind=st.sampled_from(["JPEG", "PNG"]), size=sizes)
def test_file_without_much_of_its_picture_says_how_much(tmp_path, share, kind, size):
    image = portrait(*size)
    data = encoded(image, kind)
    path = tmp_path / "cut"
    head = 700 if kind == "JPEG" else 100
    path.write_bytes(data[: head + int(share * (len(data) - head))])
    refused(path, "E_IMAGE_BROKEN", "% of the picture cannot be read")


@FEW
@given(missing=st.integers(0, 12), ended=st.booleans(), black=st.booleans())
def test_png_without_its_last_rows(tmp_path, missing, ended, black):
    image = np.asarray(portrait(640, 330))
    whole = len(image) - missing
    image = image * np.uint8(0) if black else image
    rows = b"".join(b"\0" + row.tobytes() for row in image[:whole])
    data = png_bytes(640, 330, 8, 2, rows)
    path = tmp_path / "cut.png"
    path.write_bytes(data if ended else data[:-16])
    if missing > 6:
        refused(path, "E_IMAGE_BROKEN", f"the lower {round(100 * missing / 330)} % of the picture")
        return
    picture = load_picture(path)
    assert np.array_equal(picture.pixels[:whole], image[:whole])
    assert (picture.pixels[whole:] == image[whole - 1]).all()
    note = f"the end of the file is missing: the lowest {missing} rows repeat the one above"
    assert picture.adjusted == ((note,) if missing else ())


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "TIFF", "BMP", *(["AVIF"] if HAS_AVIF else [])])
def test_other_formats_without_their_end_are_damaged(tmp_path, kind):
    path = saved(tmp_path, portrait(), kind)
    path.write_bytes(path.read_bytes()[:-100])
    refused(path, "E_IMAGE_BROKEN", "last 100 bytes are missing" if kind == "WEBP" else "")


# AVIF, HEIC, BMP


@needs_avif
@pytest.mark.parametrize("options", [{}, {"subsampling": "4:4:4"}, {"range": "limited"}])
def test_avif(tmp_path, options):
    picture = loaded(tmp_path, encoded(portrait(), "AVIF", quality=90, **options))
    assert psnr(picture.pixels, portrait()) > 34
    assert (picture.format, picture.adjusted) == ("AVIF", ())


@needs_avif
@pytest.mark.parametrize("code", CODES)
def test_colour_codes_of_an_avif(tmp_path, code):
    primaries, levels, likeness = CODES[code]
    stored = as_image(recolored(portrait(), primaries, levels))
    data = encoded(stored, "AVIF", quality=100, subsampling="4:4:4")
    at = data.index(b"colrnclx") + 8
    data = data[:at] + struct.pack(">HH", *code) + data[at + 4 :]
    assert psnr(loaded(tmp_path, data).pixels, portrait()) > min(likeness, 36) - 2


@pytest.mark.parametrize("name", ["portrait.heic", "phone.heic", "turned.heic"])
def test_heic(tmp_path, name):
    pytest.importorskip("pi_heif")
    path = tmp_path / "IMG_0042.jpg"  # as phones share them
    path.write_bytes((RECORDED / name).read_bytes())
    picture = load_picture(path)
    assert psnr(picture.pixels, portrait(512, 264)) > 34
    assert (picture.source_width_px, picture.source_height_px) == (512, 264)
    assert picture.format == "HEIC"
    converted = ('colours converted from "Display P3" to sRGB',)
    assert picture.adjusted == (converted if name == "phone.heic" else ())


def test_heic_without_its_reader_names_it(tmp_path):
    path = tmp_path / "IMG_0042.HEIC"
    path.write_bytes((RECORDED / "portrait.heic").read_bytes())
    # A process in which the package cannot be imported, as where it is not installed.
    script = (
        "import pathlib, sys\n"
        "sys.modules['pi_heif'] = None\n"
        "from multitalk_cli.errors import FileError\n"
        "from multitalk_cli.media.image.load import load_picture\n"
        "try:\n    load_picture(pathlib.Path(sys.argv[1]))\n"
        "except FileError as error:\n    print(error.code, error.message, error.hint)\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("E_IMAGE_FORMAT ")
    assert "is HEIC, which needs the package pi-heif" in done.stdout
    assert "[heic]" in done.stdout


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA"])
def test_bmp(tmp_path, mode):
    image = portrait().convert(mode)
    picture = loaded(tmp_path, encoded(image, "BMP"))
    assert psnr(picture.pixels, image.convert("RGB")) > 50


def bmp_with_opacity(image, opacity):
    """A BMP whose header says that the fourth byte of a pixel is its opacity."""
    pixels = np.dstack([np.asarray(image)[::-1, :, ::-1], opacity[::-1]]).astype(np.uint8).tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    sizes = struct.pack("<IiiHHIIiiII", 124, *image.size, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    header = sizes + masks + b"BGRs" + bytes(64)
    return b"BM" + struct.pack("<IHHI", 138 + len(pixels), 0, 0, 138) + header + pixels


@FEW
@given(size=sizes, opacity=st.sampled_from([0, 255]), reserved=st.binary(min_size=4, max_size=4))
def test_bmp_whose_opacity_was_left_at_zero_is_opaque(tmp_path, size, opacity, reserved):
    image = portrait(*size)
    data = bytearray(bmp_with_opacity(image, np.full(size[::-1], opacity)))
    data[6:10] = reserved
    picture = loaded(tmp_path, bytes(data))
    assert np.array_equal(picture.pixels, np.asarray(image))
    assert picture.adjusted == ()


def test_bmp_with_opacity(tmp_path):
    image, opacity = portrait(), np.full((132, 256), 255)
    opacity[:66] = 0
    picture = loaded(tmp_path, bmp_with_opacity(image, opacity))
    assert (picture.pixels[:66] == 255).all()
    assert np.array_equal(picture.pixels[66:], np.asarray(image)[66:])


@pytest.mark.parametrize("content", [4, 5])
def test_bmp_around_another_format_is_of_no_use(tmp_path, content):
    data = encoded(portrait(), "PNG" if content == 5 else "JPEG")
    sizes = struct.pack("<IiiHHIIiiII", 40, 256, 132, 1, 0, content, len(data), 0, 0, 0, 0)
    path = tmp_path / "host.bmp"
    path.write_bytes(b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) + sizes + data)
    refused(path, "E_IMAGE_FORMAT", "Unsupported BMP")


# Pictures that show nothing


@pytest.mark.parametrize(("kind", "count"), [("PNG", 1), ("GIF", 2), ("WEBP", 1), ("WEBP", 3)])
def test_transparent_picture_is_refused(tmp_path, kind, count):
    empty = portrait().convert("RGBA")
    empty.putalpha(0)
    more = [portrait().convert("RGBA")] * (count - 1)
    options = {"save_all": True, "append_images": more} if more else {}
    path = tmp_path / "empty"
    path.write_bytes(encoded(empty, kind, **options))
    refused(path, "E_IMAGE_BROKEN", "shows nothing" if count == 1 else "in its first frame")
