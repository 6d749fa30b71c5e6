"""The layout of results: lines, labelled rows and tables; drawn by Rich, or plain for a pipe.

On a terminal words are wrapped and continue below where their column begins; on a pipe each row is
one line, whatever its length, so that scripts can read it.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

Style = Literal["", "dim", "yellow", "red", "bold"]

LABEL_WIDTH, _WIDE_LABEL, _WIDE_FROM = 12, 16, 80
LEAST_WIDTH = 50
"""Pages and rows are laid out for this width at least; a narrower terminal wraps them itself."""
WIDEST = 1000
"""The limit of a width that a variable or a terminal gives, in characters."""
NARROWEST_COLUMN = 12
_PROGRAMS = ("chmod", "export", "mkdir", "multitalk", "pip", "pipx", "printf", "ulimit", "unset")
_GAP = 2
_RICH_STYLES: Mapping[Style, str] = {"red": "bold red"}


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence. indent: spaces before each of its lines."""

    text: str
    style: Style = ""
    indent: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A labelled fact. width: of the label's column, by default that of facts.

    wraps: False for a command, which must stay in one piece to be copied. separator: between parts
    of the text that stay whole; words by default.
    """

    label: str
    text: str
    style: Style = ""
    label_style: Style = ""
    width: int | None = None
    wraps: bool = True
    separator: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of equally many cells.

    titles: a first row. right: columns that are aligned at the right. gives_way: columns that get
    narrower where the terminal is, the first before the second; then the widest. below:
    columns whose long cells go below their row first, each on lines of its own. shortens: columns
    that lose the middle of their cells before others give way, the widest first: for lists that are
    looked over.
    styles: one for each row; none where it is empty. indent: spaces before each line.
    """

    rows: Sequence[Sequence[str]]
    titles: Sequence[str] = ()
    right: Sequence[int] = ()
    gives_way: Sequence[int] = ()
    below: Sequence[int] = ()
    shortens: Sequence[int] = ()
    styles: Sequence[Style] = ()
    indent: int = 0

    @property
    def all_rows(self) -> list[Sequence[str]]:
        """The titles, where there are any, and the rows."""
        return [self.titles, *self.rows] if self.titles else list(self.rows)

    @property
    def width(self) -> int:
        """The characters of its longest line."""
        columns = list(zip(*self.all_rows, strict=True))
        widths = [max(map(len, column)) for column in columns]
        return self.indent + sum(widths) + _GAP * max(0, len(widths) - 1)

    @property
    def all_styles(self) -> list[Style]:
        """The style of each of `all_rows`."""
        styles: list[Style] = list(self.styles) if self.styles else [""] * len(self.rows)
        return ["dim", *styles] if self.titles else styles


_MOST_ALIGNED = 60
Block = str | Line | Row | Table
"""Something to show. A str is a path or a script: its control characters reach no terminal."""

Clean = Callable[[str], str]
"""Makes a text safe to print: no control characters, no secret."""


def label_width(columns: int) -> int:
    """The width of the column of labels on a terminal: facts and bars are aligned."""
    return _WIDE_LABEL if columns >= _WIDE_FROM else LABEL_WIDTH


def is_command(text: str) -> bool:
    """Whether a text is a command line to copy, in contrast to advice that may begin with one."""
    try:
        words = shlex.split(text)
    except ValueError:
        # An apostrophe.
        return False
    if not words or words[0] not in _PROGRAMS:
        return False
    # The last word of a command may be a folder.
    ends_sentence = text.endswith(".") and words[-1].strip("./") != ""
    return not ends_sentence and not any(word.endswith(",") for word in words)


def shorten(text: str, width: int) -> str:
    """A text of at most this many cells; its middle is left out, as names differ at the end.

    width: 1 or more. A character of Chinese, Japanese or Korean takes two cells.
    """
    from rich.cells import cell_len

    if cell_len(text) <= width:
        return text
    end = (width - 1) * 2 // 3
    last = _begin(text[::-1], end)[::-1]
    return _begin(text, width - 1 - end) + _left_out() + last


def _begin(text: str, cells: int) -> str:
    """As many of the first characters as fit."""
    from rich.cells import cell_len

    while cell_len(text) > cells:
        text = text[: min(len(text) - 1, cells)]
    return text


def _left_out() -> str:
    """The sign for a part that is left out; older encodings lack the usual one."""
    return "…" if sys.getfilesystemencoding().lower().startswith("utf") else "~"


# Plain


def plain(block: Line | Row | Table, clean: Clean) -> Iterator[str]:
    """The lines of a block for a pipe."""
    match block:
        case Line():
            yield f"{'':{block.indent}}{clean(block.text)}"
        case Row():
            label, width = clean(block.label), LABEL_WIDTH if block.width is None else block.width
            space = "" if len(label) < width else " "
            yield f"{label:<{width}}{space}{clean(block.text)}"
        case Table():
            rows = [[clean(cell) for cell in row] for row in block.all_rows]
            # A cell that is longer by far moves its own row only.
            widths = [
                max((len(cell) for cell in column if len(cell) <= _MOST_ALIGNED), default=0)
                for column in zip(*rows, strict=True)
            ]
            for row in rows:
                cells = [
                    f"{cell:{'>' if at in block.right else '<'}{widths[at]}}"
                    for at, cell in enumerate(row)
                ]
                yield (" " * block.indent + (" " * _GAP).join(cells)).rstrip()


