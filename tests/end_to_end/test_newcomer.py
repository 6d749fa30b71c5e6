"""From nothing to a video: an empty home, the wheel, and only the commands that doctor prints."""

import re

import pytest

from multitalk_cli.media.video.probe import probe_video
from tests.documents.pages import PAGES, screens
from tests.end_to_end.product import ROOT, User
from tests.end_to_end.test_download import repos, served, tiny_site  # noqa: F401
from tests.modal_plane.cloud import TOKEN_ID, TOKEN_SECRET

MOST_COMMANDS = 5
FIRST_RUN = [*screens(PAGES["docs/first-run.md"])]


@pytest.fixture
def newcomer(cloud, tiny_site, served, tmp_path_factory):  # noqa: F811
    """Somebody with a portrait and a voice, without a token or anything else."""
    user = User(cloud, tiny_site, tmp_path_factory.mktemp("newcomer"))
    user.env["HF_ENDPOINT"] = served.url
    for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"):
        del user.env[name]
    for name in ("portrait.png", "voice.wav"):
        (user.folder / name).write_bytes((ROOT / "multitalk_cli/examples" / name).read_bytes())
    return user


def answered(command):
    """What a person adds to a printed command: names of files, a pair of keys, a yes."""
    words = command.replace("IMAGE", "portrait.png").replace("VOICE", "voice.wav").split()
    more = {
        "login": ["--stdin"],
        "download": ["--yes"],
        "generate": ["--size", "32x32", "--steps", "10"],
    }
    return [*words[1:], *more.get(words[1], [])]


@pytest.mark.long
def test_the_next_command_leads_from_nothing_to_a_video(newcomer):
    commands = []
    while len(commands) < MOST_COMMANDS and not (newcomer.folder / "voice.mp4").exists():
        looked = newcomer.run("doctor", "--json")
        assert looked.code == (0 if looked.data["video_ready"] else 4)
        commands.append(looked.data["next"])
        ran = newcomer.run(*answered(commands[-1]), stdin=f"{TOKEN_ID}\n{TOKEN_SECRET}\n")
        assert ran.code == 0, ran.stderr

    assert [command.split()[1] for command in commands] == ["login", "download", "generate"]
    assert probe_video(newcomer.folder / "voice.mp4").frames == 75


# docs/first-run.md


def label(line):
    """The first word; of a part of the model its name and limit, which no machine changes."""
    part = re.match(r"([\w, -]+?) {2,}.*?([\d.]+)  (?:ok|not run)$", line)
    return part.groups() if part else line.split()[0]


def not_shown(lines, printed):
    """The lines of a screen that do not come among those printed, in their order."""
    rest = iter([label(line) for line in printed if line.strip()])
    return [line for line in lines if line.strip(". ") and label(line) not in rest]


@pytest.mark.long
def test_the_first_hour_shows_what_its_page_says(cloud, newcomer):
    cloud.reset()
    assert len(FIRST_RUN) == 8
    for command, lines in FIRST_RUN:
        words = answered(command)
        words += ["--yes"] if words[0] == "doctor" and len(words) > 1 else []
        ran = newcomer.run(*words, stdin=f"{TOKEN_ID}\n{TOKEN_SECRET}\n")
        assert ran.code == 0, ran.stderr
        shown = [
            line.replace("/home/you", str(newcomer.folder))
            for line in lines
            if not line.startswith(("Continue?", "Deploy multitalk"))
        ]
        assert not_shown(shown, f"{ran.stderr}\n{ran.stdout}".splitlines()) == [], command
