"""Settings: the file, over it the environment, checked as a whole and told in one table."""

import os

import pytest

from busbar.settings import Settings, SettingsError, table
from busbar.tools import project_root

OWN = os.environ.get("BUSBAR_CONFIG")
"""The file that tests go by."""


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Nothing is set but what a test sets."""
    monkeypatch.delenv("BUSBAR_CONFIG")
    monkeypatch.chdir(tmp_path)


def test_load__in_the_tests__is_the_defaults_whatever_the_checkout_says(tmp_path, monkeypatch):
    (tmp_path / "busbar.toml").write_text("pause_s = 7\n", encoding="utf-8")
    assert Settings.load().pause_s == 7
    monkeypatch.setenv("BUSBAR_CONFIG", OWN)
    assert Settings.load().pause_s == Settings.model_fields["pause_s"].default


@pytest.fixture
def written(tmp_path):
    """Writes busbar.toml and loads it."""

    def load(text):
        (tmp_path / "busbar.toml").write_text(text, encoding="utf-8")
        return Settings.load()

    return load


def refusal(written, text):
    with pytest.raises(SettingsError) as caught:
        written(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_load__no_file__is_the_defaults():
    settings = Settings.load()
    assert (settings.network, settings.keeper.account, settings.keeper.zones) == ("devnet", "dev:5", [1])


def test_load__a_file__counts(written):
    settings = written('url = "http://node:1"\n[keeper]\nzones = [2, 3]\n[log.levels]\nkeeper = "debug"')
    assert (settings.url, settings.keeper.zones) == ("http://node:1", [2, 3])
    assert settings.log.levels == {"keeper": "debug"}


def test_load__environment__goes_before_the_file_and_leaves_the_rest(written, monkeypatch):
    monkeypatch.setenv("BUSBAR_KEEPER__ACCOUNT", "clock")
    monkeypatch.setenv("BUSBAR_SENDING__MAX_FEE_WEI", "7")
    settings = written('[keeper]\naccount = "dev:9"\nzones = [2]')
    assert (settings.keeper.account, settings.keeper.zones, settings.sending.max_fee_wei) == ("clock", [2], 7)


def test_load__file_named_in_the_environment__is_read(written, tmp_path, monkeypatch):
    (tmp_path / "other.toml").write_text("pause_s = 5", encoding="utf-8")
    monkeypatch.setenv("BUSBAR_CONFIG", str(tmp_path / "other.toml"))
    assert written("pause_s = 9").pause_s == 5


def test_load__file_named_in_the_environment_is_missing__says_so(written, monkeypatch):
    monkeypatch.setenv("BUSBAR_CONFIG", "/nowhere/busbar.toml")
    assert refusal(written, "") == "/nowhere/busbar.toml, which BUSBAR_CONFIG names, is missing"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[keper]", "setting keper: Extra inputs"),
        ("[keeper]\nzone = [1]", "setting keeper.zone: Extra inputs"),
        ("pause_s = 0", "setting pause_s: Input should be greater than 0"),
        ("[keeper]\nmetrics_port = 70000", "setting keeper.metrics_port: Input should be less than"),
        ('[log]\nlevel = "loud"', "setting log.level: Input should be 'debug'"),
        ("pause_s = ", "busbar.toml: Invalid value"),
        ('[relay]\nrate = "often"', "setting relay.rate"),
        ('[meters]\nheadend = "ftp://here"', "setting meters.headend: URL scheme should be 'http' or 'https'"),
        ('[meters]\naddress_rate = ""', "setting meters.address_rate"),
        ("[meters]\nport = -1", "setting meters.port"),
        ('[api]\nrate = "often"', "setting api.rate"),
        ('[api]\nplan = "free"', "setting api.plan: Input should be 'residential-1.1', 'residential-1.2' or 'tou-1.3'"),
        ('[api]\nrelay_url = "relay"', "setting api.relay_url"),
    ],
)
def test_load__what_makes_no_sense__is_named(written, text, told):
    assert told in refusal(written, text)


def test_load__environment_that_is_no_list__is_named(written, monkeypatch):
    monkeypatch.setenv("BUSBAR_KEEPER__ZONES", "one")
    assert "keeper" in refusal(written, "")


def test_relay_url__relay_of_the_installation__is_the_apis(written):
    settings = written('[up]\nrun = ["api", "relay", "meters"]\n[relay]\nhost = "0.0.0.0"\n[meters]\nport = 8540')
    assert (settings.relay_url, settings.gateway_url) == ("http://127.0.0.1:8550", "http://127.0.0.1:8540")


def test_relay_url__named_for_the_api__goes_before_the_installations(written):
    settings = written(
        '[up]\nrun = ["api", "relay"]\n[api]\nrelay_url = "http://relay:1"\ngateway_url = "http://ami:2/"'
    )
    assert (settings.relay_url, settings.gateway_url) == ("http://relay:1", "http://ami:2")


def test_relay_url__nothing_runs_beside_the_api__is_none(written):
    settings = written('[up]\nrun = ["api", "meters"]')
    assert (settings.relay_url, settings.gateway_url) == (None, None)


def test_table__every_setting__stands_in_the_operations_document():
    text = (project_root() / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in table()]
    assert all(meaning for _, _, meaning in table())
    assert [row for row in rows if row not in text] == []
    held = [line for line in text.splitlines() if line.startswith("| `") and line.count("|") == 4]
    assert [line for line in held if line not in rows] == []


def test_example_file__as_shipped__is_accepted(monkeypatch):
    monkeypatch.setenv("BUSBAR_CONFIG", str(project_root() / "deploy" / "busbar.toml"))
    assert Settings.load().keeper.metrics_port == 9101
