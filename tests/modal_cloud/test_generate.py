"""A video from the cloud: the installed command, the real client, the real container runtime."""

import json

import pytest

from multitalk_cli import contract
from multitalk_cli.media.recipe import read_recipe
from multitalk_cli.media.video import probe_video
from tests.modal_cloud.product import CLASS, state_of


def test_a_picture_and_a_voice_become_a_video(cloud, deployed, rpcs):
    voice = deployed.speech("first.wav", 0.5)

    ran = deployed.run(*deployed.generate(voice, "--seed", 5))

    assert (ran.code, ran.stdout) == (0, f"{deployed.folder / 'first.mp4'}\n"), ran.stderr
    info = probe_video(deployed.folder / "first.mp4")
    assert (info.width, info.height, info.fps, info.frames) == (32, 32, 24, 12)
    assert rpcs.count("FunctionMap") == 1
    recipe = read_recipe(deployed.folder / "first.mp4")
    assert (recipe["seed"], recipe["backend"]) == (5, "modal")
