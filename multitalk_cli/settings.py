"""Settings, each with its origin.

The order of precedence: an option of the command line, a MULTITALK_ variable, ./multitalk.toml, the
user's config file, the default.
"""

import difflib
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multitalk_cli import contract
from multitalk_cli.contract.limits import is_unicode
from multitalk_cli.contract.loras import named_choice
from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.errors.exceptions import Fact
from multitalk_cli.files import is_there, write_atomically, write_error
from multitalk_cli.planning import gpus
from multitalk_cli.planning.presets import (
    DEFAULT_PRESET,
    FIELDS,
    PRESETS,
    values_of,
)
from multitalk_cli.reporting.formatting import human_choice
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

PROJECT_FILE = "multitalk.toml"
_MODAL_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its type, range and default.

    help: its meaning. values: what may be given, as a help page lists it; None to derive it.
    metavar: the value's name there. flag: the option, where it is not named as the setting is.
    aliases: further names of the option. check: raises ValueError for a text of another form than
    the option takes. find_nearest: a valid text like a bad one. normalize: the text in the form
    that is kept; raises as `check`.
    """

    name: str
    kind: type
    default: Any
    help: str
    values: str | None = None
    metavar: str | None = None
    flag: str = ""
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    check: Callable[[str], object] | None = None
    find_nearest: Callable[[str], str | None] | None = None
    normalize: Callable[[str], str] | None = None

    @property
    def option(self) -> str:
        """The option of the command line, as help and messages name it."""
        return self.flag or "--" + self.name.replace("_", "-")

    @property
    def option_help(self) -> str:
        """The line of a help page: what may be given and the default, else the meaning."""
        if self.values is not None:
            return self.values
        if self.choices:
            words = [f"{each} (default)" if each == self.default else each for each in self.choices]
            return f"{human_choice(words)}."
        meaning = f"{self.help[0].upper()}{self.help[1:]}"
        if self.kind is bool or self.default in (None, ""):
            return f"{meaning}."
        return f"{meaning} (default {self.default if self.kind is str else f'{self.default:g}'})."

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "MULTITALK_" + self.name.upper()

    def parse(self, raw: object) -> Any:
        """The value in the setting's own type; raises ValueError with the expected values."""
        value = self._convert(raw)
        if self.choices and value not in self.choices:
            raise ValueError(f"must be one of {', '.join(self.choices)}, not {raw!r}")
        if self.kind in (int, float) and not self.low <= value <= self.high:
            raise ValueError(f"must be {self._range()}, not {raw}")
        if self.kind is float and math.isinf(value):
            raise ValueError(f"must be finite, not {raw}")
        if self.kind is str and value.startswith("-"):
            raise ValueError(f"must not begin with a dash: {raw!r}")
        if self.check is not None and value != self.default:
            self.check(value)
        if self.normalize is not None and value != self.default:
            value = self.normalize(value)
        return value

    def nearest(self, raw: object) -> str | None:
        """The valid value that is nearest to a bad one, as text; None without a near one."""
        if self.choices:
            close = difflib.get_close_matches(str(raw).lower(), self.choices, n=1)
            return close[0] if close else str(self.default)
        if self.check is not None:
            found = None if self.find_nearest is None else self.find_nearest(str(raw))
            return found if found or not self.default else str(self.default)
        if self.kind not in (int, float):
            return None
        try:
            number = float(str(raw))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            return None if self.default is None else f"{self.default:g}"
        return f"{min(max(self.kind(number), self.low), self.high):g}"

    def _range(self) -> str:
        if math.isinf(self.high):
            return f"{self.low:g} or more"
        return f"from {self.low:g} to {self.high:g}"

    def _convert(self, raw: object) -> Any:
        if self.kind is bool:
            return _to_bool(raw)
        if self.kind is str:
            if not isinstance(raw, str):
                raise ValueError(f"must be text, not {raw!r}")
            if not is_unicode(raw):
                raise ValueError(f"must be text in UTF-8, not {raw!r}")
            return raw.lower() if self.choices else raw
        if isinstance(raw, bool) or not isinstance(raw, int | float | str):
            raise ValueError(f"must be a number, not {raw!r}")
        kind = "a whole number" if self.kind is int else "a number"
        # int() would silently truncate 24.5 to 24.
        if self.kind is int and isinstance(raw, float) and not raw.is_integer():
            raise ValueError(f"must be {kind}, not {raw!r}")
        try:
            return self.kind(raw)
        except (ValueError, OverflowError):
            raise ValueError(f"must be {kind}, not {raw!r}") from None


def _to_bool(raw: object) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.lower() in words:
        return words[raw.lower()]
    raise ValueError(f"must be true or false, not {raw!r}")


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


@dataclass(frozen=True, slots=True)
class SettingValue:
    """A setting's value, and its origin in a user's words."""

    value: Any
    origin: str


_SURROUNDINGS = (
    "LANG", "LC_ALL", "TERM", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "CI", "TMPDIR", "MODAL_PROFILE",
    "MODAL_ENVIRONMENT", "MODAL_CONFIG_PATH", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
    "IMAGEIO_FFMPEG_EXE", "VIRTUAL_ENV",
)  # fmt: skip


