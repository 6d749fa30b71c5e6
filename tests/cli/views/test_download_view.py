"""What `multitalk download` shows in the end."""

import pytest

from multitalk_cli.cli.views.download import lora_next
from multitalk_cli.weights.download import AddedLora

VOLUME = {"volume": "multitalk-weights", "app": "studio"}
FOLDER = {"weights_folder": "my weights"}


@pytest.mark.parametrize(
    ("name", "target", "options"),
    [
        ("lightx2v", VOLUME, "--preset fast --app studio"),
        ("fusionx", VOLUME, "--preset fast --lora fusionx --app studio"),
        ("lips", VOLUME, "--lora lips --app studio"),
        ("lips", FOLDER, "--lora lips --backend local --weights 'my weights/pack'"),
    ],
)
def test_a_lora_is_followed_by_a_command_that_uses_it(name, target, options):
    added = AddedLora(name=name, file="x", fetched_bytes=1, pack="my weights/pack", target=target)

    assert lora_next(added) == f"multitalk generate IMAGE VOICE {options}"
