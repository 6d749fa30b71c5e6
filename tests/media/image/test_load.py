"""Files that are no usable picture are named and rejected."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from multitalk_cli.errors import UsageError
from multitalk_cli.media.image.load import load_picture, looks_like_picture
from tests.media.image.pictures import quarters, refused, saved


def test_wrong_extension_is_no_matter(tmp_path):
    path = tmp_path / "voice.wav"
    quarters().save(path, "PNG")
    assert load_picture(path).format == "PNG"


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_picture_is_turned_clockwise_after_its_orientation(tmp_path, degrees):
    upright, path = quarters().resize((96, 64)), tmp_path / "a.png"
    # Pillow turns to the left.
    turned, exif = upright.rotate(degrees, expand=True), Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)

    picture = load_picture(path, rotate=degrees)

    assert (picture.pixels == np.asarray(upright)).all()
    assert (picture.source_width_px, picture.source_height_px) == (96, 64)
    assert picture.adjusted[-1] == f"turned by {degrees} degrees clockwise"


@pytest.mark.parametrize("name", ["a b.png", "a\nb.png", "-a.png", "ü=ß.png"])
def test_names_of_any_kind(tmp_path, name):
    path = tmp_path / name
    quarters().save(path, "PNG")
    assert load_picture(path).format == "PNG"


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "E_FILE_UNREADABLE", "is empty"),
        (b"hello", "E_IMAGE_FORMAT", "is not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "E_IMAGE_FORMAT", "SVG"),
        (b"<?xml version='1.0'?>\n<!-- c --><svg/>", "E_IMAGE_FORMAT", "SVG"),
        (b"<?xml version='1.0'?><html/>", "E_IMAGE_FORMAT", "is XML text"),
        (b"%PDF-1.7\n", "E_IMAGE_FORMAT", "PDF"),
        (b"8BPS\0\x01", "E_IMAGE_FORMAT", "PSD"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "E_IMAGE_FORMAT", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "E_IMAGE_FORMAT", "JPEG 2000"),
        (b"\0\0\1\0\1\0\x20\x20", "E_IMAGE_FORMAT", "ICO"),
        (b"P6\n80 80\n255\n", "E_IMAGE_FORMAT", "PNM"),
        (b"\x76\x2f\x31\x01\2\0\0\0", "E_IMAGE_FORMAT", "OpenEXR"),
        (b"\n<!doctype HTML><title>Log in</title>", "E_IMAGE_FORMAT", "a web page"),
        (b"PK\x03\x04\x14\0", "E_IMAGE_FORMAT", "is a ZIP archive, not a picture"),
        (b"\x1f\x8b\x08\0abcd", "E_IMAGE_FORMAT", "is a file packed with gzip, not a picture"),
        (b"\0\x05\x16\x07\0\2\0\0Mac OS X", "E_IMAGE_FORMAT", "is metadata of macOS"),
        (b"version https://git-lfs.github.com/spec/v1\n", "E_IMAGE_FORMAT", "Git LFS pointer"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "E_IMAGE_BROKEN", "is damaged"),
        (b"BM\x36\0\0\0\0\0\0\0", "E_IMAGE_BROKEN", "is damaged"),
        (b"RIFF\0\0\0\0WAVEfmt ", "E_IMAGE_FORMAT", "a sound or a video (WAV)"),
        ("\ufeffhello".encode("utf-16"), "E_IMAGE_FORMAT", "is not a picture"),
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
    refused(path, code, words)


def test_missing_and_unreadable_files(tmp_path):
    refused(tmp_path / "none.png", "E_FILE_MISSING", "does not exist")
    refused(tmp_path / "no\nne.png", "E_FILE_MISSING", r"no\nne.png")
    refused(tmp_path, "E_FILE_UNREADABLE", "is a directory")
    refused(Path("/dev/null"), "E_FILE_UNREADABLE", "is a device")
    refused(tmp_path / ("n" * 300), "E_FILE_UNREADABLE", "cannot be read")
    refused(tmp_path / "nul\0.png", "E_FILE_UNREADABLE", "cannot be read")


def test_pipe_is_refused_without_waiting(tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    refused(pipe, "E_FILE_UNREADABLE", "is a pipe")
    assert not looks_like_picture(pipe)


@pytest.mark.parametrize("address", ["https://a.example/b.png", "s3://bucket/b.png", "HTTP://a.b"])
def test_web_address_is_a_mistake_of_the_command_line(address):
    with pytest.raises(UsageError) as caught:
        load_picture(Path(address))
    assert caught.value.code == "E_URL"


def test_file_of_absurd_length_is_refused_before_it_is_read(tmp_path):
    path = saved(tmp_path, quarters(), "PNG")
    os.truncate(path, 600 * 10**6)
    refused(path, "E_IMAGE_SIZE", "larger than 512 MB")


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
