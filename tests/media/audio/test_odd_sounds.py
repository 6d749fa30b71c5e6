"""Sound files with headers that are wrong, or that are joined, cut, tagged or have gaps."""

import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitalk_cli.errors import ExitCode, MultitalkError
from multitalk_cli.media.audio import mpeg
from multitalk_cli.media.audio.tracks import sound_track
from tests.media.audio import odd_sounds as odd
from tests.media.audio.odd_sounds import (
    RATE_HZ,
    REPEATABLE,
    chunk,
    encoded,
    id3,
    is_alike,
    is_same,
    said,
    wav,
)
from tests.repetitions import examples

pytestmark = pytest.mark.slow

SEEDS = range(3)


def refusal(load, content: bytes, name: str = "a") -> MultitalkError:
    with pytest.raises(MultitalkError) as caught:
        load(content, name)
    return caught.value


# WAV

pieces = st.integers(8_000, 40_000)
other_chunks = st.lists(
    st.tuples(
        st.sampled_from([b"LIST", b"bext", b"cue ", b"JUNK", b"id3 "]), st.integers(0, 3_001)
    ),
    max_size=3,
).map(lambda each: b"".join(chunk(name, bytes(length)) for name, length in each))
unknown = st.one_of(
    st.sampled_from(
        [0, 1_000_000_000, 2_000_000_000, 0x7FFF_0000, 0x7FFF_EFFC, 0x7FFF_EFFF, 0x7FFF_FFFF]
    ),
    st.sampled_from([0x8000_0000, 0xFFFF_FFDB, 0xFFFF_FFFF]),
    st.integers(RATE_HZ * 2 * 1801, 0xFFFF_FFFF),
)


@REPEATABLE
@given(count=pieces, claimed=unknown, riff=st.sampled_from([0, 36, None, 0xFFFF_FFFF]),
       before=other_chunks)  # fmt: skip
def test_a_wav_of_unknown_length_is_read_to_its_end(load, count, claimed, riff, before):
    samples = odd.voice()[:count]
    loaded = load(wav(samples, claimed=claimed, riff=riff, before=before))
    assert is_same(loaded, samples)
    assert loaded.warnings == ()


