"""Fixtures: one control plane a session, forgotten between modules, calm between tests."""

import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OUR_PACKAGES = ("multitalk_cli", "remote")


def _local_copies() -> tuple[str, ...]:
    """Folders with our packages on this machine: a container must only see what was deployed."""
    folders = {Path(place).resolve() / name for place in sys.path for name in OUR_PACKAGES}
    if not Path(sys.prefix).is_relative_to(ROOT):
        folders.add(ROOT)
    return tuple(sorted(str(folder) for folder in folders if folder.is_dir()))


@pytest.fixture(scope="session")
def cloud_server():
    """The control plane itself."""
    from tests.modal_plane.cloud import Cloud
    from tests.modal_plane.namespaces import needs_user_namespace

    user_namespace = needs_user_namespace()
    if user_namespace is None:
        pytest.skip("needs the right to make mount namespaces, for containers")
    cloud = Cloud(user_namespace=user_namespace, hidden=_local_copies())
    cloud.start()
    yield cloud
    cloud.stop()


@pytest.fixture(scope="module")
def cloud(cloud_server, tmp_path_factory):
    """An empty control plane for a module; `modal` in this process talks to it as well."""
    cloud_server.reset()
    patch = pytest.MonkeyPatch()
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith(("MODAL_", "AWS_"))]:
        patch.delenv(name)
    for name, value in cloud_server.environment(home).items():
        if name.startswith("MODAL_"):
            patch.setenv(name, value)
    yield cloud_server
    cloud_server.reset()
    patch.undo()


@pytest.fixture(autouse=True)
def _calm(request):
    """After each test: faults are lifted; no procedure was missing, nothing broke inside."""
    yield
    if "cloud_server" not in request.fixturenames:
        return
    cloud = request.getfixturevalue("cloud_server")
    cloud.calm()
    problems = [*cloud.rpcs.unimplemented, *cloud.worker.problems]
    cloud.rpcs.unimplemented.clear()
    cloud.worker.problems.clear()
    assert not problems


@pytest.fixture
def idle_at_end(cloud):
    """Each test ends with idle containers."""
    yield
    cloud.calm()
    cloud.wait_until_idle()


@pytest.fixture
def rpcs(cloud):
    """The log of remote procedure calls, empty at the start of the test."""
    cloud.rpcs.clear()
    return cloud.rpcs


@pytest.fixture(scope="module")
def client_home(tmp_path_factory):
    """A home folder for the module's clients."""
    return tmp_path_factory.mktemp("client")


@pytest.fixture
def client_env(cloud, client_home):
    """A whole environment for a client's process."""
    return cloud.environment(client_home)


@pytest.fixture(scope="module")
def sample_app(cloud, client_home):
    """The sample app, deployed once in the module; gives what the deploy printed."""
    from tests.modal_plane.sample import deploy

    done = deploy(cloud, cloud.environment(client_home))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sample_class(sample_app):
    """The sample's class; calls from this process carry cbor, as our own do."""
    import modal

    from tests.modal_plane.sample import APP

    assert "App deployed" in sample_app
    patch = pytest.MonkeyPatch()
    patch.setenv("MODAL_PAYLOAD_FORMAT", "cbor")
    yield modal.Cls.from_name(APP, "Engine")
    patch.undo()


@pytest.fixture(scope="module")
def sample_engine(sample_class):
    """An object of the sample's class, whose container stays warm during the module."""
    return sample_class()


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The installed wheel."""
    from tests.end_to_end.product import install

    return install(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def tiny_pack(golden_dir, tmp_path_factory):
    """Weights that a CPU is quick with."""
    from tests.remote.requests import write_tiny_pack

    return write_tiny_pack(golden_dir, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def user(cloud, site, tmp_path_factory):
    """A user with a portrait, before any set-up."""
    from tests.end_to_end.product import User

    user = User(cloud, site, tmp_path_factory.mktemp("user"))
    shutil.copy(ROOT / "multitalk_cli" / "examples" / "portrait.png", user.folder / "host.png")
    return user


@pytest.fixture(scope="module")
def deployed(user, tiny_pack):
    """A user who has deployed, with weights in the account."""
    from tests.end_to_end.product import upload_pack

    ran = user.run("deploy")
    assert ran.code == 0, ran.stderr
    upload_pack(tiny_pack)
    return user
