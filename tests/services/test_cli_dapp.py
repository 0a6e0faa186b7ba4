"""The commands that serve the dapp, or write it out: what they say when something is missing."""

import json
import socket
import sys

import pytest
import structlog

from busbar import cli, tools
from busbar.api.dapp import DappMissing
from busbar.live import PortInUse, require_ready


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A folder such as a build leaves, in the place of the checkout's own."""
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / "index.html").write_text("the dapp", encoding="utf-8")
    monkeypatch.setattr(tools, "dapp_folder", lambda: folder)
    return folder


@pytest.fixture
def record(market, tmp_path):
    path = tmp_path / "record.json"
    market.record.save(path)
    return path


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["busbar", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    structlog.reset_defaults()
    said = capsys.readouterr()
    return ended.value.code or 0, said.out, said.err


def test_dapp__with_a_node_alone__writes_a_page_that_knows_no_api(monkeypatch, capsys, market, record, built, tmp_path):
    out = tmp_path / "site"
    more = ("--url", market.devnet.url, "--record", record)
    status, said, _ = run(monkeypatch, capsys, "dapp", out, "--rpc-url", "https://node.example", *more)
    told = json.loads((out / "deployment.json").read_text(encoding="utf-8"))
    assert (status, said) == (0, f"{out}: for chain 31337, without an API\n")
    assert (out / "index.html").read_text(encoding="utf-8") == "the dapp"
    assert (told["rpcUrl"], told["api"], told["relay"], told["pace"]) == ("https://node.example", None, False, 1)
    assert told["contracts"] == market.chain.addresses


def test_dapp__with_an_api__names_it(monkeypatch, capsys, market, record, built, tmp_path):
    more = ("--url", market.devnet.url, "--record", record, "--api-url", "https://api.example/api/v1")
    status, _, _ = run(monkeypatch, capsys, "dapp", tmp_path / "site", "--rpc-url", "https://node.example", *more)
    told = json.loads((tmp_path / "site" / "deployment.json").read_text(encoding="utf-8"))
    assert (status, told["api"], told["relay"]) == (0, "https://api.example/api/v1", True)


def test_dapp__not_built__says_how_to_build_it(monkeypatch, capsys, market, record, tmp_path):
    monkeypatch.setattr(tools, "dapp_folder", lambda: tmp_path / "nothing")
    more = ("--url", market.devnet.url, "--record", record)
    status, _, said = run(monkeypatch, capsys, "dapp", tmp_path / "site", "--rpc-url", "https://node.example", *more)
    assert status == 1
    assert said == f"busbar: {tmp_path / 'nothing'} holds no built dapp: `make dapp-build` makes it\n"


def test_require_ready__port_of_somebody_else__says_so_before_anything_starts(built):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} is in use: name another with --port"):
            require_ready(built, port)


def test_require_ready__dapp_not_built__says_so_before_anything_starts(tmp_path):
    with pytest.raises(DappMissing, match="make dapp-build"):
        require_ready(tmp_path, 0)


def test_require_ready__all_there__leaves_the_port_free(built):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    require_ready(built, port)
    socket.create_server(("127.0.0.1", port)).close()
