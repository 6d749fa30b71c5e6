"""Makers of sound files as people have them, all from the example's recorded voice.

Written by programs on a pipe, joined, cut, tagged, with lost packets or several tracks.
"""

import functools
import struct
import subprocess
import zlib

import imageio_ffmpeg
import numpy as np
import soundfile
from hypothesis import HealthCheck, settings

from tests.media.audio.sounds import EXAMPLE_VOICE

RATE_HZ = 16_000


REPEATABLE = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@functools.cache
def voice():
    """The recorded voice, [n] int16, 16 kHz, 3.1 s."""
    samples, rate_hz = soundfile.read(EXAMPLE_VOICE, dtype="int16")
    assert rate_hz == RATE_HZ
    return samples


def is_same(loaded, samples) -> bool:
    """Whether exactly these int16 samples were read, at 16 kHz."""
    expected = samples.astype(np.float32) / 32_768
    return loaded.samples == len(samples) and np.allclose(loaded.speech, expected, atol=2e-6)


def is_alike(speech, samples) -> bool:
    """Whether this is the same recording, after a codec, within a millisecond."""
    expected = samples.astype(np.float32)[16:-16]
    count = min(len(speech) - 32, len(expected))
    return any(
        np.corrcoef(speech[shift : shift + count], expected[:count])[0, 1] > 0.9
        for shift in range(33)
    )


def said(loaded) -> str:
    """All that is reported of a voice, a sentence a line."""
    return "\n".join((*loaded.adjusted, *loaded.warnings))


def chunk(name: bytes, body: bytes, claimed: int | None = None, *, is_padded: bool = True) -> bytes:
    """A chunk of a RIFF file, filled up to an even length unless its writer forgets that."""
    length = len(body) if claimed is None else claimed
    return name + struct.pack("<I", length) + body + bytes(len(body) % 2 if is_padded else 0)


def as_width(samples, bits: int, *, is_float: bool = False) -> bytes:
    """int16 samples as the bytes of a WAV file of another width."""
    if is_float:
        return (samples / 32_768).astype("<f4" if bits == 32 else "<f8").tobytes()
    if bits == 8:
        return ((samples.astype(np.int32) >> 8) + 128).astype(np.uint8).tobytes()
    wide = samples.astype("<i4") << 16
    return wide.reshape(-1, 1).view(np.uint8)[:, 4 - bits // 8 :].tobytes()


def wav(
    samples,
    *,
    rate_hz: int = RATE_HZ,
    bits: int = 16,
    is_float: bool = False,
    claimed: int | None = None,
    riff: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A WAV file of int16 samples, [n] or [n, channels], whose header claims what is asked for."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    block = channels * bits // 8
    tag = 3 if is_float else 1
    fields = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block, block, bits)
    data = as_width(samples, bits, is_float=is_float)
    body = b"WAVE" + chunk(b"fmt ", fields) + before + chunk(b"data", data, claimed) + after
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


def id3(content: int | bytes, *, has_footer: bool = False, claimed: int | None = None) -> bytes:
    """An ID3v2 tag with that content, or so many bytes, that claims as many unless told."""
    body = bytes(content) if isinstance(content, int) else content
    length = len(body) if claimed is None else claimed
    size = bytes((length >> shift) & 0x7F for shift in (21, 14, 7, 0))
    flags = 0x10 if has_footer else 0
    footer = b"3DI\x04\0" + bytes([flags]) + size if has_footer else b""
    return b"ID3\x04\0" + bytes([flags]) + size + body + footer


def id3v1(title: bytes = b"a title", *, is_long: bool = False) -> bytes:
    """The tag of 128 bytes at the end of a file, and the older one of 227 before it."""
    before = b"TAG+" + title.ljust(223, b"\0") if is_long else b""
    return before + b"TAG" + title[:125].ljust(125, b"\0")


def ape(picture: bytes = b"", *, has_header: bool = True) -> bytes:
    """An APEv2 tag with an artist and a picture; the older version has no header."""
    items = struct.pack("<II", 4, 0) + b"Artist\0Name"
    items += struct.pack("<II", len(picture), 2) + b"Cover Art (Front)\0" + picture

    def end(flags: int) -> bytes:
        flags |= 0x8000_0000 if has_header else 0
        return b"APETAGEX" + struct.pack("<4I8x", 2000, len(items) + 32, 2, flags)

    return (end(0x2000_0000) if has_header else b"") + items + end(0)


def lyrics(text: bytes, version: int) -> bytes:
    """A Lyrics3 tag of version 1 or 2."""
    if version == 1:
        return b"LYRICSBEGIN" + text + b"LYRICSEND"
    body = b"LYRICSBEGININD0000200LYR" + f"{len(text):05}".encode() + text
    return body + f"{len(body):06}".encode() + b"LYRICS200"


@functools.cache
def encoded(ending: str, *options: str, first: int = 0, last: int | None = None) -> bytes:
    """A piece of the voice in another format, by the bundled ffmpeg."""
    return encode(wav(voice()[first:last]), ending, *options)


def encode(source: bytes, ending: str, *options: str) -> bytes:
    """A sound in another format, written as to a pipe where the format allows it."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"a.{ending}"
        given = Path(folder) / "given"
        given.write_bytes(source)
        run("-i", str(given), *options, str(target))
        return target.read_bytes()


def run(*arguments: str) -> None:
    """Runs the bundled ffmpeg."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


# Ogg


def ogg_pages(data: bytes) -> list[bytes]:
    """The pages of an Ogg file."""
    pages, at = [], 0
    while at < len(data):
        table = data[at + 27 : at + 27 + data[at + 26]]
        end = at + 27 + len(table) + sum(table)
        pages.append(data[at:end])
        at = end
    return pages


def ogg_page(page: bytes, *, flags: int | None = None, time: int | None = None) -> bytes:
    """A page with other flags or another time, and the checksum that belongs to them."""
    changed = bytearray(page)
    if flags is not None:
        changed[5] = flags
    if time is not None:
        changed[6:14] = struct.pack("<q", time)
    changed[22:26] = bytes(4)
    changed[22:26] = struct.pack("<I", _ogg_sum(bytes(changed)))
    return bytes(changed)


def _ogg_sum(data: bytes) -> int:
    """Ogg's checksum: zlib's polynomial, with the bits the other way round and no inversion."""
    flipped = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)
    # zlib starts at all ones and inverts the result; both are undone here.
    value = zlib.crc32(flipped, 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{value:032b}"[::-1], 2)


# MPEG frames


def frames_of(data: bytes, parse) -> list[bytes]:
    """The frames of a stream that starts with one."""
    frames, at = [], 0
    while at < len(data) and (frame := parse(data[at : at + 16])) is not None:
        frames.append(data[at : at + frame.length])
        at += frame.length
    return frames
