"""The report of a batch: one HTML page that loads nothing and runs nothing."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from multitalk_cli import __version__
from multitalk_cli.errors import CODES, FileError, MultitalkError, masking
from multitalk_cli.files import check_creatable, partial_file, write_error
from multitalk_cli.media.video.poster import read_poster
from multitalk_cli.planning.describe import price_range
from multitalk_cli.reporting.formatting import (
    human_bytes,
    human_count,
    human_duration,
    human_length,
    human_money,
    printable,
)

if TYPE_CHECKING:
    from multitalk_cli.batch.run import BatchResult, VideoResult
    from multitalk_cli.generation.result import Video

PAGE = "index.html"
_MARK = '<meta name="generator" content="multitalk batch">'
_HEAD_BYTES = 600
_POSTER_PX = 360
_STYLE = """
:root { color-scheme: light dark; --back: #f6f6f4; --card: #fff; --ink: #1d1d1f; --soft: #5f6368;
  --line: #dedcd8; --good: #1a7f4b; --bad: #b3261e; --wait: #8a5a00; --still: #e9e8e4 }
@media (prefers-color-scheme: dark) { :root { --back: #161718; --card: #202124; --ink: #ececec;
  --soft: #a5a9ae; --line: #37393c; --good: #6fd09a; --bad: #ff8a80; --wait: #e6b65c;
  --still: #2b2d30 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
main { max-width: 1240px; margin: 0 auto; padding: 28px 20px 48px }
h1 { font-size: 24px; margin: 0 0 2px; overflow-wrap: anywhere }
h2 { font-size: 16px; margin: 0; overflow-wrap: anywhere }
.when, footer { color: var(--soft); font-size: 13px }
.sums { display: flex; flex-wrap: wrap; gap: 10px; margin: 20px 0 24px; padding: 0 }
.sums div { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 10px 16px; min-width: 96px }
.sums dt { color: var(--soft); font-size: 13px }
.sums dd { margin: 0; font-size: 20px; font-weight: 600; font-variant-numeric: tabular-nums }
.rows { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr));
  align-items: start; list-style: none; margin: 0; padding: 0 }
.row { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  overflow: hidden; min-width: 0 }
.poster { display: block; width: 100%; aspect-ratio: 2 / 1; object-fit: contain;
  background: var(--still) }
div.poster { aspect-ratio: auto; padding: 7px 14px; color: var(--soft); font-size: 13px }
.text { padding: 12px 14px 14px }
.top { display: flex; gap: 10px; justify-content: space-between; align-items: baseline }
.state { font-size: 13px; font-weight: 600; white-space: nowrap; color: var(--wait) }
.state.done { color: var(--good) } .state.failed { color: var(--bad) }
.figures { margin: 2px 0 0; color: var(--soft); font-variant-numeric: tabular-nums }
.error.failed { border-color: var(--bad) }
.error { margin: 10px 0 0; padding: 8px 10px; border-left: 3px solid var(--wait);
  background: var(--still); overflow-wrap: anywhere; font-size: 14px }
.error small { display: block; color: var(--soft) }
dl.more { display: grid; grid-template-columns: 104px minmax(0, 1fr); gap: 2px 12px;
  margin: 10px 0 0; font-size: 13px }
dl.more dt { color: var(--soft) } dl.more dd { margin: 0; overflow-wrap: anywhere }
a { color: inherit } footer { margin-top: 28px }
@media (max-width: 480px) { main { padding: 18px 12px 32px }
  .rows { grid-template-columns: minmax(0, 1fr) }
  .sums { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: 8px }
  .sums div { padding: 8px 10px; min-width: 0 } .sums dd { font-size: 17px } }
@media print { .row { break-inside: avoid } }
"""


def check_place(folder: Path, *, force: bool) -> None:
    """Before anything is paid. Raises FileError where the report could not be written."""
    page = folder / PAGE
    if folder.exists() and not folder.is_dir():
        message = f"the report's folder {str(folder)!r} is not a folder"
        raise FileError(message, code="E_OUTPUT_PATH")
    if not force and os.path.lexists(page) and not _is_ours(page):
        raise FileError(f"{str(page)!r} exists and is no report", code="E_OUTPUT_EXISTS")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    check_creatable(page)


def _is_ours(page: Path) -> bool:
    try:
        with page.open("rb") as file:
            return _MARK.encode() in file.read(_HEAD_BYTES)
    except OSError:
        return False


def write_report(batch: BatchResult, folder: Path, *, force: bool) -> Path:
    """Writes the page and returns its path. Raises FileError as `check_place`."""
    check_place(folder, force=force)
    page = folder / PAGE
    with (
        partial_file(page, overwrite=True) as part,
        part.open("w", encoding="utf-8", errors="replace") as file,
    ):
        for piece in _page(batch, folder):
            file.write(masking.mask(piece))
    return page.absolute()


def _page(batch: BatchResult, folder: Path) -> Iterator[str]:
    style = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; base-uri 'none'; "
        "form-action 'none'"
    )
    title = f"{_text(batch.plan.name)}: {human_count(len(batch.results), 'video')}"
    yield (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n{_MARK}\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">\n'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        f"<h1>{_text(batch.plan.name)}</h1>\n"
        f'<div class="when">{time.strftime("%Y-%m-%d %H:%M %Z")}</div>\n{_sums(batch)}'
        '<ol class="rows">\n'
    )
    for result in batch.results:
        yield _row(result, folder, batch.paid_before_usd.get(result.planned.name, 0.0))
    yield (
        f"</ol>\n<footer>Made by multitalk {_text(__version__)}. The videos are generated by AI."
        "</footer>\n</main></body></html>\n"
    )


def _sums(batch: BatchResult) -> str:
    seconds = sum(each.video.duration_s for each in batch.results if each.video is not None)
    facts = {"done": f"{batch.count('done')} of {len(batch.results)}"}
    for state in ("failed", "cancelled", "running", "not started"):
        count = batch.count(state)
        facts |= {state: str(count)} if count else {}
    facts |= {"video": human_length(seconds)} if seconds else {}
    facts |= {"paid now": human_money(batch.paid_usd)} if batch.plan.is_paid else {}
    before_usd = sum(batch.paid_before_usd.values())
    facts |= {"paid before": human_money(before_usd)} if before_usd else {}
    facts["took"] = human_duration(batch.took_s)
    cells = (f"<div><dt>{name}</dt><dd>{_text(text)}</dd></div>" for name, text in facts.items())
    return f'<dl class="sums">{"".join(cells)}</dl>\n'


def _row(result: VideoResult, folder: Path, paid_before_usd: float) -> str:
    video, planned = result.video, result.planned
    is_old = video is not None and video.already_made
    first = None if video is None else video.first
    state = "already made" if is_old else result.state if first is None else "first window"
    length = human_length(planned.seconds)
    figures = [length if first is None else f"{length} of {human_length(first.whole_s)}"]
    if video is not None and video.made is not None:
        made = video.made
        figures += [f"{made.width_px}x{made.height_px}", human_bytes(made.size_bytes)]
    if result.price_usd is not None and not is_old:
        figures.append(human_money(result.price_usd))
    if paid_before_usd:
        figures.append(f"paid {human_money(paid_before_usd)} before")
    if result.took_s and not is_old:
        figures.append(f"took {human_duration(result.took_s)}")
    more = "".join(
        f"<dt>{_text(name)}</dt><dd>{value}</dd>" for name, value in _facts(result, folder)
    )
    return (
        f'<li class="row">{_poster(video, planned.id)}<div class="text"><div class="top">'
        f'<h2>{_text(planned.id)}</h2><span class="state {_class(result)}">'
        f'{state}</span></div><p class="figures">{_text(" · ".join(figures))}</p>'
        f'{_error(result)}<dl class="more">{more}</dl></div></li>\n'
    )


def _class(result: VideoResult) -> str:
    return result.state.replace(" ", "-")


def _error(result: VideoResult) -> str:
    if not result.reason:
        return ""
    remedy = CODES[result.code].remedy if result.code in CODES else ""
    code = f"<small>{_text(result.code)}. {_text(remedy)}</small>" if result.code else ""
    return f'<p class="error {_class(result)}">{_text(result.reason)}{code}</p>'


def _facts(result: VideoResult, folder: Path) -> Iterator[tuple[str, str]]:
    """Names of facts, and what they are as HTML."""
    planned, video = result.planned, result.video
    args = planned.row.args
    yield "row", _text(str(planned.row.number))
    yield "image", _text(args.image)
    for voice in (*args.voices, *args.speakers):
        yield "voice", _text(voice)
    if video is not None and video.path is not None:
        yield "video", _link(video.path, folder)
    if video is not None and video.stored is not None:
        yield "stored", _text(video.stored)
    if result.job_id and planned.row.is_paid:
        yield "job", _text(result.job_id)
    rest = None if video is None or video.first is None else video.first.rest
    if rest is not None:
        yield "the rest", _text(price_range(rest))
    yield "made by", _text(", ".join(filter(None, (planned.row.backend, planned.gpu))))
    seed = planned.seed if video is None else video.seed
    if seed is not None:
        yield "seed", str(seed)
    for name, value in planned.row.given.items():
        if name not in ("seed", "seeds", "output", "speaker", "backend", "gpu", "force"):
            yield name.replace("_", " "), _text(str(value))
    for note in () if video is None else (*video.adjusted, *video.warnings):
        yield "note", _text(note)


def _link(path: Path, folder: Path) -> str:
    """The video by its path from the report's folder, which may be moved with it."""
    try:
        relative = os.path.relpath(path, folder.absolute())
    except ValueError:
        relative = str(path)
    return f'<a href="{escape(quote(os.fsencode(relative)))}">{_text(path.name)}</a>'


def _poster(video: Video | None, name: str) -> str:
    """A frame of the video as a picture inside the page."""
    jpeg = b""
    if video is not None and video.path is not None:
        # It may have been moved or changed since.
        with suppress(MultitalkError):
            jpeg = read_poster(video.path, _POSTER_PX)
    if not jpeg:
        return '<div class="poster">no video</div>'
    data = base64.b64encode(jpeg).decode()
    return f'<img class="poster" alt="{_text(name)}" src="data:image/jpeg;base64,{data}">'


def _text(text: str) -> str:
    """A text that is nothing but text: no markup, no control characters."""
    return escape(printable(text), quote=True)