class Settings:
    """The value of every setting."""

    def __init__(self, values: Mapping[str, SettingValue]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name].value

    def having(self, name: str, value: object) -> "Settings":
        """The same with another value of `name`."""
        return Settings({**self._values, name: SettingValue(value, self.origin(name))})

    def origin(self, name: str) -> str:
        """The origin of the value of `name`."""
        return self._values[name].origin

    def replaced(self, values: Mapping[str, Any], origin: str) -> "Settings":
        """These settings with other values; each must be one that its setting takes, or None."""
        changed = {name: SettingValue(value, origin) for name, value in values.items()}
        return Settings({**self._values, **changed})

    def items(self) -> list[tuple[Setting, SettingValue]]:
        """Every setting with its value, in the order of the table."""
        return [(setting, self._values[name]) for name, setting in SETTINGS.items()]


def surroundings() -> dict[str, str]:
    """The variables that are set of those that change what a command does; none holds a secret."""
    return {name: os.environ[name] for name in _SURROUNDINGS if name in os.environ}


def user_file() -> Path:
    """The path of the user's config file. Raises FileError E_CONFIG without a home folder."""
    import platformdirs

    try:
        return platformdirs.user_config_path("multitalk") / "config.toml"
    except RuntimeError:
        raise FileError(
            "no home folder: settings cannot be kept for this user (HOME is not set)",
            code="E_CONFIG",
            hint=f"set HOME, or keep them in ./{PROJECT_FILE}: multitalk config set --project",
        ) from None


def files() -> tuple[Path, ...]:
    """The settings files, strongest first; without a home folder only the project's."""
    try:
        return Path(PROJECT_FILE), user_file()
    except FileError:
        return (Path(PROJECT_FILE),)


def load_settings(
    given: Mapping[str, object] | None = None, *, as_keywords: bool = False
) -> Settings:
    """Settings from all five origins. given: the strongest values, None if absent.

    as_keywords: whether a program gave them, and not the options of the command line.
    Raises UsageError for an unknown name or a bad value, FileError for a bad file.
    """
    values = {name: SettingValue(setting.default, "default") for name, setting in SETTINGS.items()}
    for path in reversed(files()):
        values |= _with_preset(_from_file(path))
    values |= _with_preset(_from_variables())
    values |= _with_preset(_from_options({} if given is None else given, as_keywords=as_keywords))
    return Settings(values)


def _from_variables() -> dict[str, SettingValue]:
    return {
        name: SettingValue(_parse(setting, raw, setting.variable), setting.variable)
        for name, setting in SETTINGS.items()
        if (raw := os.environ.get(setting.variable)) is not None
    }


def _from_options(given: Mapping[str, object], *, as_keywords: bool) -> dict[str, SettingValue]:
    values = {}
    for name, raw in given.items():
        setting = find_setting(name)
        if raw is not None:
            origin = name if as_keywords else setting.option
            values[setting.name] = SettingValue(_parse(setting, raw, origin, "E_RANGE"), origin)
    return values


def _with_preset(values: dict[str, SettingValue]) -> dict[str, SettingValue]:
    """The values of one origin, and those of its preset that it does not have."""
    if "preset" not in values:
        return values
    preset = values["preset"].value
    origin = f"preset {preset}"
    return {name: SettingValue(v, origin) for name, v in values_of(preset).items()} | values


def merged(given: Mapping[str, object], stronger: Mapping[str, object]) -> dict[str, object]:
    """Settings of two commands or rows; a preset of the stronger ones replaces what it sets."""
    replaced = with_preset(name for name, value in stronger.items() if value is not None)
    return {n: v for n, v in given.items() if n not in replaced} | dict(stronger)


def with_preset(names: Iterable[str]) -> set[str]:
    """Names of settings that were given, and those that a given preset sets."""
    given = set(names)
    return given | set(FIELDS) if "preset" in given else given


def _parse(setting: Setting, raw: object, origin: str, code: str = "E_SETTING") -> Any:
    try:
        return setting.parse(raw)
    except ValueError as error:
        # A variable: the option or the file that it hides may be right.
        facts: dict[str, Fact] = {"unset": (origin,)} if code == "E_SETTING" else {}
        if code == "E_RANGE" and not setting.choices and str(raw).startswith("-"):
            code = "E_USAGE" if setting.kind is str else code
        if code == "E_USAGE":
            facts = {"option": origin}
        elif code == "E_RANGE":
            nearest = setting.nearest(raw)
            facts = {"option": origin}
            facts |= {} if nearest is None else {"example": nearest}
        raise UsageError(f"{origin} {error}", code=code, facts=facts) from None


def parse_whole(option: str, raw: object, *, low: float = -math.inf, high: float = math.inf) -> int:
    """The whole number of an option. Raises UsageError E_RANGE."""
    setting = Setting(name="", kind=int, default=None, help="", low=low, high=high)
    return int(_parse(setting, raw, option, "E_RANGE"))


