"""The guide for who connects meters does what it says: its examples are run, in order."""

import re
import subprocess
import sys

import pytest

from busbar.api.context import Settings
from busbar.history import open_database
from busbar.keys import PASSWORD_VARIABLE
from busbar.tools import project_root
from tests.market import P256
from tests.requires import needs_program
from tests.served import followed, served
from tests.services.test_meters_door import assigned, running

GUIDE = project_root() / "docs" / "metering.md"
GATEWAY, API = "http://127.0.0.1:8540", "http://127.0.0.1:8000"


def examples(language):
    found = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [text for of, text in found if of == language]


@pytest.fixture
def doors(market, tmp_path):
    """A gateway's door, and a server before it."""
    engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    with (
        running(market, tmp_path) as gateway,
        followed(market.chain, engine),
        served(Settings(engine, market.chain, gateway_url=str(gateway.client.base_url))) as url,
    ):
        yield gateway, url
    engine.dispose()


def test_guide__its_curl_examples__work(doors, market, tmp_path):
    gateway, url = doors
    needs_program("curl", apt="curl")
    bash = needs_program("bash", apt="bash")
    meter = assigned(market, "H06", market.actors.producer, key_type=P256)
    reading = meter.read(export_wh=700, at=market.chain.head().timestamp)
    script = "\n".join(examples("sh")).replace(GATEWAY, str(gateway.client.base_url).rstrip("/")).replace(API, url)
    result = subprocess.run(
        [bash, "-c", f"set -eu\nREADING='{reading.to_json()}'\n{script}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f'"follow":"/api/v1/readings/{reading.reading.key}"' in result.stdout
    assert gateway.ended(reading.reading.key)["state"] == "counted"
    assert market.free_wh(market.actors.producer) == 700


def test_guide__its_python_example__signs_what_the_contract_takes(tmp_path):
    (script,) = examples("python")
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        check=False,
        timeout=60,
        env={"PYTHONUTF8": "1", PASSWORD_VARIABLE: "correct horse"},
    )
    assert result.returncode == 0, result.stderr
    assert '"publicKey": "0x' in result.stdout


def test_guide__every_refusal_at_the_door__is_named():
    from busbar import intake

    refusals = {
        name for name in vars(intake) if name.endswith("Error") and vars(intake)[name].__module__ == "busbar.intake"
    }
    assert [name for name in sorted(refusals - {"MeterRateError"}) if f"`{name}`" not in GUIDE.read_text("utf-8")] == []
