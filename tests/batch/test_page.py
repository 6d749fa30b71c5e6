"""The examples of docs/batches.md for programs do what the page says."""

import re
import shutil

import pytest

from multitalk_cli.jobs import ledger as jobs_ledger
from multitalk_cli.jobs.ledger import Ledger, ledger_path
from tests.batch.made import speak
from tests.command_line import EXAMPLES, ROOT
from tests.jobs.test_ledger import job_of

PAGE = (ROOT / "docs" / "batches.md").read_text(encoding="utf-8")


def examples(heading):
    """The Python of one section."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return "".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """Runs the examples of a section in a folder with the files that it names."""
    monkeypatch.setenv("MULTITALK_SIZE", "192x96")
    shutil.copy(EXAMPLES / "portrait.png", "portrait.png")
    speak("first.wav", "second.wav")
    rows = "one,portrait.png,first.wav", "two,portrait.png,second.wav"
    (folder / "list.csv").write_text("\n".join(["id,image,voice", *rows]))

    def run(heading):
        names = {}
        exec(examples(heading), names)
        return names, capsys.readouterr().out

    return run


def test_pairs_and_only_the_failed(run, folder):
    _, shown = run("Two hundred pairs")
    names, again = run("Only the failed")

    assert re.findall(r"^(\w+) (\w+)", shown, re.MULTILINE) == [("one", "done"), ("two", "done")]
    assert {path.name for path in folder.glob("*.mp4")} == {
        "first.preview.mp4", "second.preview.mp4",
    }  # fmt: skip
    assert (again, [each.planned.known for each in names["first"].results]) == ("", ["made"] * 2)


def test_five_variations(run, folder):
    _, shown = run("Five variations")

    videos = [f"second-{seed}.preview.mp4" for seed in range(5)]
    assert re.findall(r"second-\d\.preview\.mp4", shown) == videos
    assert all((folder / name).is_file() for name in videos)


def test_last_week_s_video_and_this_month_s_money(run):
    ledger = Ledger(ledger_path())
    for name, label in (("a", "monday-news"), ("b", "talk")):
        ledger.start(job_of(name * 8, name, label=label))
        ledger.update(name * 8, state=jobs_ledger.DONE, price_usd=0.75)

    _, shown = run("Last week's video, this month's money")

    assert shown.split() == ["aaaaaaaa", "done", "1.5"]
