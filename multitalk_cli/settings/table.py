"""The table of settings, with their defaults."""

import difflib
import re

from multitalk_cli import contract
from multitalk_cli.contract.loras import named_choice
from multitalk_cli.errors import UsageError
from multitalk_cli.errors.exceptions import Fact
from multitalk_cli.planning import gpus
from multitalk_cli.planning.presets import DEFAULT_PRESET, PRESETS
from multitalk_cli.settings.setting import Setting
from multitalk_cli.storage.address import check_bucket, find_nearest_bucket

DEFAULT_PROMPT = "A person talks to the camera"
NEGATIVE_PROMPT = (
    "bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, "
    "images, static, overall gray, worst quality, low quality, JPEG compression residue, ugly, "
    "incomplete, extra fingers, poorly drawn hands, poorly drawn faces, deformed, disfigured, "
    "misshapen limbs, fused fingers, still picture, messy background, three legs, "
    "many people in the background, walking backwards"
)
"""The negative prompt that the model was published with."""

_MODAL_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def _check_name(name: str) -> None:
    """Raises ValueError for what Modal takes as no name of an app or environment."""
    if not _MODAL_NAME.fullmatch(name):
        form = "letters, digits, dashes, dots and underscores, at most 64"
        raise ValueError(f"must be {form}, not {name!r}")


def _check_size(text: str) -> None:
    from multitalk_cli.media.image.sizes import check_size

    check_size(text)


def _find_nearest_size(text: str) -> str | None:
    from multitalk_cli.media.image.sizes import find_nearest_size

    return find_nearest_size(text)


def _check_color(name: str) -> None:
    from multitalk_cli.media.image.colors import parse_color

    parse_color(name)


def _find_nearest_color(name: str) -> str | None:
    from multitalk_cli.media.image.colors import find_nearest_color

    return find_nearest_color(name)


