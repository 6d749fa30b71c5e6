"""Renews the generated tables of README.md and docs/: python -m tests.documents.codes"""

import re
from pathlib import Path

from multitalk_cli.contract.loras import KNOWN_LORAS
from multitalk_cli.contract.weights_task import PUBLISHED, PUBLISHED_BYTES
from multitalk_cli.errors import CODES
from multitalk_cli.media.image.sizes import BUCKETS_480P, BUCKETS_720P
from multitalk_cli.planning import gpus, rates
from multitalk_cli.planning.cost import estimate_cost, estimate_presets
from multitalk_cli.planning.describe import price_range, time_range
from multitalk_cli.planning.presets import PRESETS
from multitalk_cli.planning.windows import make_plan
from multitalk_cli.reporting.formatting import human_bytes, human_rate
from multitalk_cli.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCUMENTS = (README, *sorted((ROOT / "docs").glob("*.md")))
ERRORS = ROOT / "docs" / "errors.md"
TROUBLES = {
    "attention": ("E_ATTENTION",),
    "size of the picture": ("E_IMAGE_SIZE", "E_RANGE"),
    "frames": ("E_REQUEST",),
    "length of the speech": ("E_AUDIO_LENGTH", "E_AUDIO_SILENT"),
    "memory": ("E_OUT_OF_MEMORY", "E_GPU_TOO_SMALL"),
    "boxes": ("E_SPEAKER",),
    "cold start": ("E_START", "E_TIMEOUT"),
    "quota": ("E_CAPACITY", "E_PAYMENT_METHOD", "E_SPENDING_LIMIT", "E_COST"),
    "set-up": ("E_NO_TOKEN", "E_NOT_DEPLOYED", "E_CONTRACT", "E_WEIGHTS_MISSING"),
}
"""What goes wrong often; each code is caused in a test, and mended as its row says."""

LENGTHS_S = {"5 s": 5, "30 s": 30, "1 min": 60, "5 min": 300}
PRICED_GPUS = ("h100", "b200", "l40s")


def codes_table():
    """Every error code."""
    rows = [
        (f"`{code}`", int(row.exit_code), row.summary, row.remedy) for code, row in CODES.items()
    ]
    return markdown(("code", "exit", "what happened", "what helps"), rows)


def presets_table():
    """What each preset sets, and `--plan`'s estimate for 10 s of speech on an H100."""
    plan = make_plan(240, 24, size=(896, 448), persons=1)
    rows = []
    for found in estimate_presets(plan, rates.load(), "h100", PRESETS["standard"]):
        way = found.denoising
        text = f"{way.text_guidance:g}" + (" in half of them" if way.text_gate < 1 else "")
        rows.append(
            (
                f"`{found.name}`",
                way.tier,
                way.sample_steps,
                f"{text} / {way.audio_guidance:g}",
                f"`{way.lora}`" if way.lora else "",
                way.forwards,
                time_and_price(found.estimate),
                way.grade,
            )
        )
    head = ("preset", "tier", "steps", "guidance by prompt / voice", "LoRA", "forwards a window")
    return markdown((*head, "10 s on an H100", "class"), rows)


def loras_table():
    """The LoRAs with a name."""
    rows = [
        (
            f"`{name}`",
            f"`{lora.repository}`",
            human_bytes(lora.size_bytes),
            f"{', '.join(map(str, lora.steps))} steps, shift {lora.shift:g}",
            f"{lora.licence}; {lora.warning}" if lora.warning else lora.licence,
        )
        for name, lora in KNOWN_LORAS.items()
    ]
    return markdown(("name", "repository", "size", "for", "licence"), rows)


def troubles_table():
    """What goes wrong often, with its causes."""
    rows = [
        (name, f"`{code}`", CODES[code].cause, CODES[code].remedy)
        for name, codes in TROUBLES.items()
        for code in codes
    ]
    return markdown(("about", "code", "why", "what helps"), rows)


