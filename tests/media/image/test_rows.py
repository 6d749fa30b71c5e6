"""Large PNG and TIFF, read a few rows at a time, have the pixels that Pillow reads whole."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, TiffImagePlugin

from multitalk_cli.media.image import png, tiff
from multitalk_cli.media.image.png_rows import PngRows
from multitalk_cli.media.image.tiff_rows import open_rows
from tests.media.image import files
from tests.media.image.files import portrait
from tests.media.image.test_kinds import FEW, samples

sizes = st.tuples(st.integers(64, 160), st.integers(64, 120))
heights = st.lists(st.integers(1, 90), min_size=1, max_size=4)


def strips_of(rows, each):
    """All strips, of heights that are repeated, one below the other."""
    parts, top, n = [], 0, 0
    while top < rows.size[1]:
        bottom = min(top + each[n % len(each)], rows.size[1])
        parts.append(np.asarray(rows.strip(top, bottom)))
        top, n = bottom, n + 1
    return np.concatenate(parts)


def picture(size, mode):
    image = portrait(*size)
    if mode in ("LA", "RGBA"):
        image = image.convert(mode)
        image.putalpha(Image.linear_gradient("L").resize(size))
    return image


def png_rows(data):
    file = io.BytesIO(data)
    return PngRows(file, png.examine(file), PngImagePlugin.PngImageFile(io.BytesIO(data)))


@FEW
@given(
    size=sizes,
    mode=st.sampled_from(["RGB", "RGBA", "LA"]),
    bits=st.sampled_from([8, 16]),
    each=heights,
    seed=st.integers(0, 99),
)
def test_rows_of_a_png_with_any_filters(size, mode, bits, each, seed):
    noise = np.random.default_rng(seed).integers(0, 2**bits, (*size[::-1], len(mode)))
    stored = samples(picture(size, mode), bits).copy()
    stored[::3] = noise[::3]
    data = files.filtered_png(stored, seed)
    rows = png_rows(data)
    assert np.array_equal(strips_of(rows, each), np.asarray(Image.open(io.BytesIO(data))))
    assert rows.missing == 0


@FEW
@given(size=sizes, each=heights, kept=st.floats(0.1, 1), is_cut=st.booleans())
def test_rows_that_a_png_lacks_repeat_the_last_one(size, each, kept, is_cut):
    stored = np.asarray(portrait(*size))
    row_bytes = 1 + 3 * size[0]
    data = files.filtered_png(stored, 1, int(kept * size[1] * row_bytes))
    rows = png_rows(data[:-20] if is_cut else data)
    seen = strips_of(rows, each)
    whole = size[1] - rows.missing
    assert whole >= int(kept * size[1]) - (40 if is_cut else 0)
    assert np.array_equal(seen[:whole], stored[:whole])
    assert (seen[whole:] == (stored[whole - 1] if whole else 0)).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_colour_of_a_png_that_stands_for_transparency(bits):
    stored = samples(portrait(), bits)
    key = stored[3, 5].astype(">u2").tobytes()
    data = files.with_chunks(files.filtered_png(stored, 1), files.png_chunk(b"tRNS", key))
    file = io.BytesIO(data)
    image = PngImagePlugin.PngImageFile(io.BytesIO(data))
    rows = PngRows(file, png.examine(file), image)
    assert rows.strip(0, 9).info == {"transparency": image.info["transparency"]}


LAYOUTS = [{"rowsperstrip": 32}, {"rowsperstrip": 7}, {"tile": (32, 48)}, {}]


@FEW
@given(
    size=sizes,
    mode=st.sampled_from(["RGB", "RGBA"]),
    bits=st.sampled_from([8, 16]),
    planes=st.sampled_from(["contig", "separate"]),
    packing=st.sampled_from(
        [{}, {"compression": "deflate"}, {"compression": "deflate", "predictor": 2}]
    ),
    order=st.sampled_from("<>"),
    is_big=st.booleans(),
    layout=st.sampled_from(LAYOUTS),
    each=heights,
)
def test_rows_of_a_tiff(size, mode, bits, planes, packing, order, is_big, layout, each):
    if layout == {} and packing:
        layout = {"rowsperstrip": 50}
    stored = samples(picture(size, mode), bits)
    options = {"extrasamples": ["unassalpha"]} if mode == "RGBA" else {}
    options |= {"planarconfig": planes, "byteorder": order, "bigtiff": is_big and order == "<"}
    data = files.tiff(stored, **options, **packing, **layout)
    facts = tiff.examine(io.BytesIO(data), "a.tif")
    with tiff.suitable_reader(facts):
        image = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
        rows = open_rows(io.BytesIO(data), image, facts)
        whole = np.asarray(image)
    assert rows is not None
    assert np.array_equal(strips_of(rows, each), whole)


def test_a_single_compressed_strip_that_is_too_large_is_no_rows():
    data = files.huge_tiff(9_000, 9_000, 8, 9_000)
    image = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
    assert open_rows(io.BytesIO(data), image, tiff.examine(io.BytesIO(data), "a.tif")) is None
