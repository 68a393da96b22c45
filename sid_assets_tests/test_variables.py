"""Names of variables: settings, secrets, what other programs set, and mistakes."""

import pytest

from sid_assets.core.errors import InputError
from sid_assets.settings import Settings
from sid_assets.variables import failure_webhook

MISSPELT = {
    "sid_seed": "SID_SEED",
    "Sid_Seed": "SID_SEED",
    "SIDSEED": "SID_SEED",
    "SID-SEED": "SID_SEED",
    "SID.SEED": "SID_SEED",
    "sid_max_changed_shares": "SID_MAX_CHANGED_SHARE",
    "sid_failure_webhook": "SID_FAILURE_WEBHOOK",
}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SID_CATALOGUE", "SID_CATALOGUE: no such setting. Did you mean SID_CATALOG?"),
        ("SID_SEEDS", "SID_SEEDS: no such setting. Did you mean SID_SEED?"),
        ("SID_FAILURE_WEBHOK", r"no such setting. Did you mean SID_FAILURE_WEBHOOK\?"),
        ("SID_DATADIR", r"Did you mean SID_DATA_DIR\? Check the environment and .env"),
        ("SID_DATA", r"Did you mean SID_DATA_DIR\?"),
        ("SID_MAX_ITEMS", r"Did you mean SID_MAX_ITEMS_PER_SID\?"),
    ],
)
def test_a_misspelt_setting_is_refused_with_the_nearest_name(name, words):
    with pytest.raises(InputError, match=words):
        Settings.from_environment({name: "x"})


def test_all_misspelt_settings_are_named_at_once():
    words = r"SID_CATALOGUE, SID_SEEDS: no such setting. Did you mean SID_CATALOG, SID_SEED\?"
    with pytest.raises(InputError, match=words):
        Settings.from_environment({"SID_SEEDS": "1", "SID_CATALOGUE": "x", "SID_NAME": "sid"})


@pytest.mark.parametrize(
    "name", ["SID_OF_ANOTHER_PROGRAM", "SID_QQQ", "SID_NAME", "SID_LOG_LEVEL", "SID_"]
)
def test_a_name_of_another_program_stops_nothing(name, caplog):
    assert Settings.from_environment({name: "x"}) == Settings()
    assert not caplog.records


@pytest.mark.parametrize(("name", "meant"), MISSPELT.items())
def test_a_name_that_resembles_a_setting_is_warned_of_and_has_no_effect(name, meant, caplog):
    settings = Settings.from_environment({name: "http://x"})
    assert settings == Settings()
    assert [record.getMessage() for record in caplog.records] == [
        f"{name} is not a setting and has no effect. Did you mean {meant}?"
    ]


@pytest.mark.parametrize("name", ["SIDEBAR_SEED", "ORACLE_SID", "SEED", "SID", "sidekiq_url"])
def test_other_names_are_not_warned_of(name, caplog):
    Settings.from_environment({name: "x"})
    assert not caplog.records


@pytest.mark.parametrize(
    "name",
    [
        "SID_ASSETS_SERVICE_HOST",
        "SID_ASSETS_SERVICE_PORT",
        "SID_ASSETS_SERVICE_PORT_HTTP",
        "SID_ASSETS_PORT",
        "SID_ASSETS_PORT_3000_TCP",
        "SID_ASSETS_PORT_3000_TCP_PROTO",
        "SID_ASSETS_PORT_3000_TCP_PORT",
        "SID_ASSETS_PORT_3000_TCP_ADDR",
        "SID_ASSETS_WEB_PORT_53_UDP_ADDR",
        "SID_PORT",
        "SID_SERVICE_HOST",
        "SID_VICIOUS_SERVICE_HOST",
        "SID_EVENTS_PORT",
        "SID_EVENT_PORT",
    ],
)
def test_variables_that_kubernetes_sets_for_a_service_are_ignored(name, caplog):
    assert Settings.from_environment({name: "tcp://10.0.0.1:3000"}) == Settings()
    assert not caplog.records


@pytest.mark.parametrize(
    "address",
    [
        "hooks.example.com/hush",
        "//hooks.example.com/hush",
        "ftp://hooks.example.com/hush",
        "file:///hush",
        "https:///hush",
        "https://hooks.example.com:port/hush",
        "https://[hush",
        "https://hooks.example.com/hu sh",
        "https://hooks.example.com/húsh",
        "https://hooks.example.com/hu\nsh",
    ],
)
def test_a_webhook_that_is_no_url_is_refused_and_not_shown(address):
    """Found when the settings are read, not when a run has failed."""
    with pytest.raises(InputError, match="SID_FAILURE_WEBHOOK: not a URL") as refused:
        Settings.from_environment({"SID_FAILURE_WEBHOOK": address})
    message = str(refused.value)
    assert not any(word in message for word in ("hush", "hu sh", "húsh", "hooks"))
    assert refused.value.__cause__ is None


def test_the_webhook_is_read_from_the_environment_and_from_dotenv(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert failure_webhook() == ""
    monkeypatch.setenv("SID_FAILURE_WEBHOOK", "https://hooks.example.com/one")
    assert failure_webhook() == "https://hooks.example.com/one"
    (tmp_path / ".env").write_text("SID_FAILURE_WEBHOOK=https://hooks.example.com/two\n")
    assert failure_webhook() == "https://hooks.example.com/two"


def test_the_webhook_is_not_a_setting():
    """Settings are shown in the launchpad and stored with runs."""
    settings = Settings.from_environment({"SID_FAILURE_WEBHOOK": "https://hooks.example.com/hush"})
    assert "hush" not in settings.model_dump_json()
    with pytest.raises(InputError, match="Set SID_FAILURE_WEBHOOK in the environment") as refused:
        Settings(failure_webhook="https://hooks.example.com/hush")  # pyright: ignore[reportCallIssue]
    assert "hush" not in str(refused.value)
