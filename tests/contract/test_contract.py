"""The contract: what is refused, and that nothing changes on its way across the wire."""

import json
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import multitalk_cli
from multitalk_cli import contract
from multitalk_cli.contract import (
    Box,
    ContractError,
    Done,
    Failed,
    Fetching,
    GenerateRequest,
    Loading,
    LoraChoice,
    NewerPeerError,
    Quality,
    Queued,
    Result,
    Speaker,
    Stage,
    Step,
    VersionMismatchError,
    Window,
    WindowDone,
    clip_frames,
    event_from_wire,
    frames_from_samples,
    from_wire,
    samples_from_frames,
    to_wire,
)
from multitalk_cli.contract.loras import LORA_NAME, MAX_STRENGTH
from multitalk_cli.contract.weights_task import WeightsTask

PLAIN_TYPES = (dict, list, str, int, float, bool, bytes, type(None))

SAMPLE = GenerateRequest(
    job_id="0123456789abcdef",
    image=b"\x89PNG",
    width_px=896,
    height_px=448,
    speakers=(Speaker(audio=b"fLaC", box=Box(x0=0.1, y0=0.2, x1=0.5, y1=0.9)), Speaker(audio=None)),
    sound=b"fLaC",
    prompt="A person talks",
    negative_prompt="",
    sample_steps=20,
    seed=0,
    text_guidance=5.0,
    audio_guidance=4.0,
    shift=7.0,
    fps=24,
    frames=135,
    windows=(Window(start=0, frames=81), Window(start=56, frames=81)),
    motion_frames=25,
    recipe='{"seed": 0}',
)
RESULT = Result(
    job_id="0123456789abcdef",
    backend="preview",
    model_output=False,
    frames=135,
    fps=24,
    width_px=896,
    height_px=448,
    size_bytes=12_345,
    seed=0,
    recipe="{}",
    adjusted=("loudness",),
    quality=Quality(av_offset_frames=0.5, mouth_correlation=(0.9, None), color_drift=(0.1,)),
)
EVENTS = (
    Queued(),
    Loading(done_bytes=0, total_bytes=10),
    Fetching(
        name="a.pth",
        number=1,
        count=2,
        file_bytes=3,
        file_total_bytes=4,
        done_bytes=3,
        total_bytes=9,
    ),
    Stage(name="encoding"),
    Stage(name="drawing", done=3, total=9),
    Step(window=1, windows=2, step=20, steps=20),
    WindowDone(window=2, windows=2),
    Done(result=RESULT),
    Failed(code="E_REMOTE", message="out of memory", hint="multitalk generate"),
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
fractions = st.floats(0, 1, allow_nan=False)
amounts = st.floats(0, 1e9)
loras = st.builds(
    LoraChoice,
    name=st.from_regex(LORA_NAME, fullmatch=True),
    strength=st.floats(-MAX_STRENGTH, MAX_STRENGTH),
)
clip_sizes = st.integers(1, 50).map(lambda n: 4 * n + 1)


@st.composite
def boxes(draw):
    x0, x1 = sorted(draw(st.lists(fractions, min_size=2, max_size=2, unique=True)))
    y0, y1 = sorted(draw(st.lists(fractions, min_size=2, max_size=2, unique=True)))
    return Box(x0=x0, y0=y0, x1=x1, y1=y1)


@st.composite
def windows(draw, motion_frames):
    sizes = draw(st.lists(clip_sizes.filter(lambda n: n > motion_frames), min_size=1, max_size=6))
    found, start = [], 0
    for frames in sizes:
        found.append(Window(start=start, frames=frames))
        start = found[-1].end - motion_frames
    return tuple(found)


@st.composite
def schedules(draw):
    """Steps, and times and steps with text that suit them."""
    times = sorted(draw(st.lists(st.floats(0.1, 1000), max_size=8, unique=True)), reverse=True)
    steps = len(times) if times else draw(st.integers(1, 100))
    text_steps = draw(st.none() | st.integers(1, steps))
    return {"sample_steps": steps, "times": tuple(times), "text_steps": text_steps}


@st.composite
def requests(draw):
    motion_frames = draw(st.sampled_from([1, 5, 25]))
    clips = draw(windows(motion_frames))
    before_last = clips[-2].end if len(clips) > 1 else 0
    voiced = st.builds(Speaker, audio=st.binary(min_size=1, max_size=20), box=st.none() | boxes())
    silent = st.builds(Speaker, audio=st.none(), box=st.none() | boxes())
    speakers = draw(st.tuples(voiced) | st.tuples(voiced, silent) | st.tuples(silent, voiced))
    side = st.integers(2, 128).map(lambda n: 16 * n)
    return GenerateRequest(
        job_id=draw(st.from_regex(contract.JOB_ID, fullmatch=True)),
        image=draw(st.binary(min_size=1, max_size=20)),
        width_px=draw(side),
        height_px=draw(side),
        speakers=speakers,
        sound=draw(st.none() | st.binary(max_size=20)),
        prompt=draw(texts),
        negative_prompt=draw(texts),
        **draw(schedules()),
        tier=draw(st.sampled_from(contract.TIERS)),
        loras=draw(st.just(()) | st.tuples(loras)),
        seed=draw(st.integers(0, contract.MAX_SEED)),
        text_guidance=draw(st.floats(0, 30)),
        audio_guidance=draw(st.floats(0, 30)),
        shift=draw(st.floats(0.01, 100)),
        fps=draw(st.integers(8, 60)),
        frames=draw(st.integers(before_last + 1, clips[-1].end)),
        windows=clips,
        motion_frames=motion_frames,
        recipe=json.dumps(draw(st.dictionaries(texts, texts | st.integers(), max_size=3))),
    )


@st.composite
def results(draw):
    figures = st.floats(-1e6, 1e6)
    quality = st.builds(
        Quality,
        av_offset_frames=st.none() | figures,
        mouth_correlation=st.lists(st.none() | figures, max_size=2).map(tuple),
        color_drift=st.lists(figures, max_size=4).map(tuple),
    )
    return Result(
        job_id=draw(texts),
        backend=draw(st.sampled_from(["preview", "modal"])),
        model_output=draw(st.booleans()),
        frames=draw(st.integers(1, 100_000)),
        fps=draw(st.integers(8, 60)),
        width_px=draw(st.integers(1, 4000)),
        height_px=draw(st.integers(1, 4000)),
        size_bytes=draw(st.integers(1, 2**40)),
        seed=draw(st.integers(0, contract.MAX_SEED)),
        recipe=draw(texts),
        adjusted=tuple(draw(st.lists(texts, max_size=3))),
        warnings=tuple(draw(st.lists(texts, max_size=3))),
        gpu=draw(st.none() | texts),
        gpu_seconds=draw(st.none() | amounts),
        price_usd=draw(st.none() | amounts),
        quality=draw(st.none() | quality),
    )


@st.composite
def counted(draw, first):
    total = draw(st.integers(max(first, 1), 10_000))
    return draw(st.integers(first, total)), total


@st.composite
def events(draw):
    done, total = draw(counted(0))
    window, all_windows = draw(counted(1))
    step, steps = draw(counted(1))
    return draw(
        st.just(Queued())
        | st.just(Loading(done_bytes=done, total_bytes=total))
        | st.builds(Stage, name=texts, done=st.just(done), total=st.just(total))
        | st.just(Step(window=window, windows=all_windows, step=step, steps=steps))
        | st.just(WindowDone(window=window, windows=all_windows))
        | st.builds(Done, result=results())
        | st.builds(Failed, code=st.sampled_from(["E_REMOTE", "E_COST"]), message=texts, hint=texts)
    )


def is_plain(value):
    if type(value) is dict:
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    if type(value) is list:
        return all(map(is_plain, value))
    return type(value) in PLAIN_TYPES


def wire_with(value, **changes):
    return {**to_wire(value), **changes}


# Round trips


@given(requests())
def test_a_request_survives_the_wire(request):
    wire = to_wire(request)

    assert is_plain(wire)
    assert from_wire(GenerateRequest, wire) == request


@given(results())
def test_a_result_survives_the_wire(result):
    assert is_plain(to_wire(result))
    assert from_wire(Result, to_wire(result)) == result


@given(events())
def test_an_event_survives_the_wire(event):
    assert is_plain(to_wire(event))
    assert event_from_wire(to_wire(event)) == event


@given(requests())
def test_a_request_survives_cbor(request):
    cbor2 = pytest.importorskip("cbor2")

    assert from_wire(GenerateRequest, cbor2.loads(cbor2.dumps(to_wire(request)))) == request


@given(events())
def test_an_event_survives_json(event):
    assert event_from_wire(json.loads(json.dumps(to_wire(event), allow_nan=False))) == event


def test_every_kind_of_event_has_a_name_of_its_own():
    kinds = [to_wire(event)["kind"] for event in EVENTS]

    assert {type(event) for event in EVENTS} == set(contract.Event.__args__)
    assert len(set(kinds)) == len(contract.Event.__args__)


def test_the_wire_names_both_versions():
    wire = to_wire(SAMPLE)

    assert wire["contract"] == contract.CONTRACT_VERSION
    assert wire["client"] == multitalk_cli.__version__


# What is refused when it arrives


@pytest.mark.parametrize("version", [0, 2, "1", 1.0, True, None, [1], "x" * 50])
def test_another_version_is_refused_with_the_command_that_helps(version):
    with pytest.raises(VersionMismatchError, match="multitalk deploy"):
        from_wire(GenerateRequest, wire_with(SAMPLE, contract=version))


def test_a_missing_version_is_refused():
    wire = to_wire(SAMPLE)
    del wire["contract"]

    with pytest.raises(VersionMismatchError, match="None"):
        from_wire(GenerateRequest, wire)


# What only a newer version sends


def test_unknown_fields_are_refused_by_name_as_those_of_a_newer_version():
    with pytest.raises(NewerPeerError) as caught:
        from_wire(GenerateRequest, wire_with(SAMPLE, more=1, extra=2, client="9.9"))

    assert caught.value.peer == "9.9"
    assert caught.value.what == "GenerateRequest.extra, GenerateRequest.more"
    assert "(version 9.9) is newer than this one" in str(caught.value)


def test_an_unknown_field_deep_inside_is_refused_by_name():
    wire = to_wire(SAMPLE)
    wire["speakers"][0]["box"]["z0"] = 1.0

    with pytest.raises(NewerPeerError, match=r"speakers\[0\].box.z0"):
        from_wire(GenerateRequest, wire)


@pytest.mark.parametrize("kind", ["", "paused"])
def test_an_unknown_event_is_of_a_newer_version(kind):
    with pytest.raises(NewerPeerError, match=f"the event '{kind}'"):
        event_from_wire({"contract": contract.CONTRACT_VERSION, "client": "9.9", "kind": kind})


def test_an_unknown_word_is_of_a_newer_version():
    task = to_wire(WeightsTask(kind="list"))

    with pytest.raises(NewerPeerError, match=r"WeightsTask\.kind 'rename'"):
        from_wire(WeightsTask, {**task, "kind": "rename"})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"tier": "fp8"}, "tier must be one of exact, near, turbo"),
        ({"text_steps": 0}, "text_steps must be 1 to 20"),
        ({"text_steps": 21}, "text_steps must be 1 to 20"),
        ({"times": (1000.0, 500.0)}, "times must be 20 of them, not 2"),
        ({"sample_steps": 2, "times": (500.0, 500.0)}, "times must be from 1000 at most, falling"),
        ({"sample_steps": 1, "times": (1000.5,)}, "times must be from 1000"),
        ({"sample_steps": 1, "times": (0.0,)}, "times must be from 1000"),
        ({"sample_steps": 1, "times": (float("nan"),)}, "times must be from 1000"),
        ({"loras": 2 * (LoraChoice(name="a"),)}, "loras must be different ones"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_by_name(change, expected):
    with pytest.raises(ContractError, match=expected):
        replace(SAMPLE, **change)


@pytest.mark.parametrize(
    "values",
    [{"name": "../a"}, {"name": ""}, {"name": "a", "strength": 4.5},
     {"name": "a", "strength": float("nan")}],
)  # fmt: skip
def test_a_lora_has_a_plain_name_and_a_strength(values):
    with pytest.raises(ContractError, match=r"lora\."):
        LoraChoice(**values)


@pytest.mark.parametrize("field", ["start_s"])
def test_later_fields_are_left_out_where_they_say_nothing(field):
    """An older client can then read the answer."""
    assert field not in to_wire(RESULT)
    assert to_wire(replace(RESULT, **{field: 31.5}))[field] == 31.5


@pytest.mark.parametrize("name", [name for name in to_wire(SAMPLE) if name != "client"])
def test_a_missing_field_is_refused_by_name(name):
    wire = to_wire(SAMPLE)
    del wire[name]

    with pytest.raises(ContractError, match=name if name != "contract" else "speaks contract"):
        from_wire(GenerateRequest, wire)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("seed", True, "seed must be int, not bool"),
        ("seed", "0", "seed must be int, not str"),
        ("seed", 0.0, "seed must be int, not float"),
        ("seed", None, "seed must be int, not NoneType"),
        ("text_guidance", False, "text_guidance must be float, not bool"),
        ("text_guidance", 10**400, "text_guidance must be a number that a float can hold"),
        ("shift", "7", "shift must be float, not str"),
        ("image", "PNG", "image must be bytes, not str"),
        ("image", [1, 2], "image must be bytes, not list"),
        ("prompt", b"A", "prompt must be str, not bytes"),
        ("prompt", None, "prompt must be str, not NoneType"),
        ("sound", "fLaC", "sound must be bytes, not str"),
        ("speakers", {}, "speakers must be a list, not dict"),
        ("speakers", b"", "speakers must be a list, not bytes"),
        ("speakers", [None], r"speakers\[0\] must be a mapping, not NoneType"),
        ("windows", [[0, 81]], r"windows\[0\] must be a mapping, not list"),
        ("windows", [{"start": 0}], r"windows\[0\] lacks: frames"),
        ("windows", [{"start": 0, "frames": "81"}], r"windows\[0\].frames must be int, not str"),
    ],
)
def test_a_wrong_type_is_refused_by_name(name, value, expected):
    with pytest.raises(ContractError, match=expected):
        from_wire(GenerateRequest, wire_with(SAMPLE, **{name: value}))


