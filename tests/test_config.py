"""Settings: who wins, who is named, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from savecli import config, machine, tuned
from savecli.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAVE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def config_file(home):
    def write(text: str) -> Path:
        path = home / "config.toml"
        path.write_text(text, "utf-8")
        return path

    return write


def test_without_anything_given_the_defaults_hold(home):
    settings = config.load()
    assert (settings.asr, settings.language, settings.device) == ("base", "", "auto")
    assert settings.offline is False
    assert settings.stall_s == 60
    assert settings.store_dir == home / "store"
    assert {name for name, source in settings.sources.items() if source != "default"} == {"home"}


def test_flag_beats_environment_beats_file_beats_default(home, config_file, monkeypatch):
    assert config.load().asr == "base"
    path = config_file('asr = "tiny.en"')
    settings = config.load()
    assert (settings.asr, settings.sources["asr"]) == ("tiny.en", str(path))
    monkeypatch.setenv("SAVE_ASR", "off")
    settings = config.load()
    assert (settings.asr, settings.sources["asr"]) == ("off", "SAVE_ASR")
    settings = config.load(asr="openai/base")
    assert (settings.asr, settings.sources["asr"]) == ("openai/base", "--asr")


def test_a_flag_that_was_not_given_is_none(home, monkeypatch):
    monkeypatch.setenv("SAVE_DEVICE", "cpu")
    assert config.load(device=None).sources["device"] == "SAVE_DEVICE"


def test_home_comes_from_the_flag_before_the_environment(home, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.toml").write_text('device = "cpu"', "utf-8")
    settings = config.load(home=other)
    assert settings.home == other
    assert settings.sources["home"] == "--home"
    assert settings.device == "cpu", "the file beside the store is the one that is read"
    assert config.load().sources["home"] == "SAVE_HOME"


def test_without_a_home_the_systems_folder_is_used(monkeypatch):
    monkeypatch.delenv("SAVE_HOME")
    settings = config.load()
    assert settings.home.is_absolute()
    assert settings.home.name == "save"
    assert settings.sources["home"] == "default"


def test_paths_are_absolute_and_know_the_users_home(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/users/me")
    settings = config.load(home="~/save", model_dir="models")
    assert settings.home == Path("/users/me/save")
    assert settings.model_dir == tmp_path / "models"


@pytest.mark.parametrize("value", ["1", "true", "YES", "On"])
@pytest.mark.parametrize("variable", ["SAVE_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_is_heard_from_either_variable(home, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    settings = config.load()
    assert settings.offline is True
    assert settings.sources["offline"] == variable


def test_our_own_variable_has_the_last_word_on_offline(home, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("SAVE_OFFLINE", "0")
    assert config.load().offline is False
    assert config.load(offline=True).sources["offline"] == "--offline"


@pytest.mark.parametrize(("text", "offline"), [("offline = true", True), ("offline = false", False)])
def test_the_files_own_types_are_understood(home, config_file, text, offline):
    config_file(f"{text}\nstall_s = 2.5")
    settings = config.load()
    assert settings.offline is offline
    assert settings.stall_s == 2.5


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("asr", "huge", "tiny.en"),
        ("device", "tpu", "cuda"),
        ("offline", "perhaps", "1 or 0"),
        ("stall_s", "soon", "seconds"),
        ("stall_s", "0", "seconds"),
        ("stall_s", "-3", "seconds"),
        ("stall_s", "inf", "seconds"),
        ("stall_s", "nan", "seconds"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_its_source(home, monkeypatch, name, value, hint):
    monkeypatch.setenv(f"SAVE_{name.upper()}", value)
    with pytest.raises(ConfigError, match=f"{name} cannot be '{value}'") as caught:
        config.load()
    assert f"SAVE_{name.upper()}" in caught.value.message
    assert hint in caught.value.hint


def test_an_unknown_key_is_refused_and_the_known_ones_are_named(home, config_file):
    path = config_file('asr = "base"\ndevise = "cpu"\nhome = "/x"')
    with pytest.raises(ConfigError, match="sets devise, home, which is no setting") as caught:
        config.load()
    assert str(path) in caught.value.message
    assert "device" in caught.value.hint


@pytest.mark.parametrize("content", [b"asr = ", b"\xff\xfe", b"[asr"], ids=["half", "no utf-8", "table"])
def test_a_file_that_is_no_toml_is_refused_by_name(home, content):
    (home / "config.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"cannot read .*config\.toml") as caught:
        config.load()
    assert caught.value.hint


def test_a_setting_of_another_type_is_refused(home, config_file):
    config_file('[asr]\nname = "base"')
    with pytest.raises(ConfigError, match="asr cannot be"):
        config.load()


def test_every_setting_names_its_source(home):
    settings = config.load()
    assert settings.sources.keys() == {
        "home",
        "model_dir",
        "asr",
        "language",
        "device",
        "jobs",
        "batch_size",
        "offline",
        "stall_s",
        "data",
    }


def test_the_shell_offers_what_the_settings_allow():
    from savecli.cli.common import ASR_CHOICES

    assert set(ASR_CHOICES) == set(config.ASR_NAMES)


def test_jobs_are_a_number_or_left_to_the_machine(home, monkeypatch):
    assert 1 <= config.load().jobs <= config.MOST_JOBS
    monkeypatch.setenv("SAVE_JOBS", "3")
    assert config.load().jobs == 3
    assert config.load(jobs=12).jobs == 12


def test_the_batch_size_is_a_number_or_left_to_the_device(home, monkeypatch):
    assert config.load().batch_size is None
    monkeypatch.setenv("SAVE_BATCH_SIZE", "3")
    assert config.load().batch_size == 3
    assert config.load(batch_size="auto").batch_size is None
    with pytest.raises(ConfigError, match="batch_size cannot be '0'") as caught:
        config.load(batch_size="0")
    assert "--batch-size" in caught.value.message


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", pytest.param("9" * 5000, id="long")])
def test_jobs_that_make_no_sense_are_refused(home, monkeypatch, value):
    monkeypatch.setenv("SAVE_JOBS", value)
    with pytest.raises(ConfigError, match="SAVE_JOBS"):
        config.load()


@pytest.fixture
def tuning(home):
    """Remembers what was measured on this machine; returns the record."""

    def write(**changes):
        fields = {
            "machine": machine.fingerprint(),
            "device": "auto",
            "jobs": 5,
            "without_speech_x": 100.0,
            "speech_x": {"tiny.en": 50.0, "base": 5.0},
            "measured_on": "2026-11-28",
        }
        tuned.write(home, tuned.Tuned(**fields | changes))

    return write


def test_what_was_tuned_beats_the_default_and_nothing_else(home, config_file, tuning, monkeypatch):
    tuning()
    settings = config.load()
    assert (settings.jobs, settings.sources["jobs"]) == (5, "tuned")
    path = config_file("jobs = 2")
    settings = config.load()
    assert (settings.jobs, settings.sources["jobs"]) == (2, str(path))
    monkeypatch.setenv("SAVE_JOBS", "3")
    assert config.load().sources["jobs"] == "SAVE_JOBS"
    assert config.load(jobs=1).sources["jobs"] == "--jobs"


def test_auto_that_is_asked_for_is_one_for_each_core_whatever_was_tuned(home, config_file, tuning):
    tuning(jobs=machine.n_cores() + 20)
    config_file('jobs = "auto"')
    assert config.load().jobs <= machine.n_cores()


@pytest.mark.parametrize("changes", [{"machine": "another"}, {"device": "cuda"}])
def test_what_was_tuned_elsewhere_does_not_count(home, tuning, changes):
    tuning(**changes)
    assert config.load().sources["jobs"] == "default"


def test_tuning_leaves_the_default_model_alone(home, tuning):
    tuning()
    settings = config.load(language="en")
    assert (settings.asr, settings.sources["asr"]) == ("base", "default")
    assert settings.asr_auto.name == "tiny.en"


def test_asr_auto_is_replaced_and_says_why(home, tuning, monkeypatch):
    tuning()
    monkeypatch.setenv("SAVE_ASR", "auto")
    settings = config.load(language="en")
    assert settings.asr == "tiny.en"
    assert settings.sources["asr"].startswith("SAVE_ASR: auto, ")
    assert "2026-11-28" in settings.sources["asr"]
    assert config.load().asr == "base"


def test_asr_auto_takes_a_pulled_model_while_its_weights_are_there(home, tuning, tmp_path):
    tuning(speech_x={"base": 50.0, "small": 50.0})
    assert config.load(asr="auto", model_dir=tmp_path).asr == "base"
    (tmp_path / "whisper-small").mkdir()
    (tmp_path / "whisper-small" / "model.bin").touch()
    assert config.load(asr="auto", model_dir=tmp_path).asr == "small"
