"""The control plane, its ways in, and calls that go well."""

import modal
import pytest

from tests.modal_cloud.sample import APP, deploy


@pytest.fixture(scope="module")
def deployed(cloud, client_home):
    """The sample app, deployed once."""
    done = deploy(cloud, cloud.environment(client_home))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def engine(deployed):
    """One warm container's class."""
    return modal.Cls.from_name(APP, "Engine")()


def test_call_runs_in_a_container(engine):
    answer = engine.inspect.remote({"n": 1})
    print(answer)
