"""Questions of a download: one about everything, and another for what it did not name."""

import pytest

from multitalk_cli.contract.loras import KNOWN_LORAS
from multitalk_cli.weights.download import DownloadOptions, download
from tests.cloud.calls import StoppableReporter

ADDRESS = f"https://hub/{KNOWN_LORAS['lightx2v'].repository}/resolve/1/"


class AskingTarget:
    """An account without the app, whose hub states a licence of the LoRA."""

    title, facts = "the Volume", {}

    def __init__(self, licence, address):
        self._lora = {"name": "lightx2v", "size_bytes": 739, "licence": licence}
        self._lora |= {"address": address, "shown": address}

    def name(self, file):
        return file

    def prepare(self, ask, _reporter, *, preset, **_kind):
        ask(f"Deploy with {preset}?")
        return True

    def attach(self, _task, _reporter):
        return None

    def announce(self, survey, reporter):
        pass

    def run(self, task, _reporter):
        eight_bit = {"folder": "8bit", "size_bytes": 9, "begun_bytes": 0, "lora": self._lora}
        return {
            "is_packed": True, "missing_bytes": 0, "pack_bytes": 0, "size_bytes": 9, "pack": "bf16",
            "repositories": [], "fetched_bytes": 0, "repaired": [],
            "eight_bit": eight_bit if task.kind == "survey" else "8bit",
        }  # fmt: skip


class Answering(StoppableReporter):
    """Says yes to every question."""

    can_ask = True

    def __init__(self):
        super().__init__()
        self.asked = []

    def confirm(self, question, _about=""):
        self.asked.append(question)
        return True


@pytest.mark.parametrize(
    ("licence", "address", "asked"),
    [
        ("apache-2.0", ADDRESS + KNOWN_LORAS["lightx2v"].file, 1),
        ("", ADDRESS + KNOWN_LORAS["lightx2v"].file, 1),
        ("cc-by-nc-4.0", ADDRESS + KNOWN_LORAS["lightx2v"].file, 2),
        ("apache-2.0", "https://elsewhere/other.safetensors", 2),
    ],
)
def test_another_licence_or_file_than_was_named_is_asked_about(licence, address, asked):
    reporter = Answering()

    downloaded = download(AskingTarget(licence, address), DownloadOptions(preset="fast"), reporter)

    assert downloaded.eight_bit == "8bit"
    assert reporter.asked[0] == "Deploy with fast?"
    assert len(reporter.asked) == asked