@pytest.mark.parametrize("wire", [None, [], "x", 1, b"", ["contract"]])
def test_what_is_no_mapping_is_refused(wire):
    with pytest.raises(ContractError, match="expected a mapping"):
        event_from_wire(wire)


@pytest.mark.parametrize("kind", [None, 1, [], {}, ["done"]])
def test_an_unknown_event_is_refused(kind):
    with pytest.raises(ContractError, match="unknown event kind"):
        event_from_wire({"contract": contract.CONTRACT_VERSION, "client": "1", "kind": kind})


def test_an_event_is_no_other_event():
    with pytest.raises(ContractError, match=r"Queued\.kind 'done'"):
        from_wire(Queued, wire_with(Queued(), kind="done"))


def test_a_whole_number_may_stand_for_a_float():
    request = from_wire(GenerateRequest, wire_with(SAMPLE, shift=11))

    assert request.shift == 11.0
    assert type(request.shift) is float


# What is refused when it is built

TWO = (Window(start=0, frames=81), Window(start=56, frames=81))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"job_id": "short"}, "job_id must be 8 to 32"),
        ({"job_id": "../../../etc"}, "job_id must be 8 to 32"),
        ({"job_id": "0123456789abcdef\n"}, "job_id must be 8 to 32"),
        ({"image": b""}, "image must be a PNG"),
        ({"width_px": 900}, "width_px must be a multiple of 16"),
        ({"height_px": 16}, "height_px must be a multiple of 16 from 32"),
        ({"height_px": 2064}, "to 2048"),
        ({"speakers": ()}, "speakers must be 1 to 2, not 0"),
        ({"speakers": (Speaker(audio=b"1"),) * 3}, "speakers must be 1 to 2, not 3"),
        ({"speakers": (Speaker(audio=None),)}, "at least one with a voice"),
        ({"sample_steps": 0}, "sample_steps must be 1 to 100, not 0"),
        ({"sample_steps": 101}, "sample_steps must be 1 to 100"),
        ({"seed": -1}, "seed must be 0 to"),
        ({"seed": 2**63}, "seed must be 0 to"),
        ({"text_guidance": -0.1}, "text_guidance must be 0 to 30"),
        ({"text_guidance": float("nan")}, "text_guidance must be 0 to 30, not nan"),
        ({"audio_guidance": 30.1}, "audio_guidance must be 0 to 30"),
        ({"shift": 0.0}, "shift must be over 0"),
        ({"shift": float("inf")}, "shift must be over 0"),
        ({"fps": 7}, "fps must be 8 to 60"),
        ({"fps": 61}, "fps must be 8 to 60"),
        ({"frames": 0}, "frames must be 1 or more"),
        ({"motion_frames": 24}, "motion_frames must be 4n.1"),
        ({"windows": ()}, "windows must be one or more"),
        ({"windows": TWO[1:]}, r"windows\[0\].start must be 0, not 56"),
        ({"motion_frames": 21}, "overlapping by the 21 motion frames, not 25"),
        ({"motion_frames": 81, "windows": (TWO[0], TWO[0])}, "overlapping by the 81"),
        ({"frames": 138}, "windows must be covering 138 frames, not 137"),
        ({"frames": 81}, "windows must be none beyond the 81 frames"),
        ({"prompt": "caf\udce9"}, "prompt must be text in UTF-8"),
        ({"negative_prompt": "\ud800"}, "negative_prompt must be text in UTF-8"),
        ({"recipe": ""}, "recipe must be a JSON object"),
        ({"recipe": "[1]"}, "recipe must be a JSON object"),
        ({"recipe": "[" * 100_000}, "recipe must be a JSON object"),
    ],
)
def test_a_request_that_cannot_be_made_is_refused(changes, expected):
    with pytest.raises(ContractError, match=expected):
        replace(SAMPLE, **changes)


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_the_ends_of_the_seeds_are_seeds(seed):
    assert replace(SAMPLE, seed=seed).seed == seed


