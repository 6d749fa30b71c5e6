"""Settings: where each value comes from, and what is refused."""

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitalk_cli import settings
from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.settings import SETTINGS, find_setting, load_settings, save_setting


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def user_file():
    path = settings.user_file()
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def project_file(folder):
    return folder / "multitalk.toml"


# Where a value comes from


def test_everything_has_a_default():
    loaded = load_settings()

    assert [setting.name for setting, _ in loaded.items()] == list(SETTINGS)
    assert {value.origin for _, value in loaded.items()} == {"default"}
    assert loaded["fps"] == 24


def test_the_stronger_place_wins(user_file, project_file, monkeypatch):
    seen = []
    user_file.write_text("fps = 10")
    seen.append((load_settings()["fps"], load_settings().origin("fps")))
    project_file.write_text("fps = 11")
    seen.append((load_settings()["fps"], load_settings().origin("fps")))
    monkeypatch.setenv("MULTITALK_FPS", "12")
    seen.append((load_settings()["fps"], load_settings().origin("fps")))
    flagged = load_settings({"fps": 13})
    seen.append((flagged["fps"], flagged.origin("fps")))

    assert seen == [
        (10, str(user_file)),
        (11, "multitalk.toml"),
        (12, "MULTITALK_FPS"),
        (13, "--fps"),
    ]


def test_a_file_with_a_byte_order_mark_is_read_and_written(project_file):
    project_file.write_text("fps = 11\n", encoding="utf-8-sig")

    settings.save_setting(project_file, SETTINGS["size"], "720p")

    loaded = load_settings()
    assert (loaded["fps"], loaded["size"]) == (11, "720p")


def test_an_option_that_was_not_given_hides_nothing(monkeypatch):
    monkeypatch.setenv("MULTITALK_SIZE", "720p")

    assert load_settings({"size": None})["size"] == "720p"


def test_zero_empty_and_false_are_values(monkeypatch):
    monkeypatch.setenv("MULTITALK_NEGATIVE_PROMPT", "")

    loaded = load_settings({"text_guidance": 0.0, "max_cost": 0, "loudness": False})

    assert loaded["negative_prompt"] == ""
    assert (loaded["text_guidance"], loaded["max_cost"], loaded["loudness"]) == (0.0, 0.0, False)


def test_the_user_file_lies_where_the_system_wants_it(monkeypatch, folder):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "conf"))

    assert settings.user_file() == folder / "conf" / "multitalk" / "config.toml"


@pytest.mark.parametrize("name", SETTINGS)
def test_a_default_is_a_value_that_could_be_given(name):
    setting = SETTINGS[name]

    if setting.default is not None:
        assert setting.parse(setting.default) == setting.default
    assert setting.help


# Types and ranges


@pytest.mark.parametrize("raw", ["1", "true", "TRUE", "yes", True])
def test_words_for_yes(raw):
    assert SETTINGS["sidecar"].parse(raw) is True


@pytest.mark.parametrize("raw", ["0", "false", "No", False])
def test_words_for_no(raw):
    assert SETTINGS["sidecar"].parse(raw) is False


@pytest.mark.parametrize("raw", ["on", "", "maybe", 1, 0, None])
def test_other_words_are_neither(raw):
    with pytest.raises(ValueError, match="must be true or false"):
        SETTINGS["sidecar"].parse(raw)


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("fps", "0", "from 8 to 60, not 0"),
        ("fps", "nan", "a whole number, not 'nan'"),
        ("fps", float("nan"), "a whole number, not nan"),
        ("fps", float("inf"), "a whole number, not inf"),
        ("fps", 24.5, "a whole number, not 24.5"),
        ("fps", "24.0", "a whole number"),
        ("fps", True, "a number, not True"),
        ("fps", [24], r"a number, not \[24\]"),
        ("fps", "9" * 5000, "a whole number"),
        ("sample_steps", 0, "from 1 to 100, not 0"),
        ("sample_steps", 101, "from 1 to 100, not 101"),
        ("text_guidance", "nan", "from 0 to 30, not nan"),
        ("text_guidance", -1, "from 0 to 30"),
        ("shift", 0, "from 0.1 to 100"),
        ("max_cost", "-1", "0 or more, not -1"),
        ("max_cost", "inf", "finite, not inf"),
        ("fit", "crop", "one of cover, contain, stretch, not 'crop'"),
        ("size", 896, "text, not 896"),
        ("negative_prompt", "caf\udce9", "text in UTF-8"),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected(name, raw, expected):
    with pytest.raises(ValueError, match=expected):
        SETTINGS[name].parse(raw)


