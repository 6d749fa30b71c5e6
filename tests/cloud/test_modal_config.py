"""Modal's own settings, read as Modal reads them but without importing it."""

import subprocess
import sys

import modal.config
import pytest

from multitalk_cli.cloud import modal_config, network
from multitalk_cli.cloud.errors import AppRef, modal_errors
from multitalk_cli.errors import SetupError


@pytest.fixture(autouse=True)
def _no_account(monkeypatch, tmp_path):
    for name in ("TOKEN_ID", "TOKEN_SECRET", "SERVER_URL", "PROFILE", "CONFIG_PATH"):
        monkeypatch.delenv(f"MODAL_{name}", raising=False)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "modal.toml"))


@pytest.fixture
def stored(tmp_path):
    """Writes Modal's file."""
    return (tmp_path / "modal.toml").write_text


WHOLE = 'token_id = "ak-1"\ntoken_secret = "as-1"\n'


def test_nothing_is_no_token():
    assert not modal_config.has_token()
    with pytest.raises(SetupError) as caught:
        modal_config.require_token()
    assert caught.value.code == "E_NO_TOKEN"


def test_variables_are_a_token(monkeypatch):
    monkeypatch.setenv("MODAL_TOKEN_ID", "ak-1")
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "as-1")

    assert modal_config.has_token()


def test_half_a_token_is_named_and_not_shown(monkeypatch):
    monkeypatch.setenv("MODAL_TOKEN_ID", "ak-secret")

    with pytest.raises(SetupError, match="lacks its token_secret") as caught:
        modal_config.has_token()
    assert (caught.value.code, "ak-secret" in caught.value.message) == ("E_TOKEN", False)
    assert caught.value.facts == {"unset": ("MODAL_TOKEN_ID",)}


def test_an_empty_variable_hides_a_stored_token_as_it_does_for_modal(stored, monkeypatch):
    stored(f"[default]\n{WHOLE}")
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "")

    with pytest.raises(SetupError) as caught:
        modal_config.has_token()
    assert caught.value.code == "E_NO_TOKEN"
    assert caught.value.facts == {"unset": ("MODAL_TOKEN_SECRET",)}


@pytest.mark.parametrize(
    ("text", "profile", "expected"),
    [
        (f"[work]\nactive = true\n{WHOLE}", "", True),
        (f"[work]\n{WHOLE}", "work", True),
        (f"[default]\n{WHOLE}", "", True),
        ("", "", False),
    ],
)
def test_the_section_that_modal_uses_counts(stored, monkeypatch, text, profile, expected):
    stored(text)
    monkeypatch.setenv("MODAL_PROFILE", profile)

    assert modal_config.has_token() is expected


def test_a_stored_token_with_a_line_end_is_refused_and_not_shown(stored):
    stored('[default]\ntoken_id = "ak-1"\ntoken_secret = "as-1\\n"\n')

    with pytest.raises(
        SetupError, match=r"token_secret in .* has a line end at position 5 of 5"
    ) as caught:
        modal_config.has_token()
    assert (caught.value.code, "as-1" in caught.value.message) == ("E_TOKEN", False)
    assert modal_config.stored_tokens() == ["ak-1", "as-1\n"]


def test_a_broken_file_is_named(stored):
    stored("no toml [")

    with pytest.raises(SetupError, match=r"modal\.toml is not valid TOML.* line 1") as caught:
        modal_config.has_token()
    assert caught.value.code == "E_MODAL_CONFIG"


TWO = f"[work]\n{WHOLE}[home]\n{WHOLE}"
NOT_ACTIVE = {"variable": "MODAL_PROFILE", "value": "work"}