# Drawn


def drawn(block: Line | Row | Table, clean: Clean, width: int) -> RenderableType:
    """The block for Rich, at most this many characters wide. Text that does not wrap is a Text."""
    from rich.padding import Padding
    from rich.text import Text

    match block:
        case Line():
            text = Text(clean(block.text), style=_rich(block.style), overflow="fold")
            return Padding(text, (0, 0, 0, block.indent)) if block.indent else text
        case Row(wraps=False):
            label_columns = label_width(width) if block.width is None else block.width
            label = Text(f"{clean(block.label):<{label_columns}}", style=_rich(block.label_style))
            return label.append(clean(block.text), style=_rich(block.style))
        case Row():
            return _draw_row(block, clean, width)
        case Table():
            return _draw_table(block, clean, width)


def _rich(style: Style) -> str:
    return _RICH_STYLES.get(style, style)


def _draw_row(row: Row, clean: Clean, width: int) -> RenderableType:
    from rich.cells import cell_len
    from rich.table import Table as Grid
    from rich.text import Text

    labels = label_width(width) if row.width is None else row.width
    # The name of a file is whole where half of the line holds it.
    labels = max(labels, min(cell_len(clean(row.label)) + 1, width // 2))
    grid = Grid.grid()
    grid.add_column(width=labels, no_wrap=True)
    grid.add_column(overflow="fold")
    style = row.label_style if row.label_style else row.style
    text = clean(row.text)
    if row.separator:
        text = _pack(text.split(row.separator), row.separator, width - labels)
    grid.add_row(
        Text(shorten(clean(row.label), labels - 1), style=_rich(style)),
        Text(text, style=_rich(row.style)),
    )
    return grid


def _pack(parts: Sequence[str], separator: str, width: int) -> str:
    """Lines of as many parts as fit into the width."""
    from rich.cells import cell_len

    lines = [parts[0]]
    for part in parts[1:]:
        longer = lines[-1] + separator + part
        if cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return "\n".join(lines)


def _draw_table(table: Table, clean: Clean, width: int) -> RenderableType:
    from rich.cells import cell_len
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    rows = [[clean(cell) for cell in row] for row in table.all_rows]
    lengths = [[cell_len(cell) for cell in row] for row in rows]
    limits = _limits(lengths, table, width - table.indent)
    widths = _fit(_widths(lengths, limits), table, width - table.indent)
    parts: list[RenderableType] = []
    for row, style in zip(rows, table.all_styles, strict=True):
        long = [cell for cell, limit in zip(row, limits, strict=True) if cell_len(cell) > limit]
        fitted = [
            shorten(cell, widths[at]) if at in table.shortens else cell
            for at, cell in enumerate(row)
        ]
        texts = [
            Text("" if cell in long else fitted[at], style=_rich(style))
            for at, cell in enumerate(row)
        ]
        parts.append(_draw_line(texts, widths, table.right))
        parts += [Padding(Text(cell, style=_rich(style)), (0, 0, 0, _GAP)) for cell in long]
    return Padding(Group(*parts), (0, 0, 0, table.indent))


def _draw_line(
    texts: Sequence[Text], widths: Sequence[int], right: Sequence[int]
) -> RenderableType:
    """A row of a table; the columns of all rows have the same widths."""
    from rich.table import Table as Grid

    grid = Grid.grid(padding=(0, _GAP, 0, 0))
    shown = [at for at, width in enumerate(widths) if width]
    for at in shown:
        justify: Literal["right", "left"] = "right" if at in right else "left"
        grid.add_column(width=widths[at], overflow="fold", justify=justify)
    grid.add_row(*(texts[at] for at in shown))
    return grid


def _limits(lengths: Sequence[Sequence[int]], table: Table, width: int) -> list[int]:
    """The length of each column's cells above which they go below their row.

    A title goes with its cells.
    """
    limits = [max(column) for column in zip(*lengths, strict=True)]
    for at in table.below:
        widths = _widths(lengths, limits)
        room = width - (_total(widths) - widths[at])
        if room < widths[at]:
            limits[at] = max(NARROWEST_COLUMN, room)
            cells = [row[at] for row in lengths[bool(table.titles) :]]
            if not any(0 < cell <= limits[at] for cell in cells):
                limits[at] = 0
    return limits


def _widths(lengths: Sequence[Sequence[int]], limits: Sequence[int]) -> list[int]:
    """The widths of the columns, of the cells that do not go below."""
    return [
        max((length for length in column if length <= limit), default=0)
        for column, limit in zip(zip(*lengths, strict=True), limits, strict=True)
    ]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * max(0, sum(map(bool, widths)) - 1)


def _fit(natural: Sequence[int], table: Table, width: int) -> list[int]:
    """The widths of columns that give way, in their order, until all fit into `width`."""
    widths = list(natural)
    while table.shortens and _total(widths) > width:
        widest = max(table.shortens, key=lambda at: widths[at])
        if widths[widest] <= NARROWEST_COLUMN:
            break
        widths[widest] -= 1
    by_width = sorted(range(len(widths)), key=lambda at: -widths[at])
    for at in dict.fromkeys([*table.gives_way, *by_width]):
        excess = _total(widths) - width
        if excess > 0:
            widths[at] = min(widths[at], max(NARROWEST_COLUMN, widths[at] - excess))
    return widths
