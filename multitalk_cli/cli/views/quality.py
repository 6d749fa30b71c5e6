"""The report of `multitalk bench --quality` as lines: each tier's errors, and the floor's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from multitalk_cli.cli.layout import Block, Line, Row, Table
from multitalk_cli.contract.bench_task import BY_PROMPT, BY_VOICE, FEW_STEPS, GATED, GUIDED
from multitalk_cli.reporting.formatting import human_count

Report = Mapping[str, Any]

_UNGATED = (GUIDED, FEW_STEPS, BY_PROMPT, BY_VOICE)
_SHOWN = (GUIDED, GATED, FEW_STEPS, BY_PROMPT, BY_VOICE)
_SHOWN_OF = {"exact": (GATED,), "floor": _UNGATED}
"""Exact differs from itself by gating alone; the floor is computed without."""
_NAMES = {BY_PROMPT: "prompt", BY_VOICE: "voice"}
"""Of what the prompt and the voice change."""
_LABEL = 11
_LIMITS = "No figure tells how a video looks: make a short one with each preset, and compare."


def quality_blocks(report: Report) -> list[Block]:
    """The container, the floor, a table for each number of persons, and what was not compared."""
    machine, options = report["machine"], report["options"]
    size = f"{options['width_px']}x{options['height_px']}, {options['frames']} frames"
    unit = "in % of exact" + (", and times the floor (x)" if report["floor_kernel"] else "")
    kept = (
        f"the same, with the prompt's kept from time {report['gate_time']:.0f} on, as in balanced"
    )
    shown: list[Block] = [
        _row("measured", f"{machine['device']}, torch {machine['torch']}, {size}, the example"),
        _row("exact", f"{report['type']}, attention {report['kernel']}"),
        _row("floor", _describe_floor(report)),
        _row("errors", unit),
        _row(GUIDED, "with guidance 5 by the prompt and 4 by the voice, as in standard"),
        _row(GATED, kept),
        _row(FEW_STEPS, "with guidance 1 and 2, as in fast, without its LoRA"),
        _row("prompt", "what the prompt changes"),
        _row("voice", "what the voice changes"),
    ]
    for persons in options["persons"]:
        rows = [row for row in report["rows"] if row.get("persons") == persons]
        shown += [Line(""), _table(rows, persons, report["times"]), Line(""), _speed(rows)]
    refused = [row for row in report["rows"] if "refused" in row]
    shown += [_row(row["tier"], f"not compared: {row['refused']}") for row in refused]
    return [*shown, Line(""), Line(_LIMITS)]


def _row(label: str, text: str) -> Row:
    return Row(label, text, width=_LABEL)


def _describe_floor(report: Report) -> str:
    kernel = report["floor_kernel"]
    if kernel is not None:
        return f"exact with {kernel}: how much two exact kernels differ"
    return f"none, so there are no multiples: only the attention {report['kernel']} runs here"


def _table(rows: Sequence[Report], persons: int, times: Sequence[float]) -> Table:
    titles = (f"{human_count(persons, 'person'):9}", "error of", *(f"at time {t:g}" for t in times))
    cells = [line for row in rows for line in _cells(row)]
    return Table(rows=cells, titles=titles, right=range(2, 2 + len(times)))


def _cells(row: Report) -> Iterator[tuple[str, ...]]:
    """A line for each quantity that the row says something of."""
    label, of_floor = row["tier"], row.get("of_floor") or {}
    for what in _SHOWN_OF.get(label, _SHOWN):
        errors = row["errors"][what]
        multiples = of_floor.get(what, [None] * len(errors))
        yield (label, _NAMES.get(what, what), *map(_error, errors, multiples))
        label = ""


def _error(error: float | None, multiple: float | None) -> str:
    """`5.60 %, 2.3x`; a dash where the exact value is zero."""
    if error is None:
        return "-"
    return f"{100 * error:.2f} %" + ("" if multiple is None else f", {multiple:.1f}x")


def _speed(rows: Sequence[Report]) -> Row:
    """Seconds of an exact forward, and the other tiers' share of it."""
    exact_s = next(row["forward_s"] for row in rows if row["tier"] == "exact")
    others = [
        f"{row['tier']} {row['of_exact']:.2f} of it"
        for row in rows
        if row["tier"] not in ("exact", "floor")
    ]
    return _row("speed", ", ".join([f"exact {exact_s:.3f} s a forward", *others]))