@REPEATABLE
@given(count=pieces, share=st.floats(0.05, 0.9), before=other_chunks,
       width=st.sampled_from([(8, False), (16, False), (24, False), (32, False), (32, True)])
)  # fmt: skip
def test_samples_behind_a_stale_length_are_read_and_reported(load, count, share, before, width):
    bits, is_float = width
    samples = odd.voice()[:count]
    claimed = int(count * share) * (bits // 8)
    loaded = load(wav(samples, bits=bits, is_float=is_float, claimed=claimed, before=before))
    # A byte that fills an odd chunk up may be taken for a sample of 8 bits.
    assert count <= loaded.samples <= count + 1
    assert f"all {count / RATE_HZ:.1f} s that follow are used" in said(loaded)


@REPEATABLE
@given(cuts=st.lists(pieces, min_size=2, max_size=5), after=other_chunks, before=other_chunks)
def test_wav_files_in_one_are_all_read(load, cuts, after, before):
    parts = [odd.voice()[:count] for count in cuts]
    loaded = load(b"".join(wav(part, before=before, after=after) for part in parts))
    assert is_same(loaded, np.concatenate(parts))
    assert f"holds {len(parts)} recordings" in said(loaded)


@REPEATABLE
@given(cuts=st.lists(pieces, min_size=2, max_size=5), between=other_chunks,
       width=st.sampled_from([(8, False), (16, False), (24, False), (32, True)])
)  # fmt: skip
def test_samples_in_several_chunks_are_all_read(load, cuts, between, width):
    bits, is_float = width
    parts = [odd.voice()[:count] for count in cuts]
    others = [odd.as_width(part, bits, is_float=is_float) for part in parts[1:]]
    more = b"".join(between + chunk(b"data", other) for other in others)
    loaded = load(wav(parts[0], bits=bits, is_float=is_float, after=more))
    assert loaded.samples == sum(cuts)
    assert f"lie in {len(cuts)} chunks: all are used" in said(loaded)
    if bits > 8:
        assert is_same(loaded, np.concatenate(parts))


@REPEATABLE
@given(
    name=st.sampled_from([b"LIST", b"bext", b"JUNK", b"zzzz", b"~~~~"]),
    fill=st.sampled_from([b"\0", b"a", b"LIST", b"\xff"]),
    length=st.integers(0, 700).map(lambda half: 2 * half + 1),
    padding=st.sampled_from([b"", b"\0", b" ", b"\xff"]),
    silence=st.integers(0, 300),
    count=pieces,
)
def test_odd_chunks_before_the_samples_are_filled_up_or_not(
    load, name, fill, length, padding, silence, count
):
    samples = np.concatenate([np.zeros(silence, np.int16), odd.voice()[:count]])
    odd_chunk = chunk(name, (fill * length)[:length], is_padded=False) + padding
    whole = wav(samples, before=odd_chunk + chunk(b"fact", bytes(4)))
    assert is_same(load(whole), samples)
    at = whole.index(b"fmt ")
    loaded = load(whole[:at] + odd_chunk + whole[at:])
    assert is_same(loaded, samples)
    assert said(loaded) == ""


@pytest.mark.parametrize("chunk_behind", [b"COMM", b"SSND"])
def test_odd_chunks_of_an_aiff_need_no_filling(load, chunk_behind):
    whole = encoded("aiff")
    at = whole.index(chunk_behind)
    loaded = load(whole[:at] + b"ANNO" + struct.pack(">I", 3) + b"abc" + whole[at:])
    assert is_same(loaded, odd.voice())


def test_the_sound_track_has_all_that_the_speech_has(load):
    parts = [odd.voice()[:30_000], odd.voice()[10_000:40_000]]
    loaded = load(b"".join(map(wav, parts)))
    sound, _ = sound_track([loaded], "sequence", 90, 24)
    assert is_same(load(sound), np.concatenate(parts))


def test_a_wav_of_another_rate_behind_the_first_is_left_out_with_a_warning(load):
    loaded = load(wav(odd.voice()) + wav(odd.voice(), rate_hz=8_000) + wav(odd.voice()[:9_000]))
    assert is_same(loaded, np.concatenate([odd.voice(), odd.voice()[:9_000]]))
    assert "1 of 3 recordings" in said(loaded)


TAILS = {
    "chunks": chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"Lavf")) + chunk(b"cue ", bytes(4)),
    "ID3v1": b"TAG" + b"a title".ljust(125, b"\0"),
    "ID3v2": id3(5_001),
    "APE": odd.ape(bytes(range(256)) * 30),
    "APE without a header": odd.ape(bytes(range(256)) * 30, has_header=False),
    "a web page": b"<html><body>" + b"<p>Limit reached</p>" * 400,
    "zeros": bytes(9_000),
    "a few bytes": b"\x01\x02\x03",
}


@pytest.mark.parametrize("tail", TAILS)
def test_what_may_follow_the_samples_of_a_wav_is_nothing_to_report(load, tail):
    loaded = load(wav(odd.voice()) + TAILS[tail])
    assert is_same(loaded, odd.voice())
    assert said(loaded) == ""


@pytest.mark.parametrize("seed", SEEDS)
def test_other_bytes_behind_the_samples_are_left_out_with_a_warning(load, seed):
    rest = random.Random(seed).randbytes(9_000)
    loaded = load(wav(odd.voice()) + rest)
    assert is_same(loaded, odd.voice())
    assert "9000 bytes at the end" in said(loaded)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_wav_that_lost_its_end_is_still_damaged(load, share):
    whole = wav(odd.voice())
    assert "cut off" in refusal(load, whole[: int(share * len(whole))]).message


# Other files of plain samples


def claiming(ending: str, samples: int, rest: int) -> bytes:
    """The voice as AIFF or AU whose header claims so many samples, without its last bytes."""
    content = bytearray(encoded(ending))
    at, before = (content.index(b"SSND") + 4, 8) if ending == "aiff" else (8, 0)
    content[at : at + 4] = struct.pack(">I", min(2 * samples + before, 0xFFFF_FFFF))
    return bytes(content[: len(content) - rest])


@pytest.mark.parametrize("ending", ["aiff", "au"])
@pytest.mark.parametrize("claimed", [0x3FFF_F7FC, 0x7FFF_FFFF, 16_000 * 1801])
def test_an_aiff_or_au_of_unknown_length_is_read_to_its_end(load, ending, claimed):
    assert is_same(load(claiming(ending, claimed, 0)), odd.voice())


@pytest.mark.parametrize("ending", ["aiff", "au"])
@pytest.mark.parametrize("claimed", [9_000, 30_000])
def test_an_aiff_or_au_with_a_stale_length_is_read_to_its_end(load, ending, claimed):
    loaded = load(claiming(ending, claimed, 0))
    assert is_same(loaded, odd.voice())
    assert f"claims {claimed / RATE_HZ:.1f} s" in said(loaded)