@pytest.mark.parametrize(
    "corners",
    [
        (-0.1, 0, 1, 1),
        (0, 0, 1.1, 1),
        (0, 0, float("nan"), 1),
        (0, float("inf"), 1, 1),
        (0.5, 0, 0.5, 1),
        (0, 0.9, 1, 0.1),
    ],
)
def test_a_box_outside_or_empty_is_refused(corners):
    with pytest.raises(ContractError, match="box"):
        Box(**dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True)))


@pytest.mark.parametrize(("start", "frames"), [(-1, 81), (0, 80), (0, 1), (0, 205), (0, -3)])
def test_a_window_the_model_cannot_make_is_refused(start, frames):
    with pytest.raises(ContractError, match="window"):
        Window(start=start, frames=frames)


def test_an_empty_sound_file_is_no_voice():
    with pytest.raises(ContractError, match=r"speaker\.audio"):
        Speaker(audio=b"")


@pytest.mark.parametrize(
    "build",
    [
        lambda: Loading(done_bytes=2, total_bytes=1),
        lambda: Loading(done_bytes=-1, total_bytes=1),
        lambda: Stage(name="x", done=2, total=1),
        lambda: Stage(name="x", done=-1),
        lambda: Stage(name="x", total=-1),
        lambda: Step(window=0, windows=1, step=1, steps=1),
        lambda: Step(window=2, windows=1, step=1, steps=1),
        lambda: Step(window=1, windows=1, step=0, steps=1),
        lambda: WindowDone(window=3, windows=2),
        lambda: Failed(code="oops", message="x"),
        lambda: Failed(code="E_OK\x1b[31m", message="x"),
        lambda: replace(RESULT, frames=0),
        lambda: replace(RESULT, fps=0),
        lambda: replace(RESULT, seed=-1),
        lambda: replace(RESULT, size_bytes=0),
        lambda: replace(RESULT, price_usd=float("nan")),
        lambda: replace(RESULT, gpu_seconds=-1.0),
        lambda: replace(RESULT.quality, av_offset_frames=float("inf")),
        lambda: replace(RESULT.quality, color_drift=(float("nan"),)),
    ],
)
def test_a_report_that_cannot_be_true_is_refused(build):
    with pytest.raises(ContractError):
        build()


