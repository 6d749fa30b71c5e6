"""The fast form of the transformer: every rewrite gives what the plain blocks give."""

import dataclasses

import pytest
import torch

from remote.engine.kernels.attention import SDPA, AttentionBackend, attention
from remote.engine.kernels.eight import PLAIN_EIGHT
from remote.engine.kernels.key_value import FoldedAudio, FoldedValues
from remote.engine.kernels.operations import PLAIN
from remote.engine.kernels.select import choose_operations
from remote.engine.networks.fused import SharedStart, fold_audio, frame_kinds
from remote.engine.pipeline import Engine
from remote.engine.request import StepFinished, WindowFinished
from remote.engine.sampling.guidance import Branch, Guidance, Projection
from tests.engine import cases
from tests.engine.tiny import description, tensors, tiny_dit, tiny_networks, under

CLOSE = {"atol": 2e-5, "rtol": 0}  # velocities of about 1, summed in another order in float32


@pytest.fixture(scope="module", params=["dit_single", "dit_multi"])
def inputs(request, golden_dir):
    return under(tensors(golden_dir, request.param), "in/")


@pytest.fixture(scope="module")
def features(golden_dir):
    return cases.image_features(golden_dir)


@pytest.fixture
def plain(golden_dir):
    return tiny_dit(golden_dir)


@pytest.fixture
def fused(golden_dir):
    dit = tiny_dit(golden_dir)
    dit.fuse(PLAIN, SDPA)
    return dit


def _tokens(dit, inputs, features, **options):
    condition = cases.condition(dit, inputs, features)
    x = dit.embed_latents(inputs["x"], inputs["y"][0])
    rotation = dit.rotation(inputs["x"])
    return dit.run_blocks(x, dit.embed_time(inputs["t"]), condition, rotation, **options)


def test_the_velocity_is_that_of_the_plain_blocks(plain, fused, inputs, features):
    ours, wanted = (cases.velocity(dit, inputs, features) for dit in (fused, plain))
    torch.testing.assert_close(ours, wanted, **CLOSE)


def test_the_tokens_given_are_kept(fused, inputs, features):
    given = fused.embed_latents(inputs["x"], inputs["y"][0])
    before = given.clone()
    time, rotation = fused.embed_time(inputs["t"]), fused.rotation(inputs["x"])
    fused.run_blocks(given, time, cases.condition(fused, inputs, features), rotation)
    assert torch.equal(given, before)


def test_padding_is_one_key(plain, fused, inputs, features):
    short = inputs | {"context": inputs["context"][:2]}
    (first, *_), (wanted, *_) = (dit.text_keys(short["context"]) for dit in (fused, plain))
    assert first.key.shape[1] == 3
    assert first.key.shape[1] + first.repeats - 1 == wanted.key.shape[1]
    ours, wanted = (cases.velocity(dit, short, features) for dit in (fused, plain))
    torch.testing.assert_close(ours, wanted, **CLOSE)


def test_a_prompt_without_padding_has_no_repeats(fused):
    whole = torch.randn(fused.config.text_tokens, fused.config.text_dim)
    assert fused.text_keys(whole)[0].repeats == 1


def test_leading_frames_that_nobody_reads_are_left_out_of_the_last_block(fused, inputs, features):
    whole = _tokens(fused, inputs, features)
    rest = _tokens(fused, inputs, features, skipped_frames=1)
    frame = whole.shape[1] // inputs["x"].shape[1]
    assert rest.shape[1] == whole.shape[1] - frame
    torch.testing.assert_close(rest, whole[:, frame:], **CLOSE)


def test_velocities_of_left_out_frames_are_zero(fused, inputs, features):
    time, grid = fused.embed_time(inputs["t"]), fused.grid(inputs["x"])
    whole = fused.velocity(_tokens(fused, inputs, features), time, grid)
    rest = fused.velocity(_tokens(fused, inputs, features, skipped_frames=1), time, grid)
    assert not rest[:, :1].any()
    torch.testing.assert_close(rest[:, 1:], whole[:, 1:], **CLOSE)


def test_branches_share_the_first_self_attention(fused, inputs, features):
    calls = []

    def count(q, k, v):
        calls.append(q.shape)
        return attention(q, k, v)

    fused.fuse(PLAIN, AttentionBackend(name="counting", kernel=count))
    alone = _tokens(fused, inputs, features)
    full, shared = len(calls), SharedStart()
    shared.begin(inputs["x"])
    first = _tokens(fused, inputs, features, shared=shared)
    calls.clear()
    second = _tokens(fused, inputs, features, shared=shared)
    assert torch.equal(first, alone)
    assert torch.equal(second, alone)
    per_block = 1 if len(inputs["audio"]) == 1 else 2  # and the map of two persons
    assert len(calls) == full - per_block


def test_other_latents_share_nothing(fused, inputs, features):
    shared = SharedStart()
    shared.begin(inputs["x"])
    _tokens(fused, inputs, features, shared=shared)
    shared.begin(inputs["x"].clone())
    assert shared.stream is None