_STANDARD = PRESETS[DEFAULT_PRESET]
_ALL = (
    Setting(
        name="backend",
        kind=str,
        default="auto",
        help="backend that makes the video",
        choices=("auto", "modal", "local", "preview"),
        metavar="BACKEND",
    ),
    Setting(
        name="gpu",
        kind=str,
        default=gpus.AUTO,
        help="GPU that makes the video",
        values="auto (default: h100 or h200), b200, l40s ...",
        choices=(gpus.AUTO, *gpus.NAMES),
        metavar="GPU",
    ),
    Setting(
        name="stack",
        kind=str,
        default=gpus.DEFAULT_STACK,
        help="versions of torch and CUDA",
        values="In the cloud: current (default) or cuda12.1.",
        choices=tuple(contract.STACK_CLASSES),
        metavar="STACK",
    ),
    Setting(
        name="attention",
        kind=str,
        default=contract.AUTO_ATTENTION,
        help="attention kernel",
        values=f"auto (default), or one that the stack has: {', '.join(contract.ATTENTIONS)}.",
        choices=(contract.AUTO_ATTENTION, *contract.ATTENTIONS),
        metavar="NAME",
    ),
    Setting(
        name="app",
        kind=str,
        default=contract.APP_NAME,
        help="name of the Modal app",
        metavar="NAME",
        check=_check_name,
    ),
    Setting(
        name="environment",
        kind=str,
        default="",
        help="Modal environment, the account's default if absent",
        metavar="NAME",
        check=_check_name,
    ),
    Setting(
        name="persistent_params",
        kind=float,
        default=None,
        help="most parameters that stay on the GPU (8e9 on a10g, 11e9 on a100-40gb, 22e9 on "
        "a100-80gb)",
        values="Most parameters that stay on the GPU; the others are streamed.",
        low=0,
        metavar="N",
        aliases=("--vram-params",),
    ),
    Setting(
        name="keep_inputs",
        kind=bool,
        default=False,
        help="leave a job's inputs in the cloud for 7 days",
    ),
    Setting(
        name="size",
        kind=str,
        default="896x448",
        help="WIDTHxHEIGHT, auto or 720p",
        values="896x448 (default), auto, 720p or WIDTHxHEIGHT.",
        metavar="SIZE",
        check=_check_size,
        find_nearest=_find_nearest_size,
    ),
    Setting(
        name="fit",
        kind=str,
        default="cover",
        help="how the picture fills the size",
        choices=("cover", "contain", "stretch"),
        metavar="FIT",
    ),
    Setting(
        name="background",
        kind=str,
        default="white",
        help="colour behind transparency",
        metavar="COLOUR",
        check=_check_color,
        find_nearest=_find_nearest_color,
    ),
    Setting(
        name="fps",
        kind=int,
        default=contract.DEFAULT_FPS,
        help="frames per second",
        low=contract.MIN_FPS,
        high=contract.MAX_FPS,
        metavar="N",
    ),
    Setting(
        name="order",
        kind=str,
        default="sequence",
        help="two voices in turn or at once",
        values="Two voices in sequence (default) or together.",
        choices=("sequence", "together", "add", "para"),
        metavar="ORDER",
    ),
    Setting(
        name="preset",
        kind=str,
        default=DEFAULT_PRESET,
        help="quality, time and price: sets the settings from tier to audio_guidance",
        choices=tuple(PRESETS),
        metavar="PRESET",
    ),
    Setting(
        name="tier",
        kind=str,
        default=_STANDARD.tier,
        help="arithmetic of the model: as published, or in 8 bits where that loses little or most",
        choices=contract.TIERS,
        metavar="TIER",
    ),
    Setting(
        name="sample_steps",
        kind=int,
        default=_STANDARD.sample_steps,
        help="denoising steps",
        values="Denoising steps, 10 to 50 (default 20).",
        low=contract.MIN_STEPS,
        high=contract.MAX_STEPS,
        metavar="N",
        flag="--steps",
        aliases=("--sample-steps",),
    ),
    Setting(
        name="lora",
        kind=str,
        default=_STANDARD.lora,
        help="LoRA merged into the model, and its strength: the name of one that was downloaded",
        values='A LoRA that was downloaded, and its strength (default 1); "" for none.',
        metavar="NAME[:STRENGTH]",
        normalize=named_choice,
    ),
    Setting(
        name="text_gate",
        kind=float,
        default=_STANDARD.text_gate,
        help="share of the steps that compute the guidance by the prompt, which the others keep",
        low=0,
        high=1,
        metavar="X",
    ),
    Setting(
        name="text_guidance",
        kind=float,
        default=_STANDARD.text_guidance,
        help="weight of the prompt",
        low=0,
        high=30,
        metavar="X",
    ),
    Setting(
        name="audio_guidance",
        kind=float,
        default=_STANDARD.audio_guidance,
        help="weight of the voice",
        low=0,
        high=30,
        metavar="X",
    ),
    Setting(
        name="shift",
        kind=float,
        default=None,
        help="noise schedule shift (default 7, at 720p 11, with a step LoRA its own)",
        low=0.1,
        high=100,
        metavar="X",
    ),
    Setting(
        name="negative_prompt",
        kind=str,
        default=NEGATIVE_PROMPT,
        help="what the video must not show",
        values="What the video must not show.",
        metavar="TEXT",
    ),
    Setting(
        name="loudness",
        kind=bool,
        default=True,
        help="accepted and without effect: the model scales every voice to one level",
    ),
    Setting(
        name="sound_level",
        kind=float,
        default=None,
        help="level of the video's sound in LUFS",
        values="Level of the video's sound: each voice in LUFS, as the plan shows it.",
        low=-60,
        high=0,
        metavar="LUFS",
    ),
    Setting(
        name="rotate",
        kind=str,
        default="0",
        choices=("0", "90", "180", "270"),
        help="degrees by which the picture is turned clockwise",
        values="Turn the picture clockwise: 0, 90, 180 or 270.",
        metavar="DEGREES",
    ),
    Setting(
        name="trim_silence",
        kind=bool,
        default=False,
        help="leave out the silence before and after the speech",
    ),
    Setting(
        name="audio_track",
        kind=int,
        default=None,
        help="sound track of a video with several, the first with a voice if absent",
        values="Sound track of a video with several, from 1.",
        low=1,
        high=64,
        metavar="N",
    ),
    Setting(
        name="max_cost",
        kind=float,
        default=None,
        help="highest price of a video in dollars; a run stops before it costs more",
        values="Highest price of the video, else exit 8.",
        low=0,
        metavar="DOLLARS",
    ),
    Setting(
        name="weights",
        kind=str,
        default=None,
        help="folder of weights, for --backend local",
        metavar="DIR",
    ),
    Setting(
        name="device",
        kind=str,
        default="auto",
        help="device of --backend local",
        values="For --backend local: auto (default), cuda or cpu.",
        choices=("auto", "cuda", "cpu"),
        metavar="DEVICE",
    ),
    Setting(
        name="fail_under",
        kind=float,
        default=None,
        help="fail (exit 8) below this lip-sync score, 0 to 1",
        values="Fail (exit 8) below this lip-sync score (experimental).",
        low=0,
        high=1,
        metavar="X",
    ),
    Setting(
        name="bucket",
        kind=str,
        default="",
        help="default bucket of multitalk s3",
        check=check_bucket,
        find_nearest=find_nearest_bucket,
    ),
    Setting(
        name="sidecar", kind=bool, default=False, help="write the full recipe next to the video"
    ),
    Setting(
        name="embed_prompt", kind=bool, default=False, help="keep the prompt in the video's recipe"
    ),
)
SETTINGS: dict[str, Setting] = {setting.name: setting for setting in _ALL}
NAMES: dict[str, str] = {
    **{
        option.removeprefix("--").replace("-", "_"): setting.name
        for setting in _ALL
        for option in (setting.option, *setting.aliases)
    },
    **{name: name for name in SETTINGS},
}
"""A setting's own name and those of its option, with underscores -> its own name."""


def did_you_mean(name: str) -> str:
    """The setting of a name like this one, as the end of a message; empty without one."""
    close = difflib.get_close_matches(name, SETTINGS, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def find_setting(name: str) -> Setting:
    """The setting called `name`, with dashes or underscores. Raises UsageError E_SETTING."""
    known = NAMES.get(name.replace("-", "_"))
    if known is None:
        message = f"unknown setting {name!r}{did_you_mean(name)}"
        close = difflib.get_close_matches(name, SETTINGS, n=1)
        facts: dict[str, Fact] = {"typed": name, "name": close[0]} if close else {}
        raise UsageError(message, code="E_SETTING", facts=facts)
    return SETTINGS[known]
