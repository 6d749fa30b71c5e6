"""The report: one page, escaped, with a policy that lets nothing in, never over another file."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from multitalk_cli.batch.report import check_place, write_report
from multitalk_cli.errors import FileError
from tests.batch.made import planned, run, speak

EVIL = "<script>alert(1)</script>\"' onload=x"


@pytest.fixture
def page(portrait, faces_remembered, folder):
    """The report of a video, and of a row that failed."""
    speak("a.wav", "b.wav")
    text = EVIL.replace('"', '""')
    Path("list.csv").write_text(
        f'id,image,voice,prompt\n"{text}",host.png,a.wav,"{text}"\n,host.png,b.wav,\n'
    )
    plan = planned("list.csv")
    Path("b.wav").unlink()
    return write_report(run(plan), folder / "below" / "report", force=False).read_text()


class Reader(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def test_nothing_runs_and_nothing_is_loaded(page):
    tags = Reader(page).tags

    assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "object", "form", "base"}
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    sources = [attributes["src"] for _, attributes in tags if "src" in attributes]
    assert len(sources) == 1 and sources[0].startswith("data:image/jpeg;base64,")
    assert base64.b64decode(sources[0].partition(",")[2]).startswith(b"\xff\xd8")
    assert not re.search(r"https?://|url\(|@import", page)


def test_the_policy_allows_its_own_style_alone(page):
    (policy,) = (
        attributes["content"]
        for tag, attributes in Reader(page).tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_it_tells_inputs_settings_and_errors_as_text(page):
    text = page.replace("&lt;script&gt;", "<!>")

    assert "<script" not in page
    assert text.count("<!>alert(1)") >= 2
    assert "1 of 2" in page and "b.wav" in page and "E_FILE_MISSING" in page
    assert '<a href="../../a.preview.mp4">' in page


def test_it_tells_what_earlier_runs_paid(portrait, faces_remembered, folder):
    speak("a.wav", "b.wav")
    Path("list.csv").write_text("image,voice\nhost.png,a.wav\nhost.png,b.wav\n")
    batch = run(planned("list.csv"))
    paid = {str(folder / "a.preview.mp4"): 1.25, str(folder / "b.preview.mp4"): 0.5}

    page = write_report(replace(batch, paid_before_usd=paid), folder / "report", force=False)

    text = page.read_text()
    assert "<dt>paid before</dt><dd>$1.75</dd>" in text
    assert re.search(r"paid \$1\.25 before.*paid \$0\.50 before", text, re.DOTALL)


def test_another_page_is_left_alone_and_a_report_is_replaced(page, folder):
    place = folder / "below" / "report"
    check_place(place, force=False)
    (place / "index.html").write_text("<html>mine")

    with pytest.raises(FileError) as caught:
        check_place(place, force=False)

    assert caught.value.code == "E_OUTPUT_EXISTS"
    check_place(place, force=True)
    with pytest.raises(FileError, match="is not a folder"):
        check_place(folder / "list.csv", force=True)
