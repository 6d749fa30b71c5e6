"""The kind of a sound file by its first bytes, whatever its name. The bytes are untrusted."""

from __future__ import annotations

import re

from multitalk_cli.media import file_types
from multitalk_cli.media.audio import mpeg, tags
from multitalk_cli.media.audio.window import Window

DEMUXERS = {
    "wav": "wav",
    "w64": "w64",
    "aiff": "aiff",
    "au": "au",
    "caf": "caf",
    "flac": "flac",
    "ogg": "ogg",
    "mp3": "mp3",
    "aac": "aac",
    "mp4": "mov",
    "webm": "matroska",
    "amr": "amr",
    "asf": "asf",
    "avi": "avi",
    "mpegts": "mpegts",
    "mpeg": "mpeg",
    "flv": "flv",
    "ac3": "ac3",
    "eac3": "eac3",
    "dts": "dts",
    "ape": "ape",
    "wv": "wv",
    "tta": "tta",
    "mpc": "mpc",
    "mpc8": "mpc8",
    "tak": "tak",
    "voc": "voc",
    "nist": "nistsphere",
    "dsf": "dsf",
    "rm": "rm",
    "loas": "loas",
    "8svx": "iff",
}
"""Kind of file -> ffmpeg's name of its format."""

BASE64 = "in base64"
_PICTURES = {*file_types.READABLE_PICTURES, *file_types.OTHER_PICTURES}
_ANY = re.DOTALL
_STARTS = (
    (re.compile(rb"RIFF....WAVE|RF64....WAVE|BW64....WAVE|RIFX....WAVE", _ANY), "wav"),
    (re.compile(rb"RIFF....AVI ", _ANY), "avi"),
    (re.compile(rb"FORM....(AIFF|AIFC)", _ANY), "aiff"),
    (re.compile(rb"FORM....(8SVX|16SV)", _ANY), "8svx"),
    (re.compile(rb"....(ftyp|moov|mdat|wide|free|skip|pnot|styp|moof)", _ANY), "mp4"),
    (re.compile(rb"fLaC"), "flac"),
    (re.compile(rb"OggS"), "ogg"),
    (re.compile(rb"riff"), "w64"),
    (re.compile(rb"caff"), "caf"),
    (re.compile(rb"\.snd"), "au"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "webm"),
    (re.compile(rb"#!AMR"), "amr"),
    (re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"), "asf"),
    (re.compile(rb"G.{187}G.{187}G|....G.{191}G.{191}G", _ANY), "mpegts"),
    (re.compile(rb"\0\0\x01\xba"), "mpeg"),
    (re.compile(rb"FLV\x01"), "flv"),
    (re.compile(rb"\x0b\x77...[\x50-\xa7]", _ANY), "eac3"),
    (re.compile(rb"\x0b\x77"), "ac3"),
    (re.compile(rb"\x7f\xfe\x80\x01|\xfe\x7f\x01\x80"), "dts"),
    (re.compile(rb"MAC "), "ape"),
    (re.compile(rb"wvpk"), "wv"),
    (re.compile(rb"TTA[12]"), "tta"),
    (re.compile(rb"MPCK"), "mpc8"),
    (re.compile(rb"MP\+"), "mpc"),
    (re.compile(rb"tBaK"), "tak"),
    (re.compile(rb"Creative Voice File"), "voc"),
    (re.compile(rb"NIST_1A"), "nist"),
    (re.compile(rb"DSD "), "dsf"),
    (re.compile(rb"\.RMF|\.ra\xfd"), "rm"),
)
_OTHERS = (
    (re.compile(rb"(\xef\xbb\xbf)?\s*(#EXTM3U|ffconcat|\[playlist\])"), "a playlist"),
    (re.compile(rb"\x02?#!SILK"), "SILK, as WeChat and QQ record it"),
    (re.compile(rb"MThd"), "notes (MIDI)"),
    (re.compile(rb"%PDF"), "a PDF"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive"),
    (re.compile(rb"\x1f\x8b"), "compressed by gzip"),
    (re.compile(rb"(data:[^,\s]*;base64,)?(UklGR|SUQz|T2dnU|ZkxhQ|//[vtsu][\w+/])"), BASE64),
    # WebM and MP4, as browsers record them.
    (re.compile(rb"(data:[^,\s]*;base64,)?(GkXfo|AAAA.[GWm2]Z0eX)"), BASE64),
    (re.compile(rb"\s*[{\[]\s*[\"{\[]"), "JSON text"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml|!--)", re.IGNORECASE), "a web page"),
    (re.compile(rb"HTTP/[12]"), "an answer of a web server"),
)
_PACKETS = re.compile(rb"G.{187}G.{187}G.{187}G.{187}G", _ANY)
_MAX_TAGS = 16
# As far as the first frame may be: what is before it is an old tag or the end of a frame.
_SEARCHED_BYTES = 1 << 16
# As far as a sound is looked for in a tag that claims more than it has.
_MAX_TAG_BYTES = 1 << 24
_ID3_BYTES = 10
# Of the sounds that may be in a tag's bytes: what other data do not have by chance.
_SURE_STARTS = re.compile(
    rb"fLaC\0\0\0\x22|OggS\0\x02|RIFF....WAVE|FORM....AIF[FC]|\0\0\0.ftyp"
    rb"|\x1a\x45\xdf\xa3.{0,40}?(webm|matroska)",
    _ANY,
)


def sound_kind(head: bytes) -> str:
    """The kind of sound that starts with these bytes, a key of DEMUXERS; "" for anything else.

    head: the first 4 kB.
    """
    if is_picture(head):
        return ""
    found = next((kind for start, kind in _STARTS if start.match(head)), "")
    return found or _mpeg_kind(head)


def is_picture(head: bytes) -> bool:
    """Whether these are the first bytes of a picture."""
    return file_types.kind_of(head) in _PICTURES


def name_other(head: bytes) -> str:
    """What a file is that is no sound and no picture, in words; "" for an unknown one."""
    found = next((name for start, name in _OTHERS if start.match(head)), "")
    kind = file_types.kind_of(head)
    return kind if kind in file_types.OTHER_FILES and not found else found


def _mpeg_kind(head: bytes) -> str:
    if head[:3] == b"ID3":
        return "mp3"
    sound = head.lstrip(b"\0")
    if mpeg.adts_frame(sound) is not None:
        return "aac"
    if sound[:1] == b"\x56" and len(sound) > 2 and sound[1] & 0xE0 == 0xE0:
        return "loas"
    return "mp3" if mpeg.mp3_frame(sound) is not None else ""


def find_sound(window: Window) -> tuple[str, int]:
    """The kind of a file, and where its sound starts: behind tags that do not belong to it.

    An MPEG stream may begin anywhere in a frame or packet, and a tag may claim more than it has.
    Returns ("", 0) for no sound.
    """
    start = tag_start = 0
    for _ in range(_MAX_TAGS):
        if window.at(start, 3) != b"ID3":
            break
        tag_start, length = start, tags.tag_length(window, start)
        if length == 0 or start + length >= window.size:
            break
        start += length
    kind = sound_kind(window.at(start, 4096))
    if kind not in ("", "mp3", "aac"):
        return kind, start
    if window.at(tag_start, 3) == b"ID3":
        found = _find_in_tag(window, tag_start + _ID3_BYTES, start, is_sure=bool(kind))
        return found if found[0] else _find_frames(window, start, kind)
    if is_picture(window.at(0, 4096)) or name_other(window.at(0, 4096)):
        return "", 0
    return _find_frames(window, start, kind)


def _find_in_tag(window: Window, start: int, end: int, *, is_sure: bool) -> tuple[str, int]:
    """The kind and place of a sound where a tag claims too much or too little; ("", 0) for none.

    end: of the tag; where it claims more than the file has, its start. is_sure: whether frames
    follow it, so that only frames at its end would be a sign of a wrong claim.
    """
    if is_sure and end > start:
        if not _first_frames(window, max(start, end - _SEARCHED_BYTES), end):
            return "", 0
    else:
        end = window.size if end < start else min(end + _SEARCHED_BYTES, window.size)
    end = min(end, start + _MAX_TAG_BYTES)
    found = _first_frames(window, start, end)
    other = _SURE_STARTS.search(window.at(start, end - start))
    if other is not None:
        found[sound_kind(other[0])] = start + other.start()
    return min(found.items(), key=lambda each: each[1], default=("", 0))


def _first_frames(window: Window, start: int, end: int) -> dict[str, int]:
    """Where the first frames of each kind are."""
    places = {
        name: mpeg.first_frame(window, start, end, parse) for name, parse in mpeg.PARSERS.items()
    }
    return {name: place for name, place in places.items() if place >= 0}


def _find_frames(window: Window, start: int, kind: str) -> tuple[str, int]:
    """The kind and place of the first frames; what the first bytes promise where there are none."""
    found = _first_frames(window, start, min(start + _SEARCHED_BYTES, window.size))
    packets = _PACKETS.search(window.at(start, 4096))
    if packets is not None:
        found["mpegts"] = start + packets.start()
    if not found:
        return (kind, 0) if start else ("", 0)
    return min(found.items(), key=lambda each: each[1])
