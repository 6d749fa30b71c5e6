"""`multitalk explain`: meaning, cause and remedy of an error code."""

import difflib
from typing import Annotated

import typer

from multitalk_cli.cli.console import Console
from multitalk_cli.cli.layout import Line, Table
from multitalk_cli.errors import CODES, UsageError


def explain(
    ctx: typer.Context,
    code: Annotated[
        str | None,
        typer.Argument(metavar="CODE", help="A code such as E_AUDIO_SILENT; all codes by default."),
    ] = None,
) -> None:
    """Explain an error code, or list them all."""
    console: Console = ctx.obj
    if code is None:
        rows = [(name, f"exit {int(row.exit_code)}", row.summary) for name, row in CODES.items()]
        codes = {name: int(row.exit_code) for name, row in CODES.items()}
        console.succeed("explain", {"codes": codes}, [Table(rows=rows, gives_way=(2,))])
    else:
        _explain_one(console, code.upper())


def _explain_one(console: Console, name: str) -> None:
    if name not in CODES:
        close = difflib.get_close_matches(name, CODES, n=1, cutoff=0.75)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(
            f"unknown error code {name!r}{meant}",
            code="E_UNKNOWN_CODE",
            facts={"nearest": close[0]} if close else {},
        )
    row = CODES[name]
    data = {
        "code": name,
        "exit_code": int(row.exit_code),
        "summary": row.summary,
        "cause": row.cause,
        "remedy": row.remedy,
    }
    title = Line(f"{name} (exit {int(row.exit_code)}): {row.summary}", "bold")
    console.succeed("explain", data, [title, *map(Line, ("", row.cause, row.remedy))])
