"""Tags around a sound, headers that claim too much or too little, and damage inside it."""

import random
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitalk_cli.errors import MultitalkError
from multitalk_cli.media.audio import mpeg
from tests.media.audio import odd_sounds as odd
from tests.media.audio.odd_sounds import (
    RATE_HZ,
    REPEATABLE,
    encoded,
    id3,
    is_alike,
    is_same,
    said,
    wav,
)

SEEDS = range(3)
BEHIND_TAGS = ("wav", "flac", "aac", "mp3", "m4a", "ogg", "opus", "aiff", "webm")


# Tags that claim more or less than they have, and tags behind the sound


def without_tag(ending: str) -> bytes:
    options = {"mp3": ("-id3v2_version", "0"), "amr": ("-ar", "8000"), "ac3": ("-ar", "48000")}
    return encoded(ending, *options.get(ending, ()))


@REPEATABLE
@given(
    ending=st.sampled_from(BEHIND_TAGS),
    content=st.one_of(
        st.integers(20, 300).map(bytes),
        st.integers(0, 99).map(lambda seed: random.Random(seed).randbytes(70_000)),
    ),
    wrong=st.one_of(st.integers(-19, 9_000), st.integers(40_000, 200_000_000)),
)
def test_a_tag_that_claims_more_or_less_than_it_has_is_read_past(layout_of, ending, content, wrong):
    sound = without_tag(ending)
    tag = id3(content, claimed=len(content) + wrong)
    layout, expected = layout_of(tag + sound), layout_of(sound)
    assert layout.kind == expected.kind
    assert layout.spans == tuple(
        (start + len(tag), end + len(tag)) for start, end in expected.spans
    )
    assert (layout.samples, layout.adjusted, layout.warnings) == (expected.samples, (), ())


BLOCKS = ("mp3", "aac", "amr", "ac3", "eac3", "wv", "w64")
drawn_bytes = st.builds(
    lambda seed, count: random.Random(seed).randbytes(count),
    st.integers(0, 99),
    st.integers(0, 9_000),
)
texts = st.sampled_from([b"la ", "Stra\u00dfe \u6b4c\r\n".encode(), b"[00:10]oh no\n"]).map(
    lambda line: line * 300
)
trailers = st.one_of(
    st.builds(odd.id3v1, st.sampled_from([b"+", b"a title" * 30]), is_long=st.booleans()),
    st.builds(odd.ape, drawn_bytes, has_header=st.booleans()),
    st.builds(odd.lyrics, texts | drawn_bytes, st.sampled_from([1, 2])),
    st.integers(0, 9_000).map(id3),
)
texts_behind = st.one_of(
    texts,
    st.sampled_from(["<html><body>", '{"error": "quota"}', "\u6b4c"]).map(
        lambda text: (text * 900).encode("utf-16")
    ),
    st.sampled_from([b"\0", b"\xff"]).map(lambda byte: byte * 9_000),
)


@REPEATABLE
@given(
    ending=st.sampled_from(BLOCKS),
    tags=st.lists(trailers, min_size=1, max_size=3),
    text=st.one_of(st.just(b""), texts_behind),
)
def test_tags_and_texts_behind_a_sound_are_none_of_it(layout_of, ending, tags, text):
    sound = without_tag(ending)
    (expected,) = layout_of(sound).spans
    contents = (sound + text, sound + text + odd.id3v1()) if ending != "amr" else ()
    for content in (sound + b"".join(tags), *contents):
        layout = layout_of(content)
        assert layout.spans == (expected,)
        assert (layout.adjusted, layout.warnings) == ((), ())


@pytest.mark.parametrize("ending", BLOCKS[:-1])
@pytest.mark.parametrize("seed", SEEDS)
def test_other_bytes_behind_frames_are_left_out_with_a_warning(layout_of, ending, seed):
    sound = without_tag(ending)
    layout = layout_of(sound + random.Random(seed).randbytes(9_000))
    assert layout.spans == layout_of(sound).spans
    assert any("at the end of" in warning for warning in layout.warnings)


@pytest.mark.parametrize("header", [True, False])
def test_an_mp3_before_bytes_that_look_like_a_frame_is_whole(load, header):
    sound = encoded("mp3", "-id3v2_version", "0", "-write_xing", str(int(header)))
    loaded = load(sound + b"\xff\xfb\x90\x64 and no frame" + odd.id3v1())
    np.testing.assert_array_equal(loaded.speech, load(sound).speech)
    assert said(loaded) == ""


def test_an_ac3_with_a_gap_is_decoded_behind_it(load):
    sound = without_tag("ac3")
    half = len(sound) // 2
    loaded = load(sound[:half] + bytes(500) + sound[half:])
    assert loaded.duration_s == pytest.approx(3.1, abs=0.1)


@pytest.mark.parametrize("frames", [7, 9])
def test_a_short_mp3_before_a_tag(load, frames):
    sound = b"".join(odd.frames_of(without_tag("mp3"), mpeg.mp3_frame)[1 : frames + 1])
    assert load(sound + odd.id3v1()).duration_s == pytest.approx(frames * 576 / RATE_HZ, abs=0.01)


# Headers


@pytest.mark.parametrize("wrong", [-20_000, -5_000, 5_000, 400_000])
def test_a_flac_whose_header_counts_wrongly_is_read_to_its_end(load, wrong):
    whole = encoded("flac")
    numbers = int.from_bytes(whole[18:26], "big") + wrong
    loaded = load(whole[:18] + numbers.to_bytes(8, "big") + whole[26:] + odd.id3v1())
    assert is_same(loaded, odd.voice())
    assert f"claims {3.1 + wrong / RATE_HZ:.1f} s: all 3.1 s" in said(loaded)