@pytest.mark.parametrize("ending", ["aiff", "au", "w64", "caf"])
@pytest.mark.parametrize("rest", [3_000, 60_000])
def test_plain_samples_that_lost_their_end_are_damaged(load, ending, rest):
    assert "cut off" in refusal(load, encoded(ending)[:-rest]).message


def test_aiff_files_in_one_are_all_read(load):
    loaded = load(encoded("aiff", last=20_000) + encoded("aiff"))
    assert is_same(loaded, np.concatenate([odd.voice()[:20_000], odd.voice()]))


@pytest.mark.parametrize("codec", ["pcm_alaw", "pcm_mulaw", "pcm_f64le", "pcm_s32le", "pcm_u8"])
def test_every_width_is_read_as_its_usual_reader_does(load, codec):
    whole = encoded("wav", "-c:a", codec)
    at = whole.index(b"data") + 4
    streamed = load(whole[:at] + bytes(4) + whole[at + 4 :])
    assert streamed.source.layout.plain is not None
    count = len(odd.voice())
    np.testing.assert_array_equal(streamed.speech[:count], load(whole).speech)


# Tags before the sound

BEHIND_TAGS = ("wav", "flac", "aac", "mp3", "m4a", "ogg", "opus", "aiff", "webm")


@pytest.mark.parametrize("ending", BEHIND_TAGS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_sound_behind_tags_is_the_same_sound(load, ending, seed):
    drawn = random.Random(seed)
    tags = b"".join(
        id3(drawn.randrange(70_000), has_footer=drawn.random() < 0.5)
        for _ in range(drawn.randint(1, 3))
    )
    plain = encoded(ending)
    loaded, expected = load(tags + plain), load(plain)
    assert said(loaded) == ""
    assert loaded.duration_s == pytest.approx(expected.duration_s, abs=0.04)
    assert is_alike(loaded.speech, expected.speech)


# Ogg and FLAC


@pytest.mark.parametrize("ending", ["ogg", "opus", "flac", "webm", "m4a"])
@pytest.mark.parametrize("seed", SEEDS)
def test_recordings_that_follow_each_other_are_all_read(load, ending, seed):
    drawn = random.Random(seed)
    cuts = [drawn.randint(12_000, 45_000) for _ in range(drawn.randint(2, 4))]
    loaded = load(b"".join(encoded(ending, last=cut) for cut in cuts))
    expected = sum(load(encoded(ending, last=cut)).duration_s for cut in cuts)
    assert loaded.duration_s == pytest.approx(expected, abs=0.05 * len(cuts))
    assert f"holds {len(cuts)} recordings" in said(loaded)
    # The second one is heard from its start on.
    first = round(load(encoded(ending, last=cuts[0])).duration_s * RATE_HZ)
    assert is_alike(loaded.speech[first:], odd.voice()[: cuts[1]])


def test_an_opus_whose_last_page_does_not_say_so_is_whole(load):
    pages = odd.ogg_pages(encoded("opus"))
    assert odd.ogg_page(pages[-1]) == pages[-1]
    loaded = load(b"".join([*pages[:-1], odd.ogg_page(pages[-1], flags=0)]))
    assert loaded.duration_s == pytest.approx(3.1, abs=0.04)
    assert said(loaded) == ""


def test_an_opus_whose_times_start_again_is_read_to_its_end(load):
    pages = odd.ogg_pages(encoded("opus", "-page_duration", "200000"))
    half = len(pages) // 2
    start = struct.unpack("<q", pages[half - 1][6:14])[0]
    late = [
        odd.ogg_page(page, time=struct.unpack("<q", page[6:14])[0] - start) for page in pages[half:]
    ]
    loaded = load(b"".join([*pages[:half], *late]))
    assert loaded.duration_s == pytest.approx(3.1, abs=0.1)


def test_a_flac_of_unknown_length_is_whole(load):
    whole = bytearray(encoded("flac"))
    whole[21] &= 0xF0
    whole[22:26] = bytes(4)
    loaded = load(bytes(whole))
    assert is_same(loaded, odd.voice())
    assert said(loaded) == ""


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_frame_of_a_flac_leaves_a_gap_and_a_warning(load, seed):
    whole = bytearray(encoded("flac"))
    at = random.Random(seed).randrange(len(whole) // 3, len(whole) // 2)
    # Longer than a frame, so that the start of one is in it.
    whole[at : at + 7_000] = bytes(7_000)
    loaded = load(bytes(whole))
    assert loaded.samples == len(odd.voice())
    assert "damaged part" in said(loaded)
    assert is_alike(loaded.speech[-16_000:], odd.voice()[-16_000:])


# MP3


def mp3_frames():
    """The frames of the voice as MP3, the first of them the Info frame."""
    data = encoded("mp3", "-id3v2_version", "0")
    return odd.frames_of(data, mpeg.mp3_frame)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_mp3_cut_between_frames_is_read_and_its_header_reported(load, seed):
    frames = mp3_frames()
    kept = random.Random(seed).randint(12, len(frames) - 12)
    loaded = load(b"".join(frames[:kept]))
    assert loaded.duration_s == pytest.approx((kept - 1) * 576 / RATE_HZ, abs=0.15)
    assert "claims 3." in said(loaded)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_mp3_that_begins_inside_a_frame_is_read_from_the_next_one(load, seed):
    whole = b"".join(mp3_frames())
    cut = random.Random(seed).randint(50, 8_000)
    loaded = load(whole[cut:])
    assert loaded.duration_s == pytest.approx(3.1 * (1 - cut / len(whole)), abs=0.2)
    assert loaded.warnings == ()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("has_tags", [True, False])
def test_mp3_files_in_one_are_all_read_to_the_sample(load, seed, has_tags):
    drawn = random.Random(seed)
    options = () if has_tags else ("-id3v2_version", "0")
    cuts = [drawn.randint(12_000, 45_000) for _ in range(drawn.randint(2, 4))]
    loaded = load(b"".join(encoded("mp3", *options, last=cut) for cut in cuts))
    assert loaded.samples == sum(load(encoded("mp3", *options, last=cut)).samples for cut in cuts)
    assert f"holds {len(cuts)} recordings" in said(loaded)


def test_an_mp3_whose_header_claims_less_than_there_is_is_read_to_its_end(load):
    frames = mp3_frames()
    head = bytearray(frames[0])
    at = head.index(b"Info") if b"Info" in head else head.index(b"Xing")
    head[at + 8 : at + 12] = struct.pack(">I", 30)
    loaded = load(bytes(head) + b"".join(frames[1:]))
    assert loaded.duration_s == pytest.approx(3.1, abs=0.15)
    assert "claims 1.1 s" in said(loaded)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_transport_stream_that_begins_inside_a_packet_is_read(load, seed):
    loaded = load(encoded("ts")[random.Random(seed).randint(1, 700) :])
    assert loaded.duration_s == pytest.approx(3.0, abs=0.2)


def test_segments_of_a_broadcast_with_tags_between_are_all_read(load):
    segment = encoded("aac")
    loaded = load(b"".join(id3(60) + segment for _ in range(3)))
    assert loaded.duration_s == pytest.approx(3 * load(segment).duration_s, abs=0.1)


# MP4


def test_a_protected_file_is_named(load):
    locked = encoded("m4a").replace(b"mp4a", b"enca").replace(b"udta", b"sinf")
    error = refusal(load, locked)
    assert (error.code, "is protected (DRM)" in error.message) == ("E_AUDIO_FORMAT", True)


def test_a_browsers_recording_whose_clock_starts_late_starts_at_once(load):
    fragments = ("-movflags", "frag_keyframe+empty_moov+default_base_moof")
    late = encoded("mp4", "-c:a", "aac", *fragments, "-output_ts_offset", "7.5")
    loaded = load(late)
    assert loaded.duration_s == pytest.approx(3.1, abs=0.15)
    assert said(loaded) == ""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("tail", ["TAG", "noise", "zeros"])
def test_bytes_behind_an_m4a_are_nothing_to_report(load, seed, tail):
    drawn = random.Random(seed)
    bytes_of = {
        "TAG": b"TAG" + drawn.randbytes(125),
        "noise": drawn.randbytes(drawn.randint(1, 5_000)),
        "zeros": bytes(drawn.randint(1, 5_000)),
    }
    loaded, expected = load(encoded("m4a") + bytes_of[tail]), load(encoded("m4a"))
    np.testing.assert_array_equal(loaded.speech, expected.speech)
    assert said(loaded) == ""


def test_a_recording_that_never_ended_is_named(load):
    whole = encoded("m4a")
    without_index = whole[: whole.rindex(b"moov") - 4]
    error = refusal(load, without_index)
    assert (error.code, "index is missing" in error.message) == ("E_AUDIO_BROKEN", True)


# Gaps and late starts


@pytest.mark.parametrize("ending", ["webm", "m4a", "mka", "opus"])
@pytest.mark.parametrize("seed", SEEDS)
def test_lost_packets_become_silence_of_the_same_length(load, ending, seed):
    drawn = random.Random(seed)
    packet_s = 0.064 if ending in ("m4a", "mka") else 0.02
    first = int(drawn.uniform(0.5, 1.0) / packet_s)
    count = int(drawn.uniform(0.3, 1.0) / packet_s)
    options = {"mka": ("-c:a", "aac"), "opus": ("-page_duration", "20000")}.get(ending, ())
    whole = encoded(ending, *options)
    drop = f"noise=drop=between(n\\,{first}\\,{first + count - 1})"
    lossy = without_pages(whole, first, count) if ending == "opus" else without(whole, ending, drop)
    loaded = load(lossy)
    assert loaded.duration_s == pytest.approx(3.1, abs=0.1)
    assert f"{count * packet_s:.1f} s of" in said(loaded)
    begin, end = (first + 3) * packet_s, (first + count - 3) * packet_s
    gap = loaded.speech[int(begin * RATE_HZ) : int(end * RATE_HZ)]
    assert np.abs(gap).max() < 0.02
    # What follows is where it was.
    assert is_alike(loaded.speech[40_000:48_000], load(whole).speech[40_000:48_000])


def without(data: bytes, ending: str, drop: str) -> bytes:
    return odd.encode(data, ending, "-c", "copy", "-bsf:a", drop)


def without_pages(data: bytes, first: int, count: int) -> bytes:
    """An Ogg file without some pages; two of them are headers."""
    pages = odd.ogg_pages(data)
    return b"".join([*pages[: first + 2], *pages[first + count + 2 :]])


@pytest.mark.parametrize("ending", ["m4a", "mp4", "webm"])
@pytest.mark.parametrize("late_s", [0.7, 2.0])
def test_a_sound_that_starts_late_stays_late(tmp_path, load, ending, late_s):
    (tmp_path / "voice.wav").write_bytes(wav(odd.voice()))
    arguments = ["-itsoffset", str(late_s), "-i", str(tmp_path / "voice.wav")]
    if ending == "mp4":
        arguments += ["-f", "lavfi", "-i", "color=size=64x64:rate=24:duration=5"]
    odd.run(*arguments, str(tmp_path / f"late.{ending}"))
    loaded = load((tmp_path / f"late.{ending}").read_bytes())
    assert loaded.duration_s == pytest.approx(3.1 + late_s, abs=0.1)
    assert "silence is put before it" in said(loaded)
    assert np.abs(loaded.speech[: int((late_s - 0.1) * RATE_HZ)]).max() < 0.01


def test_packets_of_unknown_length_are_no_gaps(load):
    loaded = load(encoded("flv", "-c:a", "adpcm_swf", "-ar", "22050"))
    assert is_alike(loaded.speech, odd.voice())
    assert said(loaded) == ""


def test_times_that_jump_by_hours_are_joined_with_a_warning(load):
    late = odd.encode(
        encoded("mka"), "mka", "-c", "copy", "-bsf:a", "setts=ts=TS+gte(N\\,60)*9000000"
    )
    loaded = load(late)
    assert loaded.duration_s == pytest.approx(3.1, abs=0.1)
    assert "joined without gaps" in said(loaded)


# Several tracks


def film(tmp_path, sources, *options):
    arguments = []
    for number, samples in enumerate(sources):
        (tmp_path / f"{number}.wav").write_bytes(wav(samples))
        arguments += ["-i", str(tmp_path / f"{number}.wav")]
    for number in range(len(sources)):
        arguments += ["-map", str(number)]
    odd.run(*arguments, *options, str(tmp_path / "film.mkv"))
    return (tmp_path / "film.mkv").read_bytes()


def tone():
    times = np.arange(len(odd.voice())) / RATE_HZ
    return (8_000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)


def test_the_first_track_with_a_voice_is_used_and_all_are_named(tmp_path, load):
    silent = np.zeros_like(odd.voice())
    titles = ("-metadata:s:a:2", "title=Mic", "-metadata:s:a:2", "language=eng")
    loaded = load(film(tmp_path, [silent, tone(), odd.voice()], *titles))
    assert is_alike(loaded.speech, odd.voice())
    assert "sound track 1 of" in said(loaded)
    assert "track 2 of" in said(loaded)
    assert '3 ("Mic eng", vorbis, mono); track 3 is used' in said(loaded)


def test_a_track_can_be_chosen(tmp_path, load):
    content = film(tmp_path, [odd.voice()[:30_000], odd.voice()[:20_000]])
    assert load(content).duration_s == pytest.approx(30_000 / RATE_HZ, abs=0.05)
    assert load(content, audio_track=2).duration_s == pytest.approx(20_000 / RATE_HZ, abs=0.05)
    with pytest.raises(MultitalkError) as caught:
        load(content, audio_track=3)
    assert (caught.value.code, caught.value.exit_code) == ("E_RANGE", ExitCode.USAGE)
    assert "has 2 sound tracks" in caught.value.message


def test_a_file_with_one_track_is_read_whatever_track_is_chosen(load):
    loaded = load(wav(odd.voice()), audio_track=2)
    assert is_same(loaded, odd.voice())
    assert "has one sound track" in said(loaded)


# Formats

OTHERS = {
    "amr": ("-ar", "8000"),
    "3gp": ("-ar", "8000"),
    "wma": (),
    "avi": (),
    "ts": (),
    "flv": ("-ar", "22050"),
    "mpg": ("-ar", "44100"),
    "ac3": ("-ar", "48000"),
    "eac3": ("-ar", "48000"),
    "wv": (),
    "tta": (),
    "voc": (),
    "caf": ("-c:a", "alac"),
    "aif": ("-c:a", "pcm_mulaw", "-f", "aiff"),
    "mkv": ("-c:a", "flac"),
    "dts": ("-c:a", "dca", "-strict", "-2", "-ar", "48000"),
    "latm": ("-f", "latm"),
}


@pytest.mark.parametrize("ending", OTHERS)
def test_formats_that_ffmpeg_reads(load, ending):
    loaded = load(encoded(ending, *OTHERS[ending]))
    assert loaded.duration_s == pytest.approx(3.1, abs=0.15)
    assert said(loaded) == ""
    assert loaded.loudness_lufs == pytest.approx(load(wav(odd.voice())).loudness_lufs, abs=1.5)


NO_SOUNDS = {
    "a.mp3": (b'{"error": {"message": "quota exceeded"}}', "is JSON text"),
    "b.wav": (b"<!DOCTYPE html><html><body>404</body></html>", "is a web page"),
    "c.wav": (b"UklGRiQAAABXQVZFZm10IBAAAAABAAEA", "is in base64"),
    "a.txt": (b"data:audio/webm;codecs=opus;base64,GkXfo59ChoEBQveBAULygQRC", "is in base64"),
    "b.txt": (b"AAAAIGZ0eXBpc281AAACAGlzbzVpc282", "is in base64"),
    "lfs.wav": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "._a.wav": (b"\0\x05\x16\x07\0\2\0\0Mac OS X", "metadata of macOS"),
    "d.slk": (b"\x02#!SILK_V3" + bytes(500), "WeChat"),
    "e.pcm": (odd.voice()[:8000].tobytes(), "has no header"),
    "f.mid": (b"MThd\0\0\0\x06\0\1\0\1\0\x60", "MIDI"),
    "g.zip": (b"PK\x03\x04" + bytes(100), "ZIP"),
}


@pytest.mark.parametrize("name", NO_SOUNDS)
def test_what_is_no_sound_is_named(load, name):
    content, words = NO_SOUNDS[name]
    error = refusal(load, content, name)
    assert (error.code, words in error.message) == ("E_AUDIO_FORMAT", True)


# Damage

CONTAINERS = (
    "wav", "flac", "mp3", "aac", "ogg", "opus", "m4a", "webm", "aiff", "au", "w64", "caf", "avi",
    "wma", "ts",
)  # fmt: skip


@settings(REPEATABLE, max_examples=examples(60))
@given(
    ending=st.sampled_from(CONTAINERS),
    edits=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=8),
    tail=st.integers(0, 3_000),
)
def test_a_damaged_header_is_read_or_refused_with_words(load, ending, edits, tail):
    content = bytearray(encoded(ending))
    for place, value in edits:
        content[place % len(content)] = value
    try:
        loaded = load(bytes(content[: len(content) - tail]))
        text = said(loaded)
    except MultitalkError as error:
        assert error.exit_code is ExitCode.FILE
        text = error.message
    assert "0x" not in text
    assert text.replace("\n", "").isprintable()
