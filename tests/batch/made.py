"""Batches for tests: short voices, small previews, and what a run tells of them."""

from multitalk_cli.batch.manifest import read_manifest
from multitalk_cli.batch.plan import plan_rows
from multitalk_cli.batch.rows import Defaults, read_rows
from multitalk_cli.batch.run import RunOptions, run_batch
from multitalk_cli.reporting.reporter import NoStopRequests, QuietReporter
from tests.media.audio.sounds import speech_like, write_wav

SMALL = {"backend": "preview", "size": "192x96"}


def speak(*names, duration_s=0.2):
    """Voices in the current folder, another for each name."""
    for number, name in enumerate(names):
        write_wav(name, speech_like(duration_s, seed=number + 1))


def planned(path, reporter=None, **defaults):
    """The plan of a manifest whose videos are small previews."""
    given = {**SMALL, **defaults.pop("given", {})}
    manifest = read_manifest(str(path))
    chosen = Defaults(given=given, **defaults)
    reporter = QuietReporter() if reporter is None else reporter
    rows = read_rows(manifest, chosen, reporter, manifest.problems)
    return plan_rows(manifest.name, rows, manifest.problems)


class Seen:
    """Keeps what a run tells; `on_show` is called with each event of a video."""

    def __init__(self, on_show=lambda _planned, _event: None):
        self.begun, self.results, self._on_show = [], [], on_show

    def started(self, planned):
        self.begun.append(planned.id)

    def show(self, planned, event, _spent_usd):
        self._on_show(planned, event)

    def ended(self, result):
        self.results.append(result)


def run(plan, seen=None, requests=None, **options):
    """Runs a batch to its end."""
    seen = Seen() if seen is None else seen
    requests = NoStopRequests() if requests is None else requests
    return run_batch(plan, RunOptions(**options), seen, requests)
