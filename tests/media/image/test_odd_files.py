"""Pictures that are damaged inside, packed in unusual ways, or in something that is no picture."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from multitalk_cli.errors import FileError
from multitalk_cli.media.image.load import load_picture
from tests.media.image.files import encoded, portrait, with_height_behind
from tests.media.image.pictures import png_chunk, refused
from tests.media.image.test_kinds import FEW, loaded, sizes

WRONG = "the pixels have a wrong checksum and may be damaged"


def pixels_of(data):
    """Where the bytes of the one chunk of pixels of a PNG start, and their number."""
    at = data.index(b"IDAT") + 4
    return at, int.from_bytes(data[at - 8 : at - 4], "big")


def modes(image, mode):
    return image.convert("RGBA") if mode == "RGBA" else image.convert(mode)


@FEW
@given(
    size=sizes,
    mode=st.sampled_from(["RGB", "RGBA", "L", "P", "1"]),
    place=st.sampled_from(["of the chunk", "of the pixels", "of both"]),
)
def test_wrong_checksum_of_the_pixels_of_a_png(tmp_path, size, mode, place):
    image = modes(portrait(*size), mode)
    data = bytearray(encoded(image, "PNG"))
    at, length = pixels_of(data)
    if place != "of the chunk":
        data[at + length - 1] ^= 0x55
    if place == "of the pixels":
        data[at - 4 : at + length + 4] = png_chunk(b"IDAT", data[at : at + length])[4:]
    elif place == "of the chunk":
        data[at + length] ^= 0x55
    picture = loaded(tmp_path, bytes(data))
    assert np.array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    assert picture.adjusted == (WRONG,)


@FEW
@given(size=st.tuples(st.integers(200, 300), st.integers(150, 200)), share=st.floats(0.1, 0.97))
def test_a_png_damaged_inside_keeps_the_rows_before_it(tmp_path, size, share):
    image = portrait(*size)
    data = bytearray(encoded(image, "PNG"))
    at, length = pixels_of(data)
    data[at + int(share * length) : at + int(share * length) + 9] = b"\xff" * 9
    path = tmp_path / "damaged.png"
    path.write_bytes(data)
    try:
        picture = load_picture(path)
    except FileError:
        refused(path, "E_IMAGE_BROKEN", "% of the picture cannot be read")
        return
    assert picture.adjusted[0].startswith(WRONG)
    # Some bytes still mean pixels before the damage is found.
    sure = int((share - 0.03) * size[1])
    same = (picture.pixels == np.asarray(image)).all(axis=(1, 2))
    assert same[: max(0, sure - 30)].all()


def test_pixels_of_a_png_behind_another_chunk_are_not_seen(tmp_path):
    data = encoded(portrait(), "PNG")
    at, length = pixels_of(data)
    parts = [png_chunk(b"IDAT", data[at : at + 900]), png_chunk(b"tEXt", b"key\0text")]
    parts.append(png_chunk(b"IDAT", data[at + 900 : at + length]))
    path = tmp_path / "split.png"
    path.write_bytes(data[: at - 8] + b"".join(parts) + data[at + length + 4 :])
    refused(path, "E_IMAGE_BROKEN", "% of the picture cannot be read")


@pytest.mark.parametrize(
    ("marker", "name"),
    [
        (0xC3, "lossless"),
        (0xCB, "lossless"),
        (0xC5, "hierarchical"),
        (0xCA, "with arithmetic coding"),
    ],
)
def test_kinds_of_jpeg_that_no_reader_knows_are_named(tmp_path, marker, name):
    data = encoded(portrait(), "JPEG")
    at = data.index(b"\xff\xc0") + 1
    path = tmp_path / "odd.jpg"
    path.write_bytes(data[:at] + bytes([marker]) + data[at + 1 :])
    refused(path, "E_IMAGE_FORMAT", f"unsupported kind of JPEG: {name}")


@FEW
@given(size=sizes)
def test_a_webp_without_the_byte_that_fills_its_chunk_up(tmp_path, size):
    data = encoded(portrait(*size), "WEBP", lossless=True)
    is_odd = int.from_bytes(data[16:20], "little") % 2
    picture = loaded(tmp_path, data[:-1] if is_odd else data)
    with Image.open(io.BytesIO(data)) as right:
        assert np.array_equal(picture.pixels, right.convert("RGB"))


BEFORE = {
    "a mark of byte order": b"\xef\xbb\xbf",
    "empty lines": b"\r\n\n",
    "a message": b"<br />\n<b>Notice</b>: Undefined index in <b>image.php</b>",
    "a header": b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n",
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("before", BEFORE)
def test_text_before_a_picture_is_ignored(tmp_path, kind, before):
    data = encoded(portrait(), kind)
    picture, usual = loaded(tmp_path, BEFORE[before] + data), loaded(tmp_path, data)
    assert np.array_equal(picture.pixels, usual.pixels)
    assert picture.adjusted == ("text before the picture ignored", *usual.adjusted)


def test_text_before_a_jpeg_whose_height_comes_last(tmp_path):
    picture = loaded(tmp_path, b"\n" + with_height_behind(encoded(portrait(), "JPEG")))
    assert (picture.width_px, picture.height_px) == portrait().size


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("head", [b"", b"data:image/*;base64,"])
def test_a_picture_in_base64_is_named(tmp_path, kind, head):
    path = tmp_path / "picture.png"
    path.write_bytes(head + base64.b64encode(encoded(portrait(), kind)))
    refused(path, "E_IMAGE_FORMAT", "is a picture in base64")


PNG, JPEG = encoded(portrait(), "PNG"), encoded(portrait(), "JPEG")
OTHERS = {
    "changed line ends": (PNG.replace(b"\r\n", b"\n"), "saved or sent as text"),
    "line ends of Windows": (PNG.replace(b"\n", b"\r\n"), "saved or sent as text"),
    "PNG as UTF-8": (PNG.decode("utf-8", "replace").encode(), "saved or sent as text"),
    "JPEG as UTF-8": (JPEG.decode("utf-8", "replace").encode(), "saved or sent as text"),
    "PNG as Latin-1": (PNG.decode("latin-1").encode(), "saved or sent as text"),
    "JPEG as Latin-1": (JPEG.decode("latin-1").encode(), "saved or sent as text"),
    "an error of an API": (b'{"error": {"message": "quota exceeded"}}', "is JSON text"),
    "an error of a store": (b'<?xml version="1.0"?><Error><Code>AccessDenied', "is XML text"),
    "a page": (b"<!DOCTYPE html><title>404</title>", "is a web page"),
    "an answer": (b"HTTP/1.1 404 Not Found\r\n\r\n", "is an answer of a web server"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_came_in_place_of_a_picture_is_named(tmp_path, name):
    content, words = OTHERS[name]
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    refused(path, "E_IMAGE_FORMAT", words)