def test_a_stage_that_cannot_be_counted_has_no_total():
    assert Stage(name="encoding", done=3).total == 0


def test_the_end_of_a_window_is_the_first_frame_after_it():
    assert Window(start=56, frames=81).end == 137


# Frames and seconds


@given(st.integers(1, 1800 * 192_000), st.sampled_from([8_000, 16_000, 44_100, 192_000]))
def test_frames_cover_the_samples_and_no_whole_frame_more(samples, rate_hz):
    for fps in (24, 25, 60):
        frames = frames_from_samples(samples, rate_hz, fps)

        assert Fraction(frames, fps) >= Fraction(samples, rate_hz)
        assert Fraction(frames - 1, fps) < Fraction(samples, rate_hz)


@given(st.integers(0, 120_000), st.integers(8, 60))
def test_frames_to_samples_and_back_is_the_same(frames, fps):
    samples = samples_from_frames(frames, 16_000, fps)

    assert abs(Fraction(samples, 16_000) - Fraction(frames, fps)) <= Fraction(1, 32_000)
    assert frames_from_samples(samples - 1, 16_000, fps) <= frames


@given(st.integers(1, 10_000))
def test_a_clip_is_the_next_4n_plus_1(frames):
    clip = clip_frames(frames)

    assert clip % 4 == 1
    assert clip >= 5
    assert frames <= clip < max(frames + 4, 6)


def test_a_result_knows_how_long_it_plays():
    assert replace(RESULT, frames=36, fps=24).duration_s == 1.5
