"""The answers of `multitalk _complete`: jobs and keys from local files, never the network."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

_MOST = 200
_BUSY_S = 0.1


def answer(kind: str, word: str) -> list[str]:
    """Lines for a shell: candidates that begin with `word`, each with a tab and a description."""
    found = _jobs() if kind == "jobs" else _keys(word) if kind == "keys" else iter(())
    rows = []
    for candidate, about in found:
        if candidate.startswith(word) and candidate.isprintable():
            rows.append(f"{candidate}\t{about}" if about.isprintable() and about else candidate)
        if len(rows) == _MOST:
            break
    return rows


def _jobs() -> Iterator[tuple[str, str]]:
    """The jobs of the ledger, the newest first; none where it cannot be read at once."""
    from multitalk_cli.files import is_there
    from multitalk_cli.jobs.ledger import ledger_path

    path = ledger_path()
    if not is_there(path):
        return
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)) as db:
            rows = db.execute("SELECT id, state, label FROM jobs ORDER BY created_s DESC LIMIT 200")
            yield from ((job_id, f"{state}, {label}") for job_id, state, label in rows)
    except sqlite3.Error:
        return


def _keys(word: str) -> Iterator[tuple[str, str]]:
    """Addresses for a word that begins one, else keys of the configured bucket."""
    from multitalk_cli.errors import MultitalkError
    from multitalk_cli.settings import load_settings
    from multitalk_cli.storage import recent_keys

    if word.lower().startswith("s3:"):
        yield from ((address, "") for address in recent_keys.known())
        return
    try:
        start = f"s3://{load_settings()['bucket']}/"
    except MultitalkError:
        return
    for address in recent_keys.known():
        if address.startswith(start):
            yield address.removeprefix(start), ""
