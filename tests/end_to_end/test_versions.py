"""Two versions of the product over one account: deployed one over the other, and mixed."""

import shutil

import pytest

from multitalk_cli import __version__, contract
from tests.end_to_end.product import ROOT, User, install, upload_pack

OLDER = "0.0.9"
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "multitalk_cli", "remote")


@pytest.fixture(scope="module")
def older_site(tmp_path_factory):
    """The wheel of an older version, which speaks an older contract."""
    tree = tmp_path_factory.mktemp("older")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    _replace(tree / "multitalk_cli" / "__init__.py", __version__, OLDER)
    now = f"CONTRACT_VERSION = {contract.CONTRACT_VERSION}"
    _replace(tree / "multitalk_cli" / "contract" / "wire.py", now, "CONTRACT_VERSION = 0")
    return install(tree / "dist", tree)


def _replace(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="module")
def older(cloud, older_site, tmp_path_factory):
    """Somebody who has not upgraded, in the same account."""
    other = User(cloud, older_site, tmp_path_factory.mktemp("older-user"))
    shutil.copy(ROOT / "multitalk_cli" / "examples" / "portrait.png", other.folder / "host.png")
    return other


def test_an_upgrade_is_deployed_over_what_is_there(cloud, user, older, tiny_pack, rpcs):
    upload_pack(tiny_pack)
    assert older.run("deploy", "--quiet").code == 0
    assert older.run("status", "--json").data["deployed"]["client"] == OLDER
    words = user.generate(user.speech("new.wav", 0.3), "--json")

    # The older deployment and the newer client.
    refused = user.run(*words)

    assert (refused.code, refused.error["code"]) == (4, "E_CONTRACT")
    assert refused.error["message"] == (
        f"the deployed app (version {OLDER}) speaks contract 0, this client (version "
        f"{__version__}) speaks {contract.CONTRACT_VERSION}"
    )
    assert refused.error["hint"] == "multitalk deploy"
    assert rpcs.count("FunctionMap") == 0

    # The command of the message helps, and keeps the weights.
    before = cloud.state.app("", contract.APP_NAME)
    version, functions = before.version, dict(before.function_ids)
    assert user.run("deploy", "--quiet").code == 0
    made = user.run(*words)

    assert made.code == 0, made.stderr
    after = cloud.state.app("", contract.APP_NAME)
    assert (after.version, dict(after.function_ids)) == (version + 1, functions)
    assert user.run("status", "--json").data["deployed"]["client"] == __version__


def test_a_client_that_was_not_upgraded_is_told(user, older, rpcs):
    assert user.run("deploy", "--quiet").code == 0

    refused = older.run(*older.generate(older.speech("old.wav", 0.3), "--json"))

    assert (refused.code, refused.error["code"]) == (4, "E_CONTRACT")
    assert f"the deployed app (version {__version__}) speaks" in refused.error["message"]
    assert rpcs.count("FunctionMap") == 0