def test_a_flac_that_lost_its_end_is_still_damaged(load):
    whole = encoded("flac")
    with pytest.raises(MultitalkError, match="cut off"):
        load(whole[: -len(whole) // 4])


PCM_FIELDS = struct.pack("<HHIIHH", 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)


@pytest.mark.parametrize(
    "fields",
    [
        PCM_FIELDS[:14],
        PCM_FIELDS[:14] + bytes(2),
        bytes(2) + PCM_FIELDS[2:],
        b"\xfe\xff" + PCM_FIELDS[2:],
        b"\xfe\xff" + PCM_FIELDS[2:] + bytes(2),
    ],
)
def test_a_wav_that_hardly_describes_its_samples_is_read(load, fields):
    whole = wav(odd.voice())
    loaded = load(whole[:16] + struct.pack("<I", len(fields)) + fields + whole[36:])
    assert is_same(loaded, odd.voice())
    assert said(loaded) == ""


# Damage


def flipped(content: bytes, places) -> bytes:
    """The bytes with one bit changed at each place."""
    changed = bytearray(content)
    for place in places:
        changed[place] ^= 0x10
    return bytes(changed)


@pytest.mark.parametrize("ending", ["flac", "wv"])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("is_tagged", [False, True])
def test_parts_with_a_wrong_checksum_are_silent_and_counted(load, ending, count, is_tagged):
    whole = encoded(ending)
    places = [len(whole) // 3 + n * len(whole) // 4 for n in range(count)]
    loaded = load((id3(300) if is_tagged else b"") + flipped(whole, places))
    same = np.isclose(loaded.speech, odd.voice() / np.float32(32_768), atol=2e-6)
    assert loaded.samples == len(odd.voice())
    assert (loaded.speech[~same] == 0).all()
    assert 0 < (~same).sum() < 5_000 * count
    words = "1 damaged part of" if count == 1 else "2 damaged parts of"
    assert words in said(loaded)
    assert said(loaded).count("\n") == 0


def test_a_flac_whose_last_frame_is_damaged_keeps_its_length(load):
    whole = encoded("flac")
    loaded = load(flipped(whole, [len(whole) - 20]))
    assert loaded.samples == len(odd.voice())
    assert "1 damaged part of" in said(loaded)


@pytest.mark.parametrize("ending", ["tta", "ac3"])
def test_other_parts_with_a_wrong_checksum_are_reported(load, ending):
    options = ("-ar", "48000") if ending == "ac3" else ()
    whole = encoded(ending, *options)
    loaded = load(flipped(whole, [2 * len(whole) // 3]))
    assert "1 damaged part of" in said(loaded)


@REPEATABLE
@given(
    ending=st.sampled_from(["ogg", "opus", "oga"]),
    shares=st.sets(st.integers(2, 9), min_size=1, max_size=3),
    within=st.floats(0, 1),
)
def test_damaged_pages_of_an_ogg_are_counted(layout_of, ending, shares, within):
    pages = odd.ogg_pages(encoded(ending, "-page_duration", "250000"))
    damaged = [
        flipped(page, [int(within * (len(page) - 1))]) if n in shares else page
        for n, page in enumerate(pages)
    ]
    count = f"{len(shares)} of {len(pages)} parts"
    for content in (damaged, [page for n, page in enumerate(pages) if n not in shares]):
        layout = layout_of(b"".join(content))
        is_first = 2 in shares and content is not damaged
        assert is_first or [count in warning for warning in layout.warnings] == [True]


def test_what_follows_a_damaged_page_of_an_ogg_stays_where_it_was(load):
    pages = odd.ogg_pages(encoded("ogg", "-page_duration", "250000"))
    pages[5] = flipped(pages[5], [700])
    loaded = load(b"".join(pages))
    assert loaded.duration_s == pytest.approx(3.1, abs=0.02)
    assert is_alike(loaded.speech[-16_000:], odd.voice()[-16_000:])
    assert said(loaded).count("\n") == 0


# Tracks that cannot be decoded


def with_unknown_codec(content: bytes, number: int) -> bytes:
    """An M4A of which one track, from 1, is in Apple's positional codec."""
    parts = content.split(b"mp4a")
    head, tail = b"mp4a".join(parts[:number]), b"mp4a".join(parts[number:])
    return head + b"apac" + tail.replace(b"esds", b"dapa", 1)


@pytest.mark.parametrize("number", [1, 2])
def test_a_track_that_cannot_be_decoded_is_left_out(tmp_path, load, number):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(wav(odd.voice()))
    sources = ("-i", str(tmp_path / "a.wav"), "-i", str(tmp_path / "b.wav"))
    odd.run(*sources, "-map", "0", "-map", "1", str(tmp_path / "two.m4a"))
    loaded = load(with_unknown_codec((tmp_path / "two.m4a").read_bytes(), number))
    assert is_alike(loaded.speech, odd.voice())
    assert f"track {3 - number} is used" in said(loaded)
    assert ("sound track 1 of" in said(loaded)) == (number == 1)


def test_the_codec_that_cannot_be_decoded_is_named(load):
    with pytest.raises(MultitalkError, match="holds apple_apac, which cannot be decoded"):
        load(with_unknown_codec(encoded("m4a"), 1))
