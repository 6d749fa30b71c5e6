"""Schedule, guidance and the denoising loop."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from remote.engine.sampling.guidance import Branch, Guidance, Guide, Projection
from remote.engine.sampling.sampler import ForwardDone, StepDone, sample, seeded_noise
from remote.engine.sampling.schedule import euler_step, listed_times, renoised, step_times

SHAPE = (16, 4, 2, 2)


def _draw():
    return seeded_noise(7)(0)


@given(steps=st.integers(1, 100), shift=st.floats(0.5, 12))
def test_times_fall_from_1000_to_0(steps, shift):
    times = step_times(steps, shift)
    assert times[0] == pytest.approx(1000)
    assert times[-1] == 0
    assert (times.diff() < 0).all()


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="steps is 0"):
        step_times(0, 7.0)


FEW = (1000.0, 937.5, 2500 / 3, 625.0)


@pytest.mark.parametrize("times", [FEW, FEW[:1] + FEW[2:3], (999.0,)])
def test_listed_times_are_used_as_they_are_and_end_at_0(times):
    assert listed_times(times).tolist() == pytest.approx([*times, 0.0])


@pytest.mark.parametrize("times", [(), (1000.5,), (1000.0, 1000.0), (500.0, 600.0), (1000.0, 0.0)])
def test_times_that_do_not_fall_are_refused(times):
    with pytest.raises(ValueError, match="do not fall from 1000"):
        listed_times(times)


@pytest.mark.parametrize(
    ("steps", "shift", "wanted"),
    [(4, 7.0, [1000, 933.4, 778.3, 6.9, 0]), (2, 7.0, [1000, 6.9, 0])],
)
def test_the_published_schedule_ends_with_a_step_that_moves_little(steps, shift, wanted):
    assert step_times(steps, shift).tolist() == pytest.approx(wanted, abs=0.1)


def test_a_constant_velocity_is_integrated_exactly():
    start, velocity = torch.zeros(2), torch.ones(2)
    times = step_times(8, 7.0).tolist()
    for t, t_next in itertools.pairwise(times):
        start = euler_step(start, velocity, t, t_next)
    torch.testing.assert_close(start, -torch.ones(2))


def test_clean_latents_stay_exact_at_time_zero():
    clean, noise = torch.randn(2, 3, 5)
    assert torch.equal(renoised(clean, noise, 0.0), clean)
    assert torch.equal(renoised(clean, noise, 1000.0), noise)


def test_a_text_scale_of_one_needs_two_branches():
    assert Guidance(text_scale=1.0).branches == (Branch.COND, Branch.DROP_AUDIO)
    assert Guidance(text_scale=5.0).branches == (Branch.COND, Branch.DROP_TEXT, Branch.UNCOND)


@pytest.mark.parametrize(
    ("guidance", "steps", "forwards"),
    [
        (Guidance(), 40, 120),
        (Guidance(), 20, 60),
        (Guidance(text_steps=10), 20, 50),
        (Guidance(text_steps=20), 20, 60),
        (Guidance(text_scale=1.0, audio_scale=2.0), 4, 8),
        (Guidance(text_scale=1.0, audio_scale=1.0), 4, 4),
        (Guidance(text_scale=1.0, text_steps=2), 4, 8),
    ],
)
def test_forwards_are_counted(guidance, steps, forwards):
    assert guidance.forwards(steps) == forwards


def test_steps_after_the_text_keep_its_last_difference():
    generator = torch.Generator().manual_seed(2)
    cond, drop, uncond, later, silent = torch.randn(5, *SHAPE, generator=generator)
    guide = Guide(guidance=Guidance(text_scale=5.0, audio_scale=4.0, text_steps=1))
    first = {Branch.COND: cond, Branch.DROP_TEXT: drop, Branch.UNCOND: uncond}
    exact = Guide(guidance=Guidance()).combine(first)
    assert torch.equal(guide.combine(first), exact)
    gated = guide.combine({Branch.COND: later, Branch.DROP_AUDIO: silent})
    wanted = later + 4.0 * (cond - drop) + 3.0 * (later - silent)
    torch.testing.assert_close(gated, wanted)


@pytest.mark.parametrize(
    "options", [{"text_steps": 0}, {"text_steps": 1, "projection": Projection()}]
)
def test_text_steps_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match=r"text_steps|every step"):
        Guidance(**options)


def test_guidance_of_equal_branches_changes_nothing():
    velocity = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    for guidance in (Guidance(), Guidance(text_scale=1.0), Guidance(projection=Projection())):
        guide = Guide(guidance=guidance)
        combined = guide.combine(dict.fromkeys(guidance.branches, velocity))
        torch.testing.assert_close(combined, velocity)


def test_projected_guidance_adds_nothing_along_the_prediction():
    cond, drop = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(2))
    guidance = Guidance(text_scale=1.0, audio_scale=3.0, projection=Projection(threshold=0.5))
    combined = Guide(guidance=guidance).combine({Branch.COND: cond, Branch.DROP_AUDIO: drop})
    added = combined - cond
    assert abs((added.double() * cond.double()).sum().item()) < 1e-4
    assert added.norm() <= 2 * 0.5 + 1e-5


def test_a_threshold_of_zero_is_refused():
    with pytest.raises(ValueError, match="threshold is 0"):
        Projection(threshold=0.0)


def test_noise_depends_on_seed_and_window_alone():
    first, again = seeded_noise(7)(1)((2, 3)), seeded_noise(7)(1)((2, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, seeded_noise(7)(2)((2, 3)))
    assert not torch.equal(first, seeded_noise(8)(1)((2, 3)))
    assert seeded_noise(0)(0)((1,)).isfinite().all()


def test_each_branch_of_each_step_is_reported():
    guidance = Guidance(text_scale=1.0)
    events = list(
        sample(
            lambda _branch, _step, latents: latents * 0.1,
            step_times(3, 7.0),
            Guide(guidance=guidance),
            _draw(),
            SHAPE,
            None,
        )
    )
    forwards = [(e.step, e.branch) for e in events if isinstance(e, ForwardDone)]
    assert forwards == [(step, branch) for step in range(3) for branch in guidance.branches]
    assert [e.step for e in events if isinstance(e, StepDone)] == [0, 1, 2]


def test_motion_latents_end_exactly_clean_and_start_noised():
    motion = torch.randn(16, 2, 2, 2, generator=torch.Generator().manual_seed(3))
    entering = []

    def predict(_branch, _step, latents):
        entering.append(latents)
        return torch.ones_like(latents)

    guide = Guide(guidance=Guidance(text_scale=1.0))
    *_, last = sample(predict, step_times(2, 7.0), guide, _draw(), SHAPE, motion)
    assert torch.equal(last.latents[:, :2], motion)
    assert not torch.equal(entering[0][:, :2], motion)


def test_closing_the_loop_runs_no_further_forward():
    calls = []

    def predict(branch, _step, latents):
        calls.append(branch)
        return latents

    loop = sample(predict, step_times(9, 7.0), Guide(guidance=Guidance()), _draw(), SHAPE, None)
    next(loop)
    loop.close()
    assert len(calls) == 1
