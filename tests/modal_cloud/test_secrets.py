"""Secrets of the account: which keys they have, and `multitalk setup-secrets`."""

import modal
import pytest

from multitalk_cli import cloud_secrets
from multitalk_cli.cloud import Place
from multitalk_cli.errors import FileError, SetupError

HERE = Place(app="multitalk", environment="")
KEYS = ("A", "B", "C")


@pytest.fixture(autouse=True)
def _no_secrets(cloud):
    """Every test begins without secrets."""
    assert cloud.url
    yield
    for secret in modal.Secret.objects.list():
        modal.Secret.objects.delete(secret.name)


def test_keys_are_asked_one_by_one():
    modal.Secret.objects.create("some", {"A": "1", "C": "3"})

    assert cloud_secrets.kept_keys(HERE, "some", KEYS) == {"A", "C"}
    assert cloud_secrets.kept_keys(HERE, "other", KEYS) is None


def test_an_environment_has_secrets_of_its_own(cloud):
    cloud.add_environment("staging")
    staging = Place(app="multitalk", environment="staging")

    cloud_secrets.create(staging, "some", {"A": "1"})

    assert cloud_secrets.kept_keys(HERE, "some", KEYS) is None
    assert cloud.secret("some", "staging") == {"A": "1"}
    cloud_secrets.require_environment(staging)
    with pytest.raises(SetupError, match="there is no Modal environment 'nowhere'"):
        cloud_secrets.require_environment(Place(app="multitalk", environment="nowhere"))


def test_a_secret_is_made_merged_and_made_anew(cloud):
    cloud_secrets.create(HERE, "some", {"A": "1", "B": "2"})
    with pytest.raises(FileError, match="the Modal secret some exists"):
        cloud_secrets.create(HERE, "some", {"A": "9"})

    cloud_secrets.merge(HERE, "some", {"B": "3"})
    assert cloud.secret("some") == {"A": "1", "B": "3"}

    cloud_secrets.replace(HERE, "some", {"C": "4"})
    assert cloud.secret("some") == {"C": "4"}