def test_a_choice_may_be_written_in_capitals():
    assert SETTINGS["fit"].parse("Cover") == "cover"


def test_a_whole_float_is_a_whole_number():
    assert SETTINGS["fps"].parse(25.0) == 25
    assert type(SETTINGS["fps"].parse(25.0)) is int


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()


@given(st.sampled_from(sorted(SETTINGS)), scalars | st.lists(scalars))
def test_parsing_gives_a_value_or_says_what_it_must_be(name, raw):
    setting = SETTINGS[name]
    try:
        value = setting.parse(raw)
    except ValueError as error:
        assert str(error).startswith("must be ")
    else:
        assert type(value) is setting.kind
        assert setting.parse(value) == value


def test_a_wrong_option_is_named():
    with pytest.raises(UsageError, match="--fps must be from 8 to 60, not 0") as caught:
        load_settings({"fps": 0})

    assert (caught.value.code, caught.value.facts["option"]) == ("E_RANGE", "--fps")


def test_a_wrong_variable_is_named(monkeypatch):
    monkeypatch.setenv("MULTITALK_FPS", "fast")

    with pytest.raises(UsageError, match="MULTITALK_FPS must be a whole number") as caught:
        load_settings()

    assert caught.value.code == "E_SETTING"


# Files


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fsp = 24", "unknown setting 'fsp'; did you mean 'fps'"),
        ("qqq = 24", "unknown setting 'qqq'$"),
        ("[fps]\nvalue = 24", "fps must be a number"),
        ("fps = 24.5", "fps must be a whole number"),
        ("fps = nan", "fps must be a whole number, not nan"),
        ("text_guidance = nan", "text_guidance must be from 0 to 30, not nan"),
        ("backend = 1979-05-27", "backend must be text"),
        ("fps = ", "not valid TOML"),
        ("fps = 24\nfps = 25", "not valid TOML"),
        ("a = " + "[" * 5000, "not valid TOML"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(project_file, text, expected):
    project_file.write_text(text)

    with pytest.raises(FileError, match=expected) as caught:
        load_settings()

    assert caught.value.code == "E_CONFIG"
    assert "multitalk.toml" in caught.value.message


BAD = {
    "size": ("1000x1000", "992x992"),
    "background": ("whit", "white"),
    "bucket": ("s3://my-bucket/x", "my-bucket"),
    "app": ("my app", "multitalk"),
    "environment": ("my/env", None),
    "fps": ("900", "60"),
    "backend": ("modla", "modal"),
}
"""Setting -> a bad value, and the valid one that is proposed."""


def test_every_text_with_a_form_has_a_bad_value_here():
    assert BAD.keys() >= {name for name, setting in SETTINGS.items() if setting.check}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_refused_wherever_it_comes_from(project_file, monkeypatch, name):
    raw, nearest = BAD[name]
    refusals = []

    def refused(load):
        with pytest.raises((UsageError, FileError), match=f"{name}|{name.upper()}") as caught:
            load()
        refusals.append(caught.value.message.partition(" must ")[2])
        return caught.value

    saving = refused(lambda: save_setting(project_file, SETTINGS[name], raw))
    assert not project_file.exists()
    option = refused(lambda: load_settings({name: raw}))
    monkeypatch.setenv(SETTINGS[name].variable, raw)
    variable = refused(load_settings)
    monkeypatch.delenv(SETTINGS[name].variable)
    project_file.write_text(f'# mine\nfit = "cover"\n{name} = "{raw}"\n')
    file = refused(load_settings)

    assert len(set(refusals)) == 1
    assert refusals[0]
    assert file.message.startswith(f"multitalk.toml, line 3: {name} must ")
    assert (file.code, file.facts["name"], file.facts["is_project"]) == ("E_CONFIG", name, True)
    assert variable.facts["unset"] == (SETTINGS[name].variable,)
    proposed = {error.facts.get("example") for error in (saving, option, file)}
    assert proposed == {nearest}
    assert nearest is None or SETTINGS[name].parse(nearest) is not None


def test_a_file_that_is_no_text_is_refused(project_file):
    project_file.write_bytes(b"fps = \xff\xfe")

    with pytest.raises(FileError, match="not valid TOML"):
        load_settings()


def test_a_folder_in_the_file_s_place_is_refused(project_file):
    project_file.mkdir()

    with pytest.raises(FileError, match="cannot be read"):
        load_settings()


def test_names_are_found_with_dashes_too():
    assert find_setting("sample-steps") is SETTINGS["sample_steps"]
    assert find_setting("steps") is SETTINGS["sample_steps"]


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'max_cost'"):
        find_setting("max_costs")


# Saving


def test_a_first_setting_makes_file_and_folder():
    path = settings.user_file()

    assert save_setting(path, SETTINGS["fps"], "25") == 25
    assert path.read_text() == "fps = 25\n"
    assert load_settings()["fps"] == 25


def test_saving_keeps_comments_order_and_line_ends(project_file):
    project_file.write_bytes(b"# ours\r\nfit = 'contain' # why\r\n\r\nfps = 24\r\n")

    save_setting(project_file, SETTINGS["fps"], "25")

    assert project_file.read_bytes() == b"# ours\r\nfit = 'contain' # why\r\n\r\nfps = 25\r\n"


@pytest.mark.parametrize(
    ("name", "raw"),
    [("loudness", "no"), ("shift", "11"), ("negative_prompt", 'a "b"\n# c'), ("size", "720p")],
)
def test_what_was_saved_is_what_is_read(project_file, name, raw):
    saved = save_setting(project_file, SETTINGS[name], raw)

    assert load_settings()[name] == saved


def test_a_wrong_value_changes_nothing(project_file):
    project_file.write_text("fps = 24\n")

    with pytest.raises(UsageError, match="fps must be from 8 to 60"):
        save_setting(project_file, SETTINGS["fps"], "99")

    assert project_file.read_text() == "fps = 24\n"


def test_removing_a_setting_keeps_the_rest(project_file):
    project_file.write_bytes(b"# ours\r\nfps = 24\r\n\r\nfpss = 3\r\nfit = 'contain'\r\n")

    removed = [settings.remove_setting(project_file, name) for name in ("fpss", "fps", "fps")]

    assert removed == [True, True, False]
    assert project_file.read_bytes() == b"# ours\r\n\r\nfit = 'contain'\r\n"


def test_nothing_is_removed_from_a_file_that_there_is_not(project_file):
    assert settings.remove_setting(project_file, "fps") is False
    assert not project_file.exists()


@pytest.mark.parametrize("content", [b"fps = ", b"\xff"])
def test_a_broken_file_is_not_touched(project_file, content):
    project_file.write_bytes(content)

    with pytest.raises(FileError, match="not valid TOML"):
        save_setting(project_file, SETTINGS["fps"], "25")

    assert project_file.read_bytes() == content


def test_a_failed_write_leaves_the_old_file_and_nothing_else(project_file, monkeypatch):
    project_file.write_text("fps = 24\n")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(project_file), "replace", full)
    with pytest.raises(FileError, match="no space left to write"):
        save_setting(project_file, SETTINGS["fps"], "25")

    assert os.listdir() == ["multitalk.toml"]  # noqa: PTH208 - names are what is meant
    assert project_file.read_text() == "fps = 24\n"


def test_a_linked_file_stays_linked(folder, project_file):
    (folder / "dotfiles").mkdir()
    real = folder / "dotfiles" / "multitalk.toml"
    real.write_text("fps = 24\n")
    real.chmod(stat.S_IRUSR | stat.S_IWUSR)
    project_file.symlink_to(real)

    save_setting(project_file, SETTINGS["fps"], "25")

    assert project_file.is_symlink()
    assert real.read_text() == "fps = 25\n"
