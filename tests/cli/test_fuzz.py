"""Thousands of damaged files and odd command lines: refused with words, quickly, in little memory.

The examples are drawn the same way each time, so that a failure repeats; drop `derandomize` to look
further.
"""

import contextlib
import io
import json
import os
import resource
import struct
import subprocess
import sys
import time
import wave
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multitalk_cli.cli.app import run
from multitalk_cli.errors import ExitCode, MultitalkError
from tests.repetitions import examples

PICTURES, SOUNDS, CONTAINERS, COMMAND_LINES = 600, 400, 60, 500
LONGEST_S = 5.0  # of processor time
LARGEST_GROWTH_BYTES = 400 * 1024**2

REPEATABLE = {
    "derandomize": True,
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
}


# Damage

positions = st.floats(0, 1, exclude_max=True)
near_start = st.integers(0, 100).map(lambda n: n / 4000)
pieces = st.binary(min_size=1, max_size=8) | st.sampled_from(
    [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\x01", b"IDAT", b"data"]
)
damages = st.lists(
    st.tuples(
        st.sampled_from(["overwrite", "overwrite", "insert", "delete", "cut", "repeat", "flip"]),
        near_start | positions,
        pieces,
    ),
    min_size=1,
    max_size=5,
)


def damage(content, steps):
    """The content after each (what, where as a share, bytes) has been done to it."""
    data = bytearray(content)
    for what, share, piece in steps:
        at = int(share * len(data))
        if what == "overwrite":
            data[at : at + len(piece)] = piece
        elif what == "insert":
            data[at:at] = piece
        elif what == "delete":
            del data[at : at + piece[0]]
        elif what == "cut":
            del data[at:]
        elif what == "repeat":
            data[at:at] = data[at : at + 64] * (piece[0] % 8)
        elif at < len(data):
            data[at] ^= 1 << piece[0] % 8
    return bytes(data)


def with_right_sums(content):
    """A PNG whose checksums fit its damaged chunks, so that a decoder looks inside them."""
    data, at = bytearray(content), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        end = at + 8 + length
        if end + 4 > len(data):
            break
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(data)


# Files that are whole


def _pictures():
    import numpy as np
    from PIL import Image

    from tests.media.image import files

    colours = Image.linear_gradient("L").resize((96, 80))
    rgb = Image.merge("RGB", (colours, colours.rotate(180), colours.transpose(0)))
    exif = Image.Exif()
    exif[0x0112] = 6
    forms = [
        (rgb, "PNG", {}),
        (rgb.convert("RGBA"), "PNG", {}),
        (rgb.quantize(16), "PNG", {"transparency": 3}),
        (colours.convert("I;16"), "PNG", {}),
        (rgb, "JPEG", {"exif": exif, "progressive": True}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgb, "WEBP", {}),
        (rgb.convert("RGBA"), "WEBP", {"lossless": True}),
        (rgb.quantize(16), "GIF", {"save_all": True, "append_images": [colours]}),
        (rgb, "TIFF", {"compression": "tiff_lzw"}),
        (rgb, "TIFF", {}),
        (rgb, "BMP", {}),
        (rgb.quantize(16), "BMP", {}),
        (rgb, "AVIF", {}),
    ]
    for picture, form, options in forms:
        buffer = io.BytesIO()
        picture.save(buffer, form, **options)
        yield buffer.getvalue()
    yield files.encoded(rgb, "JPEG")[:-3]
    yield files.interlaced_png(rgb)
    colored = (files.gamma_chunk(0.6), files.primaries_chunk(files.ADOBE))
    yield files.with_chunks(files.encoded(rgb, "PNG"), *colored, files.text_chunk(b"iTXt", 900))
    yield files.tiff(np.asarray(rgb).astype(np.uint16) * 257, planarconfig="separate")


def _samples():
    """Half a second of something loud enough."""
    return [int(12_000 * ((n * 220 / 16_000) % 1 - 0.5)) for n in range(8_000)]


def _sounds():
    import numpy as np
    import soundfile

    samples = np.array(_samples(), dtype=np.int16)
    stereo = np.stack([samples, samples[::-1]], axis=1)
    forms = [
        (samples, "WAV", "PCM_16"),
        (stereo, "WAV", "PCM_24"),
        (samples / 2**15, "WAV", "FLOAT"),
        (samples, "WAV", "IMA_ADPCM"),
        (stereo, "FLAC", "PCM_16"),
        (samples, "OGG", "VORBIS"),
        (samples, "OGG", "OPUS"),
        (samples, "AIFF", "PCM_16"),
        (samples, "CAF", "PCM_16"),
        (samples, "AU", "ULAW"),
    ]
    for data, form, subtype in forms:
        buffer = io.BytesIO()
        soundfile.write(buffer, data, 16_000, format=form, subtype=subtype)
        yield buffer.getvalue()


def _containers(folder):
    import imageio_ffmpeg

    with wave.open(str(folder / "whole.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(struct.pack("<8000h", *_samples()))
    for name in ("whole.mp3", "whole.m4a", "whole.webm", "whole.mov"):
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-i", "whole.wav"]
        subprocess.run([*command, name], cwd=folder, check=True)
        yield (folder / name).read_bytes()


WHOLE = {"pictures": list(_pictures()), "sounds": list(_sounds())}


@contextlib.contextmanager
def bounded():
    """The block must end soon, and must not have made the process grow beyond measure."""
    began_s, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - began_s < LONGEST_S
    unit = 1 if sys.platform == "darwin" else 1024
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * unit < LARGEST_GROWTH_BYTES


def accepts(load, content):
    """Whether a file of this content is taken; anything but words and exit code 3 is a failure."""
    path = Path("damaged")
    path.write_bytes(content)
    before = sorted(os.listdir())  # noqa: PTH208 - names are what is meant
    try:
        with bounded():
            load(path)
    except MultitalkError as error:
        assert error.exit_code is ExitCode.FILE
        assert "damaged" in error.message
        assert error.message.isprintable()
        return False
    finally:
        assert sorted(os.listdir()) == before  # noqa: PTH208 - names are what is meant
    return True


def load_picture(path):
    from multitalk_cli.media.image.frame import frame_picture
    from multitalk_cli.media.image.load import load_picture

    loaded = load_picture(path, background=(255, 255, 255))
    framed = frame_picture(loaded, 96, 48, "cover", ())
    assert framed.pixels.shape == (48, 96, 3)


def load_voice(path):
    from multitalk_cli.media.audio.voice import load_voice

    voice = load_voice(path)
    assert 0.2 <= voice.duration_s <= 1800


@pytest.fixture
def silent_streams(capfd):
    """Nothing may be printed on stdout, not even by a library below Python."""
    capfd.readouterr()
    yield
    printed = capfd.readouterr()
    assert printed.out == ""
    # libtiff tells stderr of broken codes and cannot be told not to.
    assert "Traceback" not in printed.err
    assert len(printed.err.splitlines()) < PICTURES // 10


@pytest.mark.parametrize("content", WHOLE["pictures"])
def test_whole_pictures_are_taken(content):
    assert accepts(load_picture, content)


@pytest.mark.parametrize("content", WHOLE["sounds"])
def test_whole_sounds_are_taken(content):
    assert accepts(load_voice, content)


@pytest.mark.usefixtures("silent_streams")
@settings(max_examples=examples(PICTURES), **REPEATABLE)
@given(st.sampled_from(WHOLE["pictures"]), damages, st.booleans())
def test_damaged_pictures_are_taken_or_refused(content, steps, sums_fit):
    damaged = damage(content, steps)

    accepts(load_picture, with_right_sums(damaged) if sums_fit else damaged)


@pytest.mark.usefixtures("silent_streams")
@settings(max_examples=examples(SOUNDS), **REPEATABLE)
@given(st.sampled_from(WHOLE["sounds"]), damages)
def test_damaged_sounds_are_taken_or_refused(content, steps):
    accepts(load_voice, damage(content, steps))


@pytest.fixture(scope="module")
def containers(tmp_path_factory):
    return list(_containers(tmp_path_factory.mktemp("containers")))


@pytest.mark.usefixtures("silent_streams")
@settings(max_examples=examples(CONTAINERS), **REPEATABLE)
@given(which=st.integers(0, 3), steps=damages)
def test_damaged_containers_are_taken_or_refused(containers, which, steps):
    accepts(load_voice, damage(containers[which], steps))


@pytest.mark.usefixtures("silent_streams")
@settings(max_examples=examples(300), **REPEATABLE)
@given(
    head=st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WAVE", b"fLaC", b"OggS",
         b"GIF89a", b"RIFF\0\0\0\0WEBP", b"II*\0", b"\0\0\0\x18ftypmp42", b"<svg", b"%PDF-1",
         b"caff", b"FORM"]
    ),
    rest=st.binary(max_size=300),
)  # fmt: skip
def test_noise_behind_a_known_beginning_is_refused(head, rest):
    content = head + rest
    if content:
        accepts(load_picture, content)
    if head not in (b"\0\0\0\x18ftypmp42",) and content:
        accepts(load_voice, content)


# Command lines

OPTIONS = [
    "--prompt", "-p", "--output", "-o", "--speaker", "--order", "--size", "--fit", "--fps",
    "--sample-steps", "--steps", "--seed", "--plan", "--dry-run", "--max-cost", "--backend",
    "--force", "-f", "--negative-prompt", "--text-guidance", "--audio-guidance", "--shift",
    "--background", "--loudness", "--no-loudness", "--trim-silence", "--audio-track",
    "--sound-level", "--sidecar", "--embed-prompt", "--help-all",
    "--json", "--quiet", "-q", "--debug", "--no-color", "--progress", "--version", "-h", "--help",
    "--", "-", "--promt", "-x", "--fps=", "--size=auto", "--json=1", "---", "-pf", "--project",
]  # fmt: skip
VALUES = [
    "", "0", "-1", "24", "9", "51", "nan", "inf", "1e400", "9" * 400, "0x10", "1_0", "auto", "720p",
    "896x448", "0x0", "99999999x16", "cover", "both", "together", "preview", "gpu", "json", "plain",
    "left=voice.wav", "face:2=", "box:0%,0%,0%,0%=voice.wav", "face:99999999999999999=voice.wav",
    "=", "%", "{n}", "{seed:99}.preview.mp4", "{", "out/", "/", ".", "..", "/dev/null", "a/b/c.mp4",
    "x" * 300 + ".preview.mp4", "talk.mp4", "talk.preview.mp4", "host.png", "voice.wav", "é😀",
    "gone.wav", "folder", "pipe", "https://example.com/a.wav", "s3://a/b", "caf\udce9", "\x1b[2J",
    "a\nb",
    "E_BUG", "e_cost", "fps", "size", "fsp", "white", "#12345", "rgb(", "-voice.wav", "*.wav",
]  # fmt: skip
COMMANDS = ["generate", "generate", "generate", "explain", "config", "generat", ""]

words = st.sampled_from(OPTIONS) | st.sampled_from(VALUES) | st.text(max_size=6)
# A command line of a shell holds no zero byte.
command_lines = st.tuples(
    st.sampled_from(COMMANDS),
    st.lists(st.sampled_from(["host.png", "voice.wav", "set", "show", "path"]), max_size=3),
    st.lists(words.filter(lambda word: "\0" not in word), max_size=8),
).map(lambda parts: [parts[0], *parts[1], *parts[2]])


@pytest.fixture
def surroundings(folder, capfdbinary, tmp_path):
    """Inputs that are refused only when they are read, and what was printed since."""
    (folder / "host.png").write_bytes(WHOLE["pictures"][0][:-30])
    with wave.open("voice.wav", "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(16_000))
    (folder / "folder").mkdir()
    os.mkfifo("pipe")
    (folder / "-voice.wav").touch()
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    return folder, tmp_path / "config", capfdbinary


@settings(max_examples=examples(COMMAND_LINES), **REPEATABLE)
@given(argv=command_lines)
def test_every_command_line_ends_with_words_and_a_documented_code(surroundings, argv):
    folder, config, printed = surroundings
    before = sorted(folder.rglob("*"))

    with bounded():
        code = run(argv)

    said = printed.readouterr()
    for written in (folder / "multitalk.toml", config / "multitalk" / "config.toml"):
        written.unlink(missing_ok=True)
    assert code in (0, 2, 3, 4), (argv, said)
    assert b"Traceback" not in said.err
    assert b"internal error" not in said.err
    assert sorted(folder.rglob("*")) == before
    end = argv.index("--") if "--" in argv else len(argv)
    if "--json" in argv[:end]:
        assert json.loads(said.out)["status"] == ("ok" if code == 0 else "error")
    elif code != 0:
        assert said.out == b""
        assert said.err.startswith(b"error: ") or b"\nerror: " in said.err
