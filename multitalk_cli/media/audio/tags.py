"""Tags around a sound: titles, pictures and lyrics, before it and behind it.

ID3v1 with its extension, ID3v2, APEv2 and Lyrics3 of both versions. The bytes are untrusted.
"""

from __future__ import annotations

import codecs

from multitalk_cli.media.audio.window import Window

_MAX_TAGS = 8
_MAX_LYRICS_BYTES = 1 << 20
_ID3V1_BYTES, _EXTENSION_BYTES, _APE_BYTES, _ID3V2_BYTES = 128, 227, 32, 10
_APE_HAS_HEADER, _APE_IS_HEADER = 1 << 31, 1 << 29
_APE = b"APETAGEX"
_LYRICS, _LYRICS_V1_END, _LYRICS_V2_END = b"LYRICSBEGIN", b"LYRICSEND", b"LYRICS200"
_SIZE_DIGITS = 6
_SEEN_BYTES = 1 << 16
_PRINTABLE_SHARE = 0.98


def tag_length(window: Window, at: int) -> int:
    """The length of the tag that starts here; 0 for none."""
    head = window.at(at, _APE_BYTES)
    if head[:3] == b"ID3":
        size = _syncsafe(head[6:10])
        footer = _ID3V2_BYTES if head[5:6] and head[5] & 0x10 else 0
        return 0 if size is None else _ID3V2_BYTES + size + footer
    if head[:4] == b"TAG+" and window.at(at + _EXTENSION_BYTES, 3) == b"TAG":
        return _EXTENSION_BYTES
    if head[:3] == b"TAG":
        return _ID3V1_BYTES
    if head.startswith(_APE) and len(head) == _APE_BYTES:
        size, flags = (int.from_bytes(head[n : n + 4], "little") for n in (12, 20))
        return _APE_BYTES + (size if flags & _APE_IS_HEADER else 0)
    if head[:11] == _LYRICS:
        most = min(at + _MAX_LYRICS_BYTES, window.size)
        ends = [window.find(end, at, most) for end in (_LYRICS_V1_END, _LYRICS_V2_END)]
        found = min((end for end in ends if end >= 0), default=-1)
        return found + len(_LYRICS_V1_END) - at if found >= 0 else 0
    return 0


def _syncsafe(data: bytes) -> int | None:
    """A number in the lower seven bits of four bytes; None for other bytes."""
    if len(data) < 4 or max(data) >= 0x80:
        return None
    return sum(byte << shift for byte, shift in zip(data, (21, 14, 7, 0), strict=True))


def trailers_start(window: Window) -> int:
    """Where the tags begin that end with the file; its size where it ends with none.

    The beginning of some of them says nothing: such a tag is known by its last bytes.
    """
    end = window.size
    for _ in range(_MAX_TAGS):
        start = _last_tag(window, end)
        if start >= end or start < 0:
            break
        end = start
    return end


def is_no_sound(window: Window, at: int) -> bool:
    """Whether what follows is made of tags, padding or text, so that no sound is lost with it."""
    end = trailers_start(window)
    for _ in range(_MAX_TAGS):
        at += tag_length(window, at)
    if at >= end:
        return True
    rest = window.at(at, min(_SEEN_BYTES, end - at))
    return not rest.strip(b"\0") or not rest.strip(b"\xff") or _is_text(rest)


def _is_text(data: bytes) -> bool:
    """Whether these bytes are a text, such as a web page that a server put behind a file."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    try:
        # A letter may go on behind the last byte.
        text = codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return False
    seen = sum(letter.isprintable() or letter in "\t\r\n" for letter in text)
    return seen > _PRINTABLE_SHARE * len(text)


def _last_tag(window: Window, end: int) -> int:
    """Where the tag starts that ends here; `end` for none."""
    tail = window.at(max(0, end - _ID3V1_BYTES), min(end, _ID3V1_BYTES))
    if tail[:3] == b"TAG" and len(tail) == _ID3V1_BYTES:
        start = end - _ID3V1_BYTES
        is_long = window.at(max(0, start - _EXTENSION_BYTES), 4) == b"TAG+"
        return start - (_EXTENSION_BYTES if is_long else 0)
    if tail[-_APE_BYTES:].startswith(_APE):
        return _ape_start(window, end, tail[-_APE_BYTES:])
    if tail.endswith(_LYRICS_V2_END):
        digits = tail[-len(_LYRICS_V2_END) - _SIZE_DIGITS : -len(_LYRICS_V2_END)]
        start = end - len(_LYRICS_V2_END) - _SIZE_DIGITS
        start -= int(digits) if digits.isdigit() else 0
        return start if window.at(max(0, start), len(_LYRICS)) == _LYRICS else end
    if tail.endswith(_LYRICS_V1_END):
        found = window.find(_LYRICS, max(0, end - _MAX_LYRICS_BYTES), end)
        return found if found >= 0 else end
    if tail[-_ID3V2_BYTES:].startswith(b"3DI"):
        content = _syncsafe(tail[-4:])
        start = end - 2 * _ID3V2_BYTES - (0 if content is None else content)
        return start if window.at(max(0, start), 3) == b"ID3" else end
    return end


def _ape_start(window: Window, end: int, footer: bytes) -> int:
    """Where an APE tag starts; only its last part where that claims what is not there."""
    size, flags = (int.from_bytes(footer[n : n + 4], "little") for n in (12, 20))
    has_header = bool(flags & _APE_HAS_HEADER)
    start = end - size - (_APE_BYTES if has_header else 0)
    head = window.at(max(0, start), 9)
    item_bytes = int.from_bytes(head[:4], "little")
    is_item = item_bytes < size and head[8:9].isalnum()
    is_there = head.startswith(_APE) if has_header else is_item
    return start if is_there else end - _APE_BYTES
