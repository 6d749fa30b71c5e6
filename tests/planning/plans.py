"""Plans of speech to test with."""

from multitalk_cli import contract
from multitalk_cli.planning.presets import Denoising
from multitalk_cli.planning.windows import make_plan


def frames_of(seconds, fps):
    rate = contract.MODEL_RATE_HZ
    return contract.frames_from_samples(round(seconds * rate), rate, fps)


def plan_of(seconds=10.0, fps=24, size=(896, 448), steps=20, text_guidance=5.0, persons=1):
    return make_plan(
        frames_of(seconds, fps),
        fps,
        size=size,
        persons=persons,
        denoising=Denoising(sample_steps=steps, text_guidance=text_guidance),
    )


def recipe_of(plan):
    """What a recipe records of the plan, with the usual guidance by text."""
    return {
        "size": [plan.width_px, plan.height_px],
        "fps": plan.fps,
        "frames": plan.frames,
        "windows": [window.frames for window in plan.windows],
        "motion_frames": plan.motion_frames,
        "sample_steps": plan.sample_steps,
        "text_guidance": 5.0,
        "speakers": ["the picture"] * plan.persons,
    }