def parse_dollars(option: str, raw: object) -> float:
    """The amount of an option. Raises UsageError E_RANGE."""
    setting = Setting(name="", kind=float, default=None, help="", low=0)
    return float(_parse(setting, raw, option, "E_RANGE"))


def parse_flag(option: str, raw: object) -> bool:
    """The truth value of an option. Raises UsageError E_RANGE."""
    return bool(_parse(Setting(name="", kind=bool, default=None, help=""), raw, option, "E_RANGE"))


def parse_option(name: str, raw: str) -> Any:
    """The value of a setting's option. Raises UsageError E_RANGE."""
    setting = SETTINGS[name]
    return _parse(setting, raw, setting.option, "E_RANGE")


def _from_file(path: Path) -> dict[str, SettingValue]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _broken_file(path, error) from None
    except OSError as error:
        # In the home folder of another user, which may not be looked into, it counts as absent.
        if not is_there(path):
            return {}
        message = f"{path} cannot be read: {error.strerror}"
        is_denied = isinstance(error, PermissionError)
        facts: dict[str, Fact] = {"unreadable_file" if is_denied else "broken_file": str(path)}
        raise FileError(message, code="E_CONFIG", facts=facts) from None
    return {name: _from_entry(path, name, raw) for name, raw in document.items()}


def _broken_file(path: Path, error: Exception) -> FileError:
    message = f"{path} is not valid TOML: {error}"
    return FileError(message, code="E_CONFIG", facts={"broken_file": str(path)})


def _from_entry(path: Path, name: str, raw: object) -> SettingValue:
    setting = SETTINGS.get(name)
    facts: dict[str, Fact] = {"name": name, "is_project": path == Path(PROJECT_FILE)}
    where = f"{path}{_line_of(path, name)}"
    if setting is None:
        message = f"{where}: unknown setting {name!r}{_did_you_mean(name)}"
        raise FileError(message, code="E_CONFIG", facts=facts)
    try:
        return SettingValue(setting.parse(raw), str(path))
    except ValueError as error:
        nearest = setting.nearest(raw)
        facts |= {} if nearest is None else {"example": nearest}
        raise FileError(f"{where}: {name} {error}", code="E_CONFIG", facts=facts) from None


def _line_of(path: Path, name: str) -> str:
    """The line of a key in a settings file, which the parser does not tell: `, line 3`."""
    key = re.compile(rf"""\s*\[?\s*["']?{re.escape(name)}["']?\s*[=.\]]""")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return next((f", line {at}" for at, line in enumerate(lines, 1) if key.match(line)), "")


def _did_you_mean(name: str) -> str:
    close = difflib.get_close_matches(name, SETTINGS, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def find_setting(name: str) -> Setting:
    """The setting called `name`, with dashes or underscores. Raises UsageError E_SETTING."""
    known = NAMES.get(name.replace("-", "_"))
    if known is None:
        message = f"unknown setting {name!r}{_did_you_mean(name)}"
        close = difflib.get_close_matches(name, SETTINGS, n=1)
        facts: dict[str, Fact] = {"typed": name, "name": close[0]} if close else {}
        raise UsageError(message, code="E_SETTING", facts=facts)
    return SETTINGS[known]


def save_setting(path: Path, setting: Setting, raw: str) -> Any:
    """Writes one setting into a settings file and keeps the rest of it; returns the parsed value.

    Raises UsageError for a bad value, FileError if the file is broken or
    cannot be written.
    """
    try:
        value = setting.parse(raw)
    except ValueError as error:
        nearest = setting.nearest(raw)
        facts: dict[str, Fact] = {} if nearest is None else {"typed": raw, "example": nearest}
        raise UsageError(f"{setting.name} {error}", code="E_SETTING", facts=facts) from None
    with _edited(path) as document:
        document[setting.name] = value
    return value


def remove_setting(path: Path, name: str) -> bool:
    """Removes one setting from a settings file and keeps the rest; tells whether it was there.

    name: also one that is no setting. Raises FileError as `save_setting`.
    """
    if not path.exists():
        return False
    with _edited(path) as document:
        return document.pop(name, None) is not None


@contextmanager
def _edited(path: Path) -> Iterator[MutableMapping[str, Any]]:
    """A settings file to change; written when the block ends."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        text = path.read_bytes().decode("utf-8-sig") if path.exists() else ""
        document = tomlkit.parse(text)
        yield document
        path.parent.mkdir(parents=True, exist_ok=True)
        # A link stays one: what it points to is replaced.
        write_atomically(path.resolve(), tomlkit.dumps(document).encode(), durable=True)
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise _broken_file(path, error) from None
    except (FileError, OSError) as error:
        known = error if isinstance(error, FileError) else write_error(path, error)
        raise FileError(known.message, code="E_CONFIG") from error


def hub_endpoint() -> str:
    """The address of the Hugging Face Hub in HF_ENDPOINT; empty for the default one."""
    return os.environ.get("HF_ENDPOINT", "").strip()
