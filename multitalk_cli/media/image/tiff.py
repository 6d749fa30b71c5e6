"""TIFF files: camera raws, layouts that the reader mistakes, and those that it does not know."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from multitalk_cli.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUBFILE, _WIDTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 258, 259, 262
_MAKE, _ORIENTATION, _SAMPLES, _PLANES, _SUB_IFDS = 271, 274, 277, 284, 330
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _CFA_SIZE, _CFA_PATTERN, _DNG_VERSION = (
    338,
    339,
    33421,
    33422,
    50706,
)
_WHITE_IS_ZERO, _RAW_PHOTOMETRICS = 0, (32803, 34892)  # a mosaic of the sensor; linear raw
# Of Sony, Samsung, Kodak, Nikon and Pentax.
_RAW_COMPRESSIONS = (32767, 32769, 32770, 65000, 34713, 65535)
_RAW_NAMES = {"CANON": "CR2", "NIKON": "NEF", "SONY": "ARW", "PENTAX": "PEF", "SAMSUNG": "SRW"}
_LAB_PHOTOMETRICS = (8, 9, 10)
# None, fax, LZW, JPEG, deflate, PackBits.
_USUAL_COMPRESSIONS = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946)
_FLOAT, _SEPARATE_PLANES, _REDUCED, _PREMULTIPLIED = 3, 2, 1, 1
_MAX_IFDS = 64
_CHOOSING = threading.Lock()
_BIG_ENDIAN_BIG_TIFF = b"MM\0+"  # Pillow takes it for a small one


@dataclass(frozen=True, slots=True, kw_only=True)
class TiffFacts:
    """What the tags say about the picture that is read.

    frame: its number; a smaller copy may come first. turned: the orientation by which the reader
    turns the picture itself; None where its tag is of a type that the reader ignores. is_negative:
    whether 16-bit or larger samples count from white, which the reader ignores. bits, samples: of a
    sample, and of a pixel. layout: the samples in words, where they are plausible. has_odd_planes:
    whether planes are separate that only libtiff can read.
    """

    frame: int = 0
    turned: int | None = 1
    is_negative: bool = False
    bits: int = 8
    samples: int = 1
    layout: str = ""
    has_odd_planes: bool = False


def examine(file: BinaryIO, shown: str) -> TiffFacts:
    """Reads the tags. The file is rewound; a damaged one is left to the reader.

    Raises FileError (E_IMAGE_FORMAT) for a camera raw, and for planes that nothing here can read.
    """
    if file.read(4) == _BIG_ENDIAN_BIG_TIFF:
        raise FileError(
            f"{shown} is a big-endian BigTIFF, which is not supported", code="E_IMAGE_FORMAT"
        )
    chain, below = _directories(file)
    file.seek(0)
    raw = _raw_name([*chain, *below])
    if raw is not None:
        raise FileError(
            f"{shown} is a camera raw file{raw}, which is not a supported picture format",
            code="E_IMAGE_FORMAT",
        )
    if not chain:
        return TiffFacts()
    whole = [n for n, tags in enumerate(chain) if not _number(tags, _SUBFILE, 0) & _REDUCED]
    frame = whole[0] if whole else 0
    tags = chain[frame]
    orientation = tags.get(_ORIENTATION, 1)
    bits = max(_numbers(tags, _BITS), default=1)
    extra = _numbers(tags, _EXTRA_SAMPLES)
    is_odd = bits > 8 or extra == [_PREMULTIPLIED]
    has_odd_planes = is_odd and _number(tags, _PLANES, 1) == _SEPARATE_PLANES
    if has_odd_planes and (0 in extra or len(extra) > 1):
        raise FileError(
            f"{shown} is a TIFF with extra planes of {bits} bits, which is not supported",
            code="E_IMAGE_FORMAT",
        )
    return TiffFacts(
        frame=frame,
        turned=orientation if isinstance(orientation, int) else None,
        is_negative=bits >= 16 and _number(tags, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO,
        bits=bits,
        samples=_number(tags, _SAMPLES, 1),
        layout=_layout(tags),
        has_odd_planes=has_odd_planes,
    )


_Tags = dict[int, Any]


def _directories(file: BinaryIO) -> tuple[list[_Tags], list[_Tags]]:
    """The tags of the pictures in a row, and of those below them, as far as they can be read."""
    from PIL import TiffImagePlugin

    file.seek(0)
    header = file.read(8)
    if header[2:3] == b"+":
        header += file.read(8)
    chain: list[_Tags] = []
    below: list[_Tags] = []
    seen: set[int] = set()
    try:
        next_at = TiffImagePlugin.ImageFileDirectory_v2(header).next
        while next_at and next_at not in seen and len(chain) < _MAX_IFDS:
            seen.add(next_at)
            tags, next_at = _directory(file, header, next_at)
            chain.append(tags)
            for at in _numbers(tags, _SUB_IFDS)[:_MAX_IFDS]:
                if at not in seen:
                    seen.add(at)
                    below.append(_directory(file, header, at)[0])
    except Exception:  # noqa: BLE001 - Pillow's reader says what is wrong when it opens the file
        return chain, below
    return chain, below


_NEEDED = (
    *(_SUBFILE, _WIDTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _MAKE, _ORIENTATION, _SAMPLES, _PLANES),
    *(_SUB_IFDS, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _CFA_SIZE, _CFA_PATTERN, _DNG_VERSION),
)


def _directory(file: BinaryIO, header: bytes, at: int) -> tuple[_Tags, int]:
    from PIL import TiffImagePlugin

    directory = TiffImagePlugin.ImageFileDirectory_v2(header)
    file.seek(at)
    directory.load(file)
    return {tag: directory[tag] for tag in _NEEDED if tag in directory}, directory.next


def _numbers(tags: _Tags, tag: int) -> list[int]:
    value = tags.get(tag, ())
    values = value if isinstance(value, tuple) else (value,)
    return [one for one in values if isinstance(one, int)]


def _number(tags: _Tags, tag: int, default: int) -> int:
    numbers = _numbers(tags, tag)
    return numbers[0] if numbers else default


def _raw_name(directories: list[_Tags]) -> str | None:
    """The kind of camera raw, in brackets or empty; None for any other TIFF."""
    for tags in directories:
        if _DNG_VERSION in tags:
            return " (DNG)"
    is_raw = any(
        _number(tags, _PHOTOMETRIC, 1) in _RAW_PHOTOMETRICS
        or _number(tags, _COMPRESSION, 1) in _RAW_COMPRESSIONS
        or _CFA_PATTERN in tags
        or _CFA_SIZE in tags
        for tags in directories
    )
    if not is_raw:
        return None
    make = str(next((tags[_MAKE] for tags in directories if _MAKE in tags), "")).upper()
    return next((f" ({name})" for start, name in _RAW_NAMES.items() if make.startswith(start)), "")


def _layout(tags: _Tags) -> str:
    bits = max(_numbers(tags, _BITS), default=1)
    samples = _number(tags, _SAMPLES, 1)
    if _WIDTH not in tags or not 1 <= samples <= 5 or not 1 <= bits <= 64:
        return ""
    channels = "grey" if samples == 1 else f"{samples} channels"
    is_float = _FLOAT in _numbers(tags, _SAMPLE_FORMAT)
    numbers = f"{bits}-bit floating-point numbers" if is_float else f"{bits} bits"
    lab = " in Lab" if _number(tags, _PHOTOMETRIC, 1) in _LAB_PHOTOMETRICS else ""
    method = _number(tags, _COMPRESSION, 1)
    packed = f", compressed with method {method}" if method not in _USUAL_COMPRESSIONS else ""
    return f"{channels} of {numbers}{lab}{packed}"


@contextlib.contextmanager
def suitable_reader(facts: TiffFacts) -> Iterator[None]:
    """What is opened in this block is read by libtiff if Pillow's own reader would mistake it.

    In uncompressed files that one takes the 16-bit samples of separate planes for 8-bit ones, and
    knows no premultiplied opacity.
    """
    from PIL import TiffImagePlugin

    if not facts.has_odd_planes:
        yield
        return
    with _CHOOSING:
        TiffImagePlugin.READ_LIBTIFF = True
        try:
            yield
        finally:
            TiffImagePlugin.READ_LIBTIFF = False
