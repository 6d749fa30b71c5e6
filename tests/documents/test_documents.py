"""The documents say what the code does: every command block runs, every table is the code's."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.documents.codes import README, renewed

ROOT = README.parent
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in ROOT.glob("*.md")}
EXAMPLES = ROOT / "multitalk_cli" / "examples"

# Blocks that make an environment, fetch the weights or need other machines have tests of their own.
ELSEWHERE = (
    "make ",
    "multitalk bench",
    "pipx ",
    "multitalk login",
    "multitalk download",
    "multitalk jobs",
    "multitalk setup-secrets",
    "multitalk generate s3://",
)


def _blocks():
    blocks = re.findall(r"```sh\n(.*?)```", TEXTS["README.md"], re.DOTALL)
    return [block for block in blocks if not block.startswith(ELSEWHERE)]


def _two_people(path):
    from PIL import Image, ImageOps

    portrait = Image.open(EXAMPLES / "portrait.png").convert("RGB").crop((262, 0, 762, 640))
    duo = Image.new("RGB", (1000, 640))
    duo.paste(portrait, (0, 0))
    duo.paste(ImageOps.mirror(portrait), (500, 0))
    duo.save(path)


def _second_voice(source, target):
    import soundfile

    samples, rate = soundfile.read(source)
    soundfile.write(target, samples[::-1][: 2 * rate], rate)


@pytest.fixture
def folder(tmp_path):
    """A folder with the files that the README names, and `multitalk` on the path."""
    shutil.copy(EXAMPLES / "portrait.png", tmp_path)
    for name in ("voice.wav", "first.wav"):
        shutil.copy(EXAMPLES / "voice.wav", tmp_path / name)
    _second_voice(EXAMPLES / "voice.wav", tmp_path / "second.wav")
    _two_people(tmp_path / "duo.png")
    command = tmp_path / ".venv" / "bin" / "multitalk"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m multitalk_cli "$@"\n')
    command.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("block", _blocks(), ids=lambda block: block.split("\n")[0][:60])
def test_command_block_of_the_readme_runs(block, folder, monkeypatch, request):
    if "multitalk s3" in block:
        request.getfixturevalue("s3_client").create_bucket(Bucket="my-bucket")
    monkeypatch.setenv("PATH", str(folder / ".venv" / "bin"), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_readme_lists_every_error_code():
    assert renewed(TEXTS["README.md"]) == TEXTS["README.md"], "run: python -m tests.documents.codes"


def _imports(folder):
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [node.module]
            yield from (name.partition(".")[0] for name in names)


IMPORT_NAMES = {
    "huggingface-hub": "huggingface_hub",
    "pillow": "PIL",
    "imageio-ffmpeg": "imageio_ffmpeg",
}


def _declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return {re.match(r"[A-Za-z0-9_-]+", item)[0] for items in lists for item in items}


def test_every_dependency_is_imported_and_has_its_row():
    rows = re.findall(r"^\| ([a-z0-9-]+)(?: \(\w+\))? \| `", TEXTS["DEVELOPMENT.md"], re.MULTILINE)
    imported = {*_imports("multitalk_cli"), *_imports("remote")}
    assert sorted(rows) == sorted(_declared())
    assert not [name for name in _declared() if IMPORT_NAMES.get(name, name) not in imported]


def test_files_that_the_documents_name_exist():
    named = {
        match
        for text in TEXTS.values()
        for match in re.findall(r"`((?:multitalk_cli|remote|tests)/[\w./]+\.\w+)`", text)
    }
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]


def test_changelog_has_an_unreleased_part():
    assert "## [Unreleased]" in TEXTS["CHANGELOG.md"]


def test_links_between_the_documents_lead_somewhere():
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)\)", TEXTS["README.md"])
    assert links
    assert not [link for link in links if not Path(ROOT, link).exists()]
