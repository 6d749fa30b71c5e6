"""The documents say what the code does: every command block runs, every table is the code's."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

from multitalk_cli import contract, settings
from multitalk_cli.contract.weights_task import PACK_BYTES, PUBLISHED_BYTES
from multitalk_cli.doctor import gpu, model
from multitalk_cli.errors import ExitCode
from multitalk_cli.media.audio.voice import SILENT_DBFS
from multitalk_cli.planning import rates
from multitalk_cli.reporting.formatting import human_bytes, human_money, human_rate
from tests.documents.codes import README, ROOT, TABLES, renewed, tables_in
from tests.documents.pages import (
    PAGES,
    blocks,
    broken_links,
    commands,
    named_options,
    screens,
)
from tests.tools.commands import all_commands, all_options, problems

TEXTS = {path.name: path.read_text(encoding="utf-8") for path in ROOT.glob("*.md")}
EXAMPLES = ROOT / "multitalk_cli" / "examples"
MOST_README_BYTES = 12_000

# Blocks that make an environment, fetch the weights or need an account have tests of their own.
ELSEWHERE = (
    "make ",
    "multitalk bench",
    "pipx ",
    "multitalk login",
    "multitalk download",
    "multitalk jobs",
    "multitalk setup-secrets",
    "multitalk status",
    "multitalk generate s3://",
)


def _blocks():
    return {
        f"{page}: {block.splitlines()[0]}": block
        for page, text in PAGES.items()
        for block in blocks(text)
        if not block.startswith(ELSEWHERE)
    }


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


@pytest.fixture
def cli_process(monkeypatch):
    """Runs a command of a page in a folder, as a shell does."""

    def run(folder, command):
        monkeypatch.setenv("PATH", str(folder / ".venv" / "bin"), prepend=":")
        monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.shell
@pytest.mark.parametrize("name", _blocks())
def test_command_block_of_a_page_runs(name, folder, cli_process, request, monkeypatch):
    block = _blocks()[name]
    # A quarter of the pixels is as good an example.
    monkeypatch.setenv("MULTITALK_SIZE", "192x96")
    if "multitalk s3" in block:
        request.getfixturevalue("s3_client").create_bucket(Bucket="my-bucket")
    done = cli_process(folder, block)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_generated_tables_of_a_page_are_those_of_the_code(page):
    assert renewed(PAGES[page]) == PAGES[page], "run: python -m tests.documents.codes"


def test_every_generated_table_stands_once():
    assert sorted(name for text in PAGES.values() for name in tables_in(text)) == sorted(TABLES)


def _imports(folder):
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [node.module]
            yield from (name.partition(".")[0] for name in names)


IMPORT_NAMES = {
    "huggingface-hub": "huggingface_hub",
    "pi-heif": "pi_heif",
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


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page):
    assert "](" in PAGES[page]
    assert not list(broken_links(page))


def test_readme_links_every_page():
    links = set(re.findall(r"\]\((docs/[^)#]+)", PAGES["README.md"]))
    assert links == set(PAGES) - {"README.md"}


def test_readme_is_short():
    assert README.stat().st_size <= MOST_README_BYTES


def test_source_distribution_holds_the_pages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {"README.md", "docs", "assets"} <= set(included)


# Commands and options


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_exist(page):
    assert not [found for line in commands(PAGES[page]) for found in problems(line)]


@pytest.mark.parametrize("page", PAGES)
def test_options_of_a_page_exist(page):
    assert not named_options(PAGES[page]) - all_options()


def test_pages_show_every_command():
    shown = " ".join(line for text in PAGES.values() for line in commands(text))
    assert not [words for words in all_commands() if f"multitalk {words}" not in shown]


def test_no_page_installs_a_package_of_another_name():
    assert not [
        page for page, text in PAGES.items() if re.search(r"install multitalk\b(?!-)", text)
    ]


def test_pages_call_the_inputs_image_and_voice():
    assert not [page for page, text in PAGES.items() if "PICTURE" in text]


# Facts


def test_readme_names_the_money_that_an_idle_container_costs():
    table = rates.load()
    a_second = table.price_per_s_usd(table.gpu("h100"))
    text = " ".join(PAGES["README.md"].split())
    assert f"a minute costs {human_rate(60 * a_second)}" in text
    assert f"until {table.idle.scaledown_s:g} seconds after its last job" in text
    assert f"idle seconds cost {human_money(table.idle.scaledown_s * a_second)}" in text
    assert f"after each job ({human_money(15 * 60 * a_second)} on an H100)" in text


def _constant_of_the_app(name):
    """A number that `remote/app.py` gives a name; importing it would build container images."""
    source = (ROOT / "remote" / "app.py").read_text(encoding="utf-8")
    return re.search(rf"^{name} = (.+)$", source, re.MULTILINE)[1]


def test_pages_name_the_limits_that_are_deployed():
    assert _constant_of_the_app("SCALEDOWN_S") == f"{rates.load().idle.scaledown_s:g} * SECONDS"
    assert f"At most {_constant_of_the_app('MAX_CONTAINERS')} containers" in PAGES["README.md"]
    a_second = rates.load().prices
    cores = float(_constant_of_the_app("CPU_CORES"))
    gib = int(_constant_of_the_app("CPU_MEMORY_MIB").removesuffix(" * 1024"))
    a_minute = 60 * (cores * a_second.core_per_s_usd + gib * a_second.gib_per_s_usd)
    assert f"without a GPU ({human_rate(a_minute)} a minute)" in PAGES["docs/s3.md"]


def test_pages_name_the_most_that_a_call_costs():
    hours = int(_constant_of_the_app("TIMEOUT_S").removesuffix(" * HOURS"))
    table = rates.load()
    most_usd = hours * 3600 * table.price_per_s_usd(table.gpu("h100"))
    assert f"lasts {hours} hours at most" in PAGES["docs/jobs.md"]
    assert f"about ${most_usd:.0f} at most" in PAGES["docs/jobs.md"]


def test_pages_name_the_limits_of_the_inputs():
    text = PAGES["docs/input.md"]
    assert (
        f"From {contract.MIN_SPEECH_S:g} seconds to {contract.MAX_SPEECH_S / 60:g} minutes" in text
    )
    assert f"below {SILENT_DBFS:g} dBFS" in text
    sides = f"from {contract.MIN_SIDE_PX} to {contract.MAX_SIDE_PX} pixels"
    assert f"multiple of {contract.SIDE_MULTIPLE_PX} {sides}" in text


def test_every_exit_code_has_a_row():
    rows = re.findall(r"^\| ([\d, ]+) \|", PAGES["docs/scripts.md"], re.MULTILINE)
    assert {int(code) for row in rows for code in row.split(",")} == {*map(int, ExitCode), 143}


# Screens


def _without_chance(line):
    """A line without what differs from run to run."""
    line = re.sub(r"seed \d+", "seed N", line)
    return re.sub(r"^/.*/", "/", re.sub(r"[\d.]+ kB", "N kB", line))


def test_screen_of_the_preview_is_what_is_printed(folder, cli_process):
    (command, lines), *_ = screens(PAGES["README.md"])
    assert "--backend preview" in command
    ran = cli_process(folder, command)
    assert ran.returncode == 0, ran.stderr
    # A busy machine takes long enough to say how far it is.
    said = [line for line in ran.stderr.splitlines() if not line.startswith("drawing ")]
    printed = [*said, *ran.stdout.splitlines()]
    assert [*map(_without_chance, lines)] == [*map(_without_chance, printed)]


def test_screen_of_the_video_estimates_as_the_preview_does():
    prices = [
        re.search(r"\$.*", line)[0]
        for command, lines in screens(PAGES["README.md"])
        if command.startswith("multitalk generate")
        for line in lines
        if line.startswith("price ")
    ]
    assert len(prices) == 2
    assert prices[0] == prices[1]


def test_the_first_run_names_the_prices_that_are_asked_for():
    text, chosen = PAGES["docs/first-run.md"], settings.load_settings()
    asked = [gpu.question(chosen), model.question(chosen)]
    for question in asked:
        _, duration, price = question.rsplit(", ", 2)
        assert f"\n{question}\n" in text
        assert f"| {duration} | {price} |" in text
    video = re.search(
        r"price +(\S+ to \S+) on .* \((.*)\)", PAGES["README.md"].partition("job  ")[0]
    )
    assert f"| {video[2]} | {video[1]} |" in text


def _size_texts():
    """Every page, help page and message of the client."""
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("multitalk_cli/**/*.py")]:
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_the_size_of_the_published_weights_is_the_same_everywhere():
    whole, pack = human_bytes(PUBLISHED_BYTES), human_bytes(PACK_BYTES)
    named = [
        (name, size)
        for name, text in _size_texts()
        # Neither a GPU's memory, nor free space, nor a speed.
        for size in re.findall(r"\b(?:[89]\d|5[01])(?:\.\d)? GB(?!/s)", text)
        if name != "DEVELOPMENT.md"
    ]

    assert {size for _, size in named} == {whole, pack}
    assert {"README.md", "docs/local.md", "docs/modal.md"} <= {name for name, _ in named}
    assert "multitalk_cli/cli/commands/download.py" in {name for name, _ in named}
