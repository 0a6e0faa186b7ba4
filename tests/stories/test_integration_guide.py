"""The integration guide does what it says: its examples are run, and the reference is what the server documents."""

import re
import subprocess
import sys

import pytest

from busbar.api.context import Settings
from busbar.history import open_database
from busbar.tools import project_root
from scripts import export_api
from tests.market import ask, bid
from tests.requires import needs_program
from tests.served import followed, served
from tests.services.test_relay import running

GUIDE = project_root() / "docs" / "integration.md"
DEFAULT = "http://127.0.0.1:8000"


@pytest.fixture
def url(market, tmp_path):
    """A server before a relay, over a market with a trade in it."""
    engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    with (
        running(market, tmp_path) as relay,
        followed(market.chain, engine),
        served(Settings(engine, market.chain, relay_url=str(relay.client.base_url))) as url,
    ):
        market.give_energy(market.actors.producer, 1_000)
        market.enter(market.actors.producer, ask(300, 1_000))
        market.enter(market.actors.consumer, bid(310, 700))
        market.next_epoch()
        market.clear()
        yield url
    engine.dispose()


def examples(*languages):
    """The guide's examples in these languages, in order: language and text."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [(language, text) for language, text in blocks if language in languages]


def test_guide__its_curl_examples__work(url, tmp_path):
    needs_program("curl", apt="curl")
    script = "set -eu\n" + "\n".join(text for _, text in examples("sh")).replace(DEFAULT, url)
    bash = needs_program("bash", apt="bash")
    result = subprocess.run(
        [bash, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "statement.pdf").read_bytes()[:5] == b"%PDF-"


def test_guide__its_python_examples__work(url, market, tmp_path):
    # What the relay sends gets a block at once.
    market.devnet.node.request("evm_setAutomine", True)
    found = examples("python")
    assert len(found) == 6
    script = "\n".join(text for _, text in found).replace(DEFAULT, url)
    command = [sys.executable, "-c", script]
    result = subprocess.run(
        command, capture_output=True, encoding="utf-8", cwd=tmp_path, check=False, timeout=120, env={"PYTHONUTF8": "1"}
    )
    market.devnet.node.request("evm_setAutomine", False)
    assert result.returncode == 0, result.stderr
    assert "included" in result.stdout
    assert "202 /api/v1/energy/bundles/0x" in result.stdout
    assert "'follow': '/api/v1/energy/bundles/0x" in result.stdout
    assert "\ndone\nskipped: InsufficientFree: " in result.stdout
    assert "สมชาย ใจดี" in result.stdout


def test_reference__as_committed__is_what_the_server_documents():
    assert export_api.TARGET.read_text("utf-8") == export_api.current(), "run scripts/export_api.py"
