"""Weights from a hub into the account: the installed command, the real client, real containers.

The product is that of a model of tiny sizes: one line is appended to its table of sizes.
"""

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from multitalk_cli import contract
from multitalk_cli.media.video import probe_video
from remote.engine import checkpoint
from remote.fetching import WAN, WAV2VEC
from tests.engine import tiny
from tests.engine.published import write_published_checkpoint
from tests.modal_cloud.product import User
from tests.remote.fakehub import published_repos, serving

SHARD = "diffusion_pytorch_model-00001-of-00002.safetensors"
PADDED = "preprocessor_config.json"
PADDING_BYTES = 6_000_000
"""So that what is on its way when something is killed weighs little."""


@pytest.fixture(scope="module")
def repos(golden_dir, tmp_path_factory):
    source = write_published_checkpoint(golden_dir, tmp_path_factory.mktemp("published"))
    repos = published_repos(source)
    # Blanks are JSON as well.
    repos[WAV2VEC][PADDED] = repos[WAV2VEC].get(PADDED, b"{}") + b" " * PADDING_BYTES
    return repos


@pytest.fixture(scope="module")
def tiny_site(site, golden_dir, tmp_path_factory):
    """The product with the tiny checkpoint's sizes."""
    copy = tmp_path_factory.mktemp("tiny-site") / "site"
    shutil.copytree(site, copy)
    sizes = json.dumps(tiny.tiny_model_config(golden_dir).to_dict())
    with (copy / "remote" / "engine" / "config.py").open("a") as file:
        file.write(f"\n\nimport json\nPUBLISHED = ModelConfig.from_dict(json.loads({sizes!r}))\n")
    return copy


@pytest.fixture(scope="module")
def hub(repos):
    with serving(repos) as served:
        yield served


@pytest.fixture
def user(cloud, tiny_site, hub, tmp_path):
    """A user of the account, on a machine of their own."""
    user = User(cloud, tiny_site, tmp_path / "user")
    user.env["HF_ENDPOINT"] = hub.url
    portrait = Path(__file__).resolve().parents[2] / "multitalk_cli/examples/portrait.png"
    shutil.copy(portrait, user.folder / "host.png")
    return user


def test_before_deploy_to_a_video(user, cloud, hub):
    ran = user.run("download", "--yes", "--json", timeout_s=90)
    assert ran.code == 0, ran.stderr
    print(ran.stderr, ran.data)
    files = cloud.volume(contract.WEIGHTS_VOLUME).files()
    print({name: len(data) for name, data in files.items()})
    made = user.run(*user.generate(user.speech("first.wav", 0.5), "--seed", 5))
    assert made.code == 0, made.stderr
    assert probe_video(user.folder / "first.mp4").frames == 12