def test_a_branch_without_persons_does_not_hide_them_from_the_next(golden_dir, fused, features):
    two = under(tensors(golden_dir, "dit_multi"), "in/")
    silent = two | {"audio": torch.zeros_like(two["audio"][:1])}
    shared = SharedStart()
    _tokens(fused, silent, features, shared=shared)
    torch.testing.assert_close(
        _tokens(fused, two, features, shared=shared), _tokens(fused, two, features), **CLOSE
    )


def test_one_voice_is_folded_and_two_are_not(fused, inputs):
    keys = fused.audio_keys(inputs["audio"])
    assert isinstance(keys[0], FoldedAudio) == (len(inputs["audio"]) == 1)


def test_values_of_two_voices_are_folded_outside_exact(plain, fused, golden_dir, features):
    two = under(tensors(golden_dir, "dit_multi"), "in/")
    wanted = cases.velocity(plain, two, features)
    fused.fuse(PLAIN, SDPA, PLAIN_EIGHT)
    assert isinstance(fused.audio_keys(two["audio"])[0], FoldedValues)
    torch.testing.assert_close(cases.velocity(fused, two, features), wanted, **CLOSE)
    rest, whole = (_tokens(fused, two, features, skipped_frames=n) for n in (1, 0))
    torch.testing.assert_close(rest, whole[:, -rest.shape[1] :], **CLOSE)


def test_silence_is_folded_once_for_equal_frames(plain, fused, golden_dir, features):
    single = under(tensors(golden_dir, "dit_single"), "in/")
    silent = single | {"audio": torch.zeros_like(single["audio"])}
    folded = fused.audio_keys(silent["audio"])[0]
    assert folded.kinds == (0,) + (1,) * (folded.frames - 1)
    assert len(folded.key) == 2
    ours, wanted = (cases.velocity(dit, silent, features) for dit in (fused, plain))
    torch.testing.assert_close(ours, wanted, **CLOSE)


def test_audio_that_does_not_fit_in_memory_stays_unfolded(plain, fused, golden_dir, features):
    single = under(tensors(golden_dir, "dit_single"), "in/")
    fused._can_fold = lambda _frames, _work: False
    assert not isinstance(fused.audio_keys(single["audio"])[0], FoldedAudio)
    ours, wanted = (cases.velocity(dit, single, features) for dit in (fused, plain))
    torch.testing.assert_close(ours, wanted, **CLOSE)


def test_frames_that_return_after_others_are_of_a_new_kind():
    a, b = torch.randn(2, 3, 4)
    assert frame_kinds(torch.stack([a, a, b, a])) == (0, 0, 1, 2)


def test_folded_audio_is_refused_by_the_plain_blocks(plain, golden_dir):
    single = under(tensors(golden_dir, "dit_single"), "in/")
    layer = plain.blocks[0].audio_cross_attn
    key = plain.audio_keys(single["audio"])[0]
    folded = fold_audio(layer, key, tuple(range(key.frames)))
    with pytest.raises(ValueError, match="fused blocks"):
        layer(torch.zeros(1, 4, plain.config.dim), folded, None, SDPA)


def test_on_a_cpu_the_operations_are_plain(plain):
    assert choose_operations(torch.device("cpu"), torch.float32, plain.config) is PLAIN


@pytest.mark.parametrize("is_projected", [False, True])
def test_whole_videos_are_those_of_the_plain_blocks(golden_dir, is_projected):
    recorded = description(golden_dir, "end_to_end")["cases"]
    name = next(name for name, case in recorded.items() if case["n_clips"] == 2)
    request = cases.end_to_end_request(golden_dir, name)
    if is_projected:
        guidance = Guidance(projection=Projection())
        request = dataclasses.replace(request, guidance=guidance, steps=1)
    frames = []
    for is_fused in (False, True):
        engine = Engine(tiny_networks(golden_dir))
        if is_fused:
            engine.networks.dit.fuse(PLAIN, SDPA)
        finished = [e for e in engine.run(request) if isinstance(e, WindowFinished)]
        frames.append(torch.cat([window.frames for window in finished], dim=1))
    # Differences of 1e-6 grow through the steps, the VAE and the second window.
    torch.testing.assert_close(frames[1], frames[0], atol=1e-3, rtol=0)


def test_motion_frames_are_left_out_of_later_windows_only(golden_dir, monkeypatch):
    recorded = description(golden_dir, "end_to_end")["cases"]
    name = next(name for name, case in recorded.items() if case["n_clips"] == 2)
    request = dataclasses.replace(cases.end_to_end_request(golden_dir, name), steps=1)
    engine, seen = Engine(tiny_networks(golden_dir)), []
    dit = engine.networks.dit
    dit.fuse(PLAIN, SDPA)
    velocity = dit.velocity

    def keep(x, time, grid):
        seen.append(grid[0] - x.shape[1] // (grid[1] * grid[2]))
        return velocity(x, time, grid)

    monkeypatch.setattr(dit, "velocity", keep)
    steps = [event for event in engine.run(request) if isinstance(event, StepFinished)]
    motion = (request.motion_frames - 1) // 4 + 1
    branches = len(request.guidance.branches)
    assert len(steps) == 2
    assert seen == [0] * branches + [motion] * branches
    assert Branch.COND in request.guidance.branches
