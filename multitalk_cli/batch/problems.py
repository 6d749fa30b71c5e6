"""What is wrong with the rows of a batch, collected, so that all of it is shown at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multitalk_cli.errors import FileError, MultitalkError, RefusedError, SetupError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multitalk_cli.errors.exceptions import Fact

_MOST_NUMBERS = 8
_LONGEST_LINE = 400


class Problems:
    """Errors of rows, in the order in which they were found.

    outputs: name -> the row and the spelling that it was given first.
    """

    def __init__(self) -> None:
        self._found: list[tuple[int | None, MultitalkError]] = []
        self.outputs: dict[str, tuple[int, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def rows(self) -> set[int]:
        """The numbers of the rows that have one."""
        return {number for number, _ in self._found if number is not None}

    def add(self, error: MultitalkError, number: int | None) -> None:
        """Adds an error of a row, or of all of them."""
        self._found.append((number, error))

    def require_none(self, name: str) -> None:
        """Raises one error that names all. What must be set up is raised where that is all."""
        if not self._found:
            return
        rows = [each for each in self._found if not isinstance(each[1], SetupError)]
        if not rows:
            raise self._found[0][1]
        self._found, errors = rows, [error for _, error in rows]
        lines = self.lines()
        count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        message = "\n".join([f"{count} in {name}; nothing was started", *lines])
        if any(isinstance(error, UsageError) for error in errors):
            raise UsageError(message, code="E_MANIFEST", facts=_shared_output(errors))
        if all(isinstance(error, RefusedError) for error in errors):
            raise RefusedError(message, code="E_ROW_COST", facts=_way_out(errors))
        # One command mends a problem that all rows share.
        folder = errors[0].facts.get("missing_folder") if len(lines) == 1 else None
        facts: dict[str, Fact] = {} if folder is None else {"missing_folder": folder}
        if all(error.code == "E_OUTPUT_EXISTS" for error in errors):
            facts["exists"] = True
        raise FileError(message, code="E_ROW_FILES", facts=facts)

    def lines(self) -> list[str]:
        """`row 3: ...`; rows with the same problem share a line."""
        numbers: dict[str, list[int]] = {}
        for number, error in sorted(self._found, key=lambda each: each[0] or 0):
            rows = numbers.setdefault(_shortened(error.message.replace("\n", " ")), [])
            if number is not None and number not in rows:
                rows.append(number)
        return [f"{name_rows(rows)}{text}" for text, rows in numbers.items()]


def _shared_output(errors: Sequence[MultitalkError]) -> dict[str, Fact]:
    """An output for all rows that mends every error; nothing where there is none."""
    outputs = {error.facts.get("output", "") for error in errors}
    shared = outputs.pop() if len(outputs) == 1 else ""
    return {"output": shared} if shared else {}


def _way_out(errors: Sequence[MultitalkError]) -> dict[str, Fact]:
    """What lets all rows be made: the same GPU, stack or kernel, or a limit of cost."""
    if all("enough_usd" in error.facts for error in errors):
        enough_usd = max(float(str(error.facts["enough_usd"])) for error in errors)
        return {"enough_usd": enough_usd, "cheaper": ()}
    first = {name: errors[0].facts.get(name) for name in ("stack", "gpu", "attention")}
    is_shared = all(error.facts.get(name) == first[name] for error in errors for name in first)
    return {name: value for name, value in first.items() if value is not None and is_shared}


def _shortened(text: str) -> str:
    """A message without the middle of a value that fills a screen."""
    half = _LONGEST_LINE // 2
    return text if len(text) <= _LONGEST_LINE else f"{text[:half]} ... {text[-half:]}"


def name_rows(numbers: Sequence[int]) -> str:
    """`row 3: `, `rows 3, 5 and 200 more: `; empty for none."""
    if not numbers:
        return ""
    if len(numbers) == 1:
        return f"row {numbers[0]}: "
    shown, more = numbers[:_MOST_NUMBERS], len(numbers) - _MOST_NUMBERS
    return f"rows {', '.join(map(str, shown))}{f' and {more} more' if more > 0 else ''}: "
