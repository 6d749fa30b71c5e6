"""From nothing to a video: an empty home, the wheel, and only the commands that doctor prints."""

import pytest

from multitalk_cli.media.video.probe import probe_video
from tests.end_to_end.product import ROOT, User
from tests.end_to_end.test_download import repos, served, tiny_site  # noqa: F401
from tests.modal_plane.cloud import TOKEN_ID, TOKEN_SECRET

MOST_COMMANDS = 5


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


def test_the_next_command_leads_from_nothing_to_a_video(newcomer):
    commands = []
    while len(commands) < MOST_COMMANDS and not (newcomer.folder / "voice.mp4").exists():
        looked = newcomer.run("doctor", "--json")
        assert looked.code == (0 if looked.data["video_ready"] else 4)
        commands.append(looked.data["next"])
        ran = newcomer.run(
            *answered(commands[-1]), stdin=f"{TOKEN_ID}\n{TOKEN_SECRET}\n", timeout_s=90
        )
        assert ran.code == 0, ran.stderr

    assert [command.split()[1] for command in commands] == [
        "login", "deploy", "download", "generate",
    ]  # fmt: skip
    assert probe_video(newcomer.folder / "voice.mp4").frames == 75