def prices_table():
    """Time and price of videos of some lengths, as `--plan` prints them."""
    estimates = [estimate(name, 5) for name in PRICED_GPUS]
    titles = [each.gpu.upper() + ("" if each.measured else " (estimate)") for each in estimates]
    rows = [
        (label, *(time_and_price(estimate(name, seconds)) for name in PRICED_GPUS))
        for label, seconds in LENGTHS_S.items()
    ]
    return markdown(("speech", *titles), rows)


def gpus_table():
    """Every GPU type, the quickest first."""
    table = rates.load()
    by_speed = sorted(gpus.GPUS, key=lambda gpu: estimate(gpu.name, 5).seconds)
    rows = []
    for gpu in by_speed:
        rate, five = table.gpu(gpu.name), estimate(gpu.name, 5)
        rows.append(
            (
                ", ".join(f"`{name}`" for name in (gpu.name, *gpu.aliases)),
                f"{gpu.usable_gib:g} GiB",
                held_params(gpu),
                ", ".join(f"`{stack}`" for stack in gpu.stacks),
                human_rate(60 * table.price_per_s_usd(rate)),
                time_and_price(five),
                "H100, random weights" if five.measured else "no: estimate",
            )
        )
    head = (
        "`--gpu`",
        "memory",
        "parameters that stay on it",
        "stacks",
        "a minute",
        "5 s",
        "measured",
    )
    return markdown(head, rows)


def settings_table():
    """Every setting. The variable is MULTITALK_ and the name in capitals."""
    rows = [
        (
            f"`{name}`",
            f"`{setting.variable}`",
            default_in_words(setting.default),
            setting.help + (f": {', '.join(setting.choices)}" if setting.choices else ""),
        )
        for name, setting in SETTINGS.items()
    ]
    return markdown(("setting", "variable", "default", "meaning"), rows)


def sizes_table():
    """The sizes that the model was trained with."""
    rows = [
        (f"`--size {option}`", ", ".join(f"{each.width_px}x{each.height_px}" for each in sizes))
        for option, sizes in (("auto", BUCKETS_480P), ("720p", BUCKETS_720P))
    ]
    return markdown(("option", "the nearest of"), rows)


def estimate(gpu, seconds):
    """Time and price for so much speech of one person with the default settings."""
    fps, size = SETTINGS["fps"].default, SETTINGS["size"].default
    width, height = map(int, size.split("x"))
    planned = make_plan(
        seconds * fps,
        fps,
        size=(width, height),
        persons=1,
    )
    return estimate_cost(planned, rates.load(), gpu)


def time_and_price(found):
    return f"{time_range(found)}, {price_range(found)}"


def held_params(gpu):
    params = gpu.persistent_params
    return "what fits" if params is None else f"{params / 1e9:g}e9"


def default_in_words(value):
    if value is None or value == "":
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text[:24]}...`" if len(text) > 30 else f"`{text}`"


def weights_table():
    """The published weights, part by part."""
    rows = [(part.name, f"`{part.repository}`", human_bytes(part.size_bytes)) for part in PUBLISHED]
    return markdown(
        ("part", "repository", "size"), [*rows, ("all", "", human_bytes(PUBLISHED_BYTES))]
    )


TABLES = {
    "codes": codes_table,
    "troubles": troubles_table,
    "prices": prices_table,
    "gpus": gpus_table,
    "settings": settings_table,
    "sizes": sizes_table,
    "presets": presets_table,
    "loras": loras_table,
    "weights": weights_table,
}
_TABLE = re.compile(r"(<!-- (\w+): begin -->\n).*?(<!-- \2: end -->)", re.DOTALL)


def markdown(head, rows):
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines, ""])


def tables_in(text):
    """The names of the generated tables of a document."""
    return [name for _, name, _ in _TABLE.findall(text)]


def renewed(text):
    """A document's text with the tables of now."""
    return _TABLE.sub(lambda match: match[1] + TABLES[match[2]]() + match[3], text)


if __name__ == "__main__":
    for path in DOCUMENTS:
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
