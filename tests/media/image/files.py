"""Writes the example portrait as files of every kind, whole and damaged."""

import io
import struct
import zlib
from functools import cache

import numpy as np
import tifffile
from PIL import Image

from tests.conftest import ROOT
from tests.media.image.pictures import png_chunk

D65 = (0.3127, 0.3290)
SRGB = (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE = (*D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
P3 = (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
REC2020 = (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)


@cache
def portrait(width=256, height=132):
    """The example portrait in that size."""
    with Image.open(ROOT / "multitalk_cli/examples/portrait.png") as image:
        return image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def psnr(one, other):
    """The likeness of two pictures of one size in decibels; 99 where they are equal."""
    one, other = (np.asarray(image, dtype=np.float64) for image in (one, other))
    assert one.shape == other.shape
    error = ((one - other) ** 2).mean()
    return 99.0 if error == 0 else 10 * np.log10(255**2 / error)


def encoded(image, kind, **options):
    """The bytes of the picture in a format."""
    stored = io.BytesIO()
    image.save(stored, kind, **options)
    return stored.getvalue()


# Colours, computed without profiles


def _matrix(primaries):
    white, *colors = (
        np.array([x / y, 1, (1 - x - y) / y]) for x, y in np.reshape(primaries, (4, 2))
    )
    columns = np.stack(colors, axis=1)
    return columns * np.linalg.solve(columns, white)


def light(image):
    """[H, W, 3] linear sRGB from 0 to 1."""
    level = np.asarray(image) / 255
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)


def srgb_levels(linear):
    """Levels of linear light, with sRGB's curve."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def pq_levels(linear):
    """Levels of PQ for light of which 1 is white paper, 203 cd/m2."""
    power = (linear * 203 / 10_000) ** (1305 / 8192)
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** (2523 / 32)


def hlg_levels(linear):
    """Levels of HLG for light of which 1 is white paper, 203 cd/m2 of 1000."""
    scene = (linear * 203 / 1000) ** (1 / 1.2)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def recolored(image, primaries, levels):
    """The picture in another colour space, as numbers from 0 to 1. levels: from linear light."""
    into = np.linalg.inv(_matrix(primaries)) @ _matrix(SRGB)
    return levels(np.clip(light(image) @ into.T, 0, 1))


def as_image(levels):
    """An 8-bit picture of numbers from 0 to 1."""
    return Image.fromarray(np.round(levels * 255).astype(np.uint8))


# PNG


def with_chunks(data, *chunks, behind=False):
    """A PNG with more chunks before its pixels, or behind them."""
    at = len(data) - 12 if behind else 33
    return data[:at] + b"".join(chunks) + data[at:]


def spoiled(chunk):
    """The chunk with a wrong checksum."""
    return chunk[:-4] + bytes(byte ^ 0x5A for byte in chunk[-4:])


def gamma_chunk(gamma):
    return png_chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))


def primaries_chunk(primaries):
    return png_chunk(b"cHRM", struct.pack(">8I", *(round(part * 100_000) for part in primaries)))


def text_chunk(kind, length):
    """A text of that many letters, compressed where its kind is."""
    text = b"parameters, " * (length // 12 + 1)
    head = {b"tEXt": b"key\0", b"zTXt": b"key\0\0", b"iTXt": b"key\0\1\0x-default\0x\0"}[kind]
    body = text[:length] if kind == b"tEXt" else zlib.compress(text[:length])
    return png_chunk(kind, head + body)


_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))


def interlaced_png(image):
    """An RGB picture as a PNG in seven passes."""
    pixels, rows = np.asarray(image), b""
    for x, y, across, down in (*_PASSES, (0, 1, 1, 2)):
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[y::down, x::across])
    header = struct.pack(">IIBBBBB", *image.size, 8, 2, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def filtered_png(samples, seed, kept=None):
    """[H, W, C] samples of 8 or 16 bits as a PNG whose rows have any filters.

    kept: how many bytes of the rows are there; None for all.
    """
    height, width, channels = samples.shape
    wide = samples.itemsize * channels
    raw = samples.astype(samples.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    above = np.vstack([np.zeros_like(raw[:1]), raw[:-1]]).astype(int)
    left, corner = (
        np.pad(rows, ((0, 0), (wide, 0)))[:, :-wide].astype(int) for rows in (raw, above)
    )
    guess = left + above - corner
    near = [abs(guess - one) for one in (left, above, corner)]
    paeth = np.where(
        (near[0] <= near[1]) & (near[0] <= near[2]),
        left,
        np.where(near[1] <= near[2], above, corner),
    )
    predicted = np.stack([np.zeros_like(left), left, above, (left + above) // 2, paeth])
    filters = np.random.default_rng(seed).integers(0, 5, height)
    rows = (raw - predicted[filters, np.arange(height)]).astype(np.uint8)
    data = np.hstack([filters[:, None].astype(np.uint8), rows]).tobytes()[:kept]
    header = struct.pack(
        ">IIBBBBB", width, height, 8 * samples.itemsize, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0
    )
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


# TIFF


def huge_tiff(width, height, rows, stated=None):
    """A compressed RGB TIFF all of whose strips are the same one, of colours from left to right.

    stated: the rows of a strip in the header, where they are not those that are there.
    """
    strip = np.zeros((rows, width, 3), np.uint8)
    strip[..., 0] = np.arange(width) * 255 // width
    data = zlib.compress(strip, 1)
    stated = rows if stated is None else stated
    count = -(-height // stated)
    entries = [(256, width), (257, height), (259, 8), (262, 2), (277, 3), (278, stated)]
    ends = {258: struct.pack("<3H", 8, 8, 8)}
    ends[273] = struct.pack("<I", 8) * count
    ends[279] = struct.pack("<I", len(data)) * count
    at, tail, table = 8 + len(data), b"", []
    for tag, value in entries:
        table.append((tag, 4, 1, value))
    for tag, body in ends.items():
        table.append(
            (tag, 3 if tag == 258 else 4, len(body) // (2 if tag == 258 else 4), at + len(tail))
        )
        tail += body + bytes(len(body) % 2)
    tags = b"".join(struct.pack("<HHII", *entry) for entry in sorted(table))
    head = b"II*\0" + struct.pack("<I", at + len(tail))
    return head + data + tail + struct.pack("<H", len(table)) + tags + bytes(4)


def tiff(samples, **options):
    """[H, W] or [H, W, C] samples as a TIFF; planarconfig="separate" stores a plane a channel."""
    if options.get("planarconfig") == "separate":
        samples = np.moveaxis(samples, -1, 0)
    stored = io.BytesIO()
    options.setdefault("photometric", "rgb" if samples.ndim == 3 else "minisblack")
    tifffile.imwrite(stored, samples, **options)
    return stored.getvalue()


def camera_raw(kind, thumbnail):
    """A camera raw file with a thumbnail that any TIFF reader shows."""
    make = {"NEF": "NIKON CORPORATION", "ARW": "SONY", "PEF": "PENTAX", "DNG": "Google"}[kind]
    tags = [(271, "s", 0, make, True)]
    if kind == "DNG":
        tags.append((50706, "B", 4, (1, 4, 0, 0), True))
    mosaic = np.asarray(thumbnail.resize((512, 264)).convert("L"), dtype=np.uint16) * 16
    stored = io.BytesIO()
    with tifffile.TiffWriter(stored) as writer:
        writer.write(
            np.asarray(thumbnail), photometric="rgb", subfiletype=1, subifds=1, extratags=tags
        )
        writer.write(mosaic, photometric=32803, extratags=[(33422, "B", 4, (0, 1, 1, 2), True)])
    return stored.getvalue()


# JPEG


def exif_of_a_camera(space, interoperability=""):
    """EXIF data that names a colour space as cameras do."""
    count = 2 if interoperability else 1
    first = struct.pack(">HHHIII", 1, 0x8769, 4, 1, 26, 0)
    details = struct.pack(">HHHIHH", count, 0xA001, 3, 1, space, 0)
    if interoperability:
        details += struct.pack(">HHII", 0xA005, 4, 1, 26 + 2 + 12 * count + 4)
    name = struct.pack(">HHHI4sI", 1, 1, 2, 4, interoperability.encode(), 0)
    return b"Exif\0\0MM\0*\0\0\0\x08" + first + details + bytes(4) + name


def exif_with_orientation(orientation, kind, order):
    """EXIF data whose orientation is of that type; order: < or >."""
    types = {"BYTE": (1, "B"), "SHORT": (3, "H"), "LONG": (4, "I"), "UNDEFINED": (7, "B")}
    code, form = (types | {"SLONG": (9, "i")}).get(kind, (0, ""))
    count, rest = 1, b""
    if kind == "ASCII":
        code, count, value = 2, 2, f"{orientation}\0".encode()
    elif kind == "RATIONAL":
        code, value, rest = (
            5,
            struct.pack(order + "I", 26),
            struct.pack(order + "II", orientation, 1),
        )
    else:
        value = struct.pack(order + form, orientation)
    head = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "IHHHI", 8, 1, 274, code, count) + value.ljust(4, b"\0")
    return b"Exif\0\0" + head + entry + bytes(4) + rest


def jpeg_segments(data):
    """Marker and place of each segment of a JPEG, to its end mark."""
    at = 2
    while data[at : at + 2] != b"\xff\xd9":
        yield data[at + 1], at
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        while data[at] != 0xFF or data[at + 1] in (0, *range(0xD0, 0xD8)):
            at += 1
    yield data[at + 1], at


def scan_places(data):
    """Where the scans of a JPEG start."""
    return [at for marker, at in jpeg_segments(data) if marker == 0xDA]


def with_height_behind(data, *, is_stated=True):
    """A JPEG whose height stands in a segment behind its first scan, or nowhere."""
    segments = list(jpeg_segments(data))
    frame = next(at for marker, at in segments if marker in (0xC0, 0xC2)) + 5
    scan = next(n for n, (marker, _) in enumerate(segments) if marker == 0xDA)
    behind, height = segments[scan + 1][1], data[frame : frame + 2]
    line = b"\xff\xdc\0\4" + height if is_stated else b""
    return data[:frame] + b"\0\0" + data[frame + 2 : behind] + line + data[behind:]


def tall_jpeg(width, height, **options):
    """A JPEG of any height that repeats 128 rows of the portrait; made without its pixels."""
    strip = portrait(width // 8, 16).resize((width, 128))
    data = encoded(strip, "JPEG", restart_marker_rows=1, subsampling=0, **options)
    head_end = data.index(b"\xff\xda")
    head_end += 2 + int.from_bytes(data[head_end + 2 : head_end + 4], "big")
    rows = data[head_end:-2]
    frame = data.index(b"\xff\xc0")
    head = data[: frame + 5] + struct.pack(">H", height) + data[frame + 7 : head_end]
    # 8 rows of blocks in 128 pixels would end with marker 7; the blocks are 8 pixels high.
    markers = [n for n in range(len(rows) - 1) if rows[n] == 0xFF and 0xD0 <= rows[n + 1] <= 0xD7]
    pieces = [rows[a + 2 : b] for a, b in zip([-2, *markers], [*markers, len(rows)], strict=True)]
    count = -(-height // 8)
    body = b"".join(
        pieces[n % len(pieces)] + (bytes([0xFF, 0xD0 + n % 8]) if n < count - 1 else b"")
        for n in range(count)
    )
    return head + body + b"\xff\xd9"