@pytest.mark.parametrize(
    ("text", "profile", "message", "facts"),
    [
        (f"[work]\n{WHOLE}", "", 'no profile is active: .* has "work"', NOT_ACTIVE),
        (TWO, "", 'has no active profile, only "work", "home"', NOT_ACTIVE),
        (TWO, "wrok", 'MODAL_PROFILE is .wrok., but .* has "work", "home"', NOT_ACTIVE),
        (f"{TWO}active = true", "xyz", "MODAL_PROFILE is .xyz.", {"unset": ("MODAL_PROFILE",)}),
        (f"[a]\nactive = true\n{TWO}active = true", "", 'several active profiles: "a", "home"',
         {"needs_login": True}),
        (WHOLE, "", "token_id, token_secret must be in a section", None),
    ],
)  # fmt: skip
def test_profiles_that_modal_would_not_use_are_named(
    stored, monkeypatch, text, profile, message, facts
):
    stored(text)
    monkeypatch.setenv("MODAL_PROFILE", profile)

    with pytest.raises(SetupError, match=message) as caught:
        modal_config.has_token()
    assert (caught.value.code, int(caught.value.exit_code)) == ("E_MODAL_CONFIG", 4)
    assert facts is None or caught.value.facts == facts
    assert modal_config.stored_tokens() == (
        [] if facts is None else ["ak-1", "as-1"] * text.count("ak")
    )


@pytest.mark.parametrize(
    ("address", "flaw", "corrected"),
    [
        ("api.modal.com", "an address has the form", "https://api.modal.com"),
        ("localhost:99", "an address has the form", "https://localhost:99"),
        ("ftp://host", "an address has the form", "https://host"),
        ("http://", "an address has the form", None),
        ("https://api..com", "an address has the form", None),
        ("https://host:99999", "a port is a number", None),
        ("https://host:abc", "a port is a number", None),
        ("https://host:0", "a port is a number", None),
        ("https://[::1", "a port is a number", None),
        ("https://one,two", "an address has the form", "https://two"),
    ],
)
def test_an_address_that_is_none_is_named_with_one_that_is(
    stored, monkeypatch, address, flaw, corrected
):
    monkeypatch.setenv("MODAL_SERVER_URL", address)
    with pytest.raises(SetupError, match=f"^MODAL_SERVER_URL is .*{flaw}") as in_variable:
        network.require_network()
    monkeypatch.delenv("MODAL_SERVER_URL")
    stored(f'[default]\nserver_url = "{address}"\n{WHOLE}')
    with pytest.raises(SetupError, match=rf"^server_url in .*modal\.toml is .*{flaw}") as in_file:
        network.require_network()

    assert {in_variable.value.code, in_file.value.code} == {"E_MODAL_CONFIG"}
    expected = corrected if corrected else modal_config.DEFAULT_SERVER_URL
    assert in_file.value.facts == {"variable": "MODAL_SERVER_URL", "value": expected}
    assert in_variable.value.facts == (
        in_file.value.facts if corrected else {"unset": ("MODAL_SERVER_URL",)}
    )


def test_a_password_in_an_address_is_not_shown(monkeypatch):
    monkeypatch.setenv("MODAL_SERVER_URL", "https://me:pass@host:abc")

    with pytest.raises(SetupError) as caught:
        modal_config.server_url()
    assert "pass" not in caught.value.message


def test_several_addresses_are_read_as_modal_does(monkeypatch):
    monkeypatch.setenv("MODAL_SERVER_URL", "https://api.modal.com, https://api.modal2.com")

    assert modal_config.server_urls() == ["https://api.modal.com", "https://api.modal2.com"]
    monkeypatch.delenv("MODAL_SERVER_URL")
    assert modal_config.server_urls() == modal.config.DEFAULT_SERVER_URL.split(",")


def test_the_address_comes_from_the_variable_then_the_file(stored, monkeypatch):
    assert modal_config.server_url() == "https://api.modal.com"
    stored(f'[work]\nactive = true\nserver_url = "https://example.test"\n{WHOLE}')
    assert modal_config.server_url() == "https://example.test"
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")
    assert modal_config.server_url() == "http://127.0.0.1:9"


def test_modal_is_not_imported_to_look_for_a_token():
    code = (
        "import sys; from multitalk_cli.cloud import modal_config, client;"
        "modal_config.has_token();"
        "print([name for name in sys.modules if name.partition('.')[0] in ('modal', 'torch')])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_the_app_is_defined_without_a_token_and_without_torch():
    code = (
        "import sys; import remote.app as app; assert 'torch' not in sys.modules;"
        "print(app.TIMEOUT_S, sorted(app.images))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout == "43200 ['current']\n", done.stderr


def test_a_token_that_is_no_text_is_refused_without_being_printed(stored):
    stored('[default]\ntoken_id = 51342\ntoken_secret = "as-1"\n')

    with pytest.raises(SetupError, match=r"token_id in .* must be text in quotes") as caught:
        modal_config.has_token()

    assert caught.value.code == "E_TOKEN"
    assert "51342" not in caught.value.message


# What people meet


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path.mkdir(), "it is a folder, as Docker makes for a missing file"),
        (lambda path: path.write_text(f"\ufeff[default]\n{WHOLE}"), "a byte order mark"),
    ],
    ids=["folder", "notepad"],
)
def test_a_file_that_is_none_is_put_aside(tmp_path, make, problem):
    make(tmp_path / "modal.toml")

    with pytest.raises(SetupError, match=problem) as caught:
        modal_config.has_token()
    assert caught.value.code == "E_MODAL_CONFIG"
    assert caught.value.facts == {"broken_file": str(tmp_path / "modal.toml")}


@pytest.mark.parametrize(
    ("name", "wrong", "right", "said"),
    [
        ("loglevel", "verbose", "debug", "DEBUG, INFO, WARNING or ERROR"),
        ("log_format", "json", "string", "python-json-logger"),
        ("heartbeat_interval", "soon", "2.5", "a number of seconds"),
    ],
)
def test_a_setting_with_which_modal_cannot_be_imported_is_named(
    stored, monkeypatch, name, wrong, right, said
):
    variable = f"MODAL_{name.upper()}"
    monkeypatch.setattr(modal_config, "find_spec", lambda _name: None)
    monkeypatch.setenv(variable, wrong)
    with pytest.raises(SetupError, match=f"^{variable} is '{wrong}', and must be .*{said}") as both:
        modal_config.require_settings()
    assert both.value.facts == {"unset": (variable,)}
    monkeypatch.setenv(variable, right)
    modal_config.require_settings()

    monkeypatch.delenv(variable)
    stored(f'[default]\n{WHOLE}{name} = "{wrong}"\n')
    with pytest.raises(SetupError, match=rf"^{name} in .*modal\.toml is '{wrong}'") as in_file:
        modal_config.require_settings()
    assert in_file.value.facts == {"unset": ()}


def test_a_setting_that_modal_refuses_later_is_no_refusal_of_its_server(monkeypatch):
    monkeypatch.setenv("MODAL_MAX_THROTTLE_WAIT", "1.5")

    with pytest.raises(SetupError) as caught, modal_errors(AppRef(app="a", environment="")):
        modal.config.config.get("max_throttle_wait")

    assert (caught.value.code, caught.value.facts) == (
        "E_MODAL_CONFIG",
        {"unset": ("MODAL_MAX_THROTTLE_WAIT",)},
    )
    assert "max_throttle_wait" in caught.value.message


def test_a_token_beside_oauth_is_refused_as_modal_does(stored, monkeypatch):
    stored(f"[default]\n{WHOLE}")
    monkeypatch.setenv("MODAL_OAUTH_REFRESH_TOKEN", "rt-1")
    monkeypatch.setenv("MODAL_OAUTH_CLIENT_ID", "oc-1")

    with pytest.raises(SetupError, match="Modal takes one of them") as caught:
        modal_config.has_token()

    assert (caught.value.code, caught.value.facts) == (
        "E_MODAL_CONFIG",
        {"unset": ("MODAL_OAUTH_REFRESH_TOKEN", "MODAL_OAUTH_CLIENT_ID")},
    )


def test_variables_that_modal_does_not_read_are_named(monkeypatch):
    monkeypatch.setenv("MODAL_TOKEN", "ak-1")
    monkeypatch.setenv("MODAL_SECRET", " as-1")

    with pytest.raises(
        SetupError, match=r"^MODAL_TOKEN and MODAL_SECRET hold a token, but"
    ) as said:
        modal_config.require_token()

    assert (said.value.code, "-1" in said.value.message) == ("E_NO_TOKEN", False)
