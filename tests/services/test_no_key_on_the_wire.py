"""No private key reaches a server: everything that command line and client send is recorded, and searched for them."""

import json
import re
import secrets
import socket
import sys
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
import structlog
from eth_account import Account as EthAccount

from busbar import cli
from busbar.api.app import create_app
from busbar.api.context import Settings
from busbar.api.rpc import RPC_METHODS
from busbar.chain import Call, KeySigner
from busbar.client import Client
from busbar.devnet import DEV_MNEMONIC, dev_signer
from busbar.history import open_database
from busbar.relayed import Relayed
from tests import wire
from tests.market import BAHT
from tests.operators import METERS, PATIENCE_S
from tests.served import followed, served
from tests.services.test_meters_door import assigned, now
from tests.services.test_meters_door import running as gateway_running
from tests.services.test_relay import RELAY, running
from tests.wire import Recorder

CONSUMER = 23
PASSWORD = "correct horse battery staple"
SECRET = bytes.fromhex("fb" + 30 * "a7" + "ff")  # its base64 has + and /


@pytest.fixture(autouse=True)
def logs_put_back():
    yield
    structlog.reset_defaults()


@pytest.fixture
def recorded(market, tmp_path):
    """Recorders before API, relay, gateway and node, by name; the chain makes a block for each transaction."""
    engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    market.devnet.node.request("evm_setAutomine", True)
    with ExitStack() as opened:
        relay = opened.enter_context(running(market, tmp_path))
        gateway = opened.enter_context(gateway_running(market, tmp_path))
        before = {
            name: opened.enter_context(Recorder(url))
            for name, url in (
                ("relay", str(relay.client.base_url)),
                ("gateway", str(gateway.client.base_url)),
                ("node", market.devnet.url),
            )
        }
        opened.enter_context(followed(market.chain, engine))
        settings = Settings(
            engine, market.chain, rate=None, relay_url=before["relay"].url, gateway_url=before["gateway"].url
        )
        before["api"] = opened.enter_context(Recorder(opened.enter_context(served(settings))))
        yield before
    market.devnet.node.request("evm_setAutomine", False)
    engine.dispose()


@pytest.fixture
def command(recorded, tmp_path, monkeypatch, capsys):
    """Runs a command, by signature or with transactions of one's own, which must succeed; gives what it said."""
    monkeypatch.setenv("BUSBAR_API_URL", recorded["api"].url)

    def run(*words, own=False):
        where = ["--url", recorded["node"].url] if own else ["--relayed"]
        record = tmp_path / "record.json"
        monkeypatch.setattr(sys, "argv", ["busbar", *map(str, [*words, *where, "--record", record])])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert not ended.value.code, said.err
        return said.out

    return run


@pytest.fixture
def stored(market, tmp_path, monkeypatch):
    """A participant with baht whose key is in a keystore, `me`."""
    monkeypatch.setenv("BUSBAR_KEYSTORES", str(tmp_path / "safe"))
    monkeypatch.setenv("BUSBAR_KEYSTORE_PASSWORD", PASSWORD)
    monkeypatch.setattr(sys, "argv", ["busbar", "wallet", "new", "me"])
    with pytest.raises(SystemExit):
        cli.main()
    key = EthAccount.decrypt((tmp_path / "safe" / "me.json").read_text("utf-8"), PASSWORD)
    me = KeySigner.from_key(bytes(key))
    market.register(me)
    market.chain.send(market.actors.issuer, Call("BahtToken", "issue", (me.address, 9 * BAHT, bytes(32))))
    return me


def key_of(signer):
    return bytes(signer.account.key)


def everything(recorded):
    return [bytes(sent) for recorder in recorded.values() for sent in recorder.connections]


def leaked(recorded, keys):
    """Whose keys are in what was sent to any of the servers."""
    return [name for name, key in keys.items() if any(wire.occurs(key, sent) for sent in everything(recorded))]


def test_command_line_and_client__whatever_they_do__send_no_key(market, actors, recorded, command, stored):
    who, mine = ("--account", f"dev:{CONSUMER}"), dev_signer(CONSUMER)
    order = command("order", "buy", 310, 500, *who).split()[-1]
    command("cancel", order, *who)
    command("withdraw", "money", 9 * BAHT, *who)
    command("deposit", "money", 5 * BAHT, *who)
    command("transfer", "money", 2 * BAHT, actors.outsider.address, *who)
    command("deposit", "money", 8 * BAHT, "--account", "me")
    command("order", "buy", 310, 500, "--account", "me")

    order = command("order", "buy", 320, 300, *who, own=True).split()[-1]
    command("cancel", order, *who, own=True)
    command("withdraw", "money", 4 * BAHT, *who, own=True)
    command("deposit", "money", 2 * BAHT, *who, own=True)
    command("transfer", "money", BAHT, actors.outsider.address, *who, own=True)
    command("account", *who, own=True)

    roof = assigned(market, "roof", actors.producer)
    with Client(recorded["api"].url, mine) as client:
        relayed = Relayed(client)
        relayed.cancel(relayed.order("buy", 300, 200))
        relayed.cancel_up_to(40)
        client.withdraw("money", 3 * BAHT)
        client.deposit("money", BAHT)
        client.transfer("money", BAHT, actors.outsider.address)
        client.tell(mine.address, name="Somchai", email=None, location=None)
        assert client.person(mine.address).name == "Somchai"
        client.erase(mine.address)
        signed = roof.read(export_wh=700, at=now(market))
        client.ask("POST", "readings", json=json.loads(signed.to_json()))

    # All of it passed through the recorders, whole.
    said = {name: b"".join(map(bytes, recorder.connections)) for name, recorder in recorded.items()}
    assert b"POST /api/v1/energy/orders" in said["api"]
    assert b"Authorization: Busbar account=" in said["api"]
    assert b"POST /bundles" in said["relay"]
    assert b"POST /readings" in said["gateway"]
    assert b"eth_sendRawTransaction" in said["node"]
    assert signed.r.hex().encode() in said["api"]
    assert signed.r.hex().encode() in said["gateway"]

    keys = {
        "participant": key_of(mine),
        "keystore": key_of(stored),
        "meter": roof.key,
        "relay": key_of(dev_signer(RELAY)),
        "gateway": key_of(dev_signer(METERS)),
    }
    assert leaked(recorded, keys) == []
    for text in (PASSWORD, DEV_MNEMONIC):
        assert not any(text.encode() in sent for sent in everything(recorded))


class Answering(BaseHTTPRequestHandler):
    """Answers whatever it is asked."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def answering():
    """The address of a server that takes anything."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("form", wire.forms(SECRET))
@pytest.mark.parametrize("place", ["line", "header", "body"])
def test_recorder__a_request_with_a_key_in_it__finds_it(answering, place, form):
    """What finds nothing above would find a key, in any form and anywhere in a request."""
    text = wire.forms(SECRET)[form]
    line, header, body = (text if place == of else b"0" for of in ("line", "header", "body"))
    request = b"POST /orders?of=%s HTTP/1.0\r\nx-of: %s\r\ncontent-length: %d\r\n\r\n%s"
    with Recorder(answering) as recorder:
        at = urlsplit(recorder.url)
        with socket.create_connection((at.hostname, at.port), PATIENCE_S) as connection:
            connection.sendall(request % (line.replace(b" ", b""), header, len(body), body))
            assert connection.recv(64).startswith(b"HTTP/1.0 204 ")
    recorded = {"server": recorder}
    assert leaked(recorded, {"of it": SECRET, "another": secrets.token_bytes(32)}) == ["of it"]


# ------------------------------------------------------------------------------ what the API takes

DOCUMENT = create_app(Settings(open_database("sqlite://"))).openapi()
SCHEMAS = DOCUMENT["components"]["schemas"]
SECRET_WORDS = re.compile("key|mnemonic|password|passphrase|secret|seed|private|keystore", re.IGNORECASE)


def named_in(entry):
    """The schemas that a part of the document names, through others too."""
    found, waiting = set(), [entry]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            name = part.get("$ref", "").rpartition("/")[2]
            if name and name not in found:
                found.add(name)
                waiting.append(SCHEMAS[name])
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
    return found


OPERATIONS = [operation for path in DOCUMENT["paths"].values() for operation in path.values()]
TAKEN = sorted(named_in([operation.get("requestBody", {}) for operation in OPERATIONS]))
"""Schemas of what is sent."""


def test_openapi__no_property_or_parameter__takes_a_key():
    properties = {(name, field) for name in SCHEMAS for field in SCHEMAS[name].get("properties", {})}
    parameters = {("parameter", given["name"]) for operation in OPERATIONS for given in operation.get("parameters", [])}
    assert len(TAKEN) > 15
    assert {(name, field) for name, field in properties | parameters if SECRET_WORDS.search(field)} == {
        # Answers: a group's name; the address of a meter's key, and its curve.
        ("StatShape", "key"),
        ("EnergyRow", "key"),
        ("MeterShape", "key"),
        ("MeterShape", "key_type"),
        # Sent: the public key of a P-256 meter.
        ("SignedReadingMessage", "publicKey"),
    }


@pytest.mark.parametrize("name", TAKEN)
def test_openapi__what_is_sent__holds_nothing_unnamed(name):
    assert SCHEMAS[name]["additionalProperties"] is False


def test_openapi__of_what_is_sent__only_signatures_have_the_length_of_a_key():
    patterns = {
        (name, field): json.dumps(shape)
        for name in TAKEN
        for field, shape in SCHEMAS[name]["properties"].items()
        if "{64}" in json.dumps(shape)
    }
    assert {*patterns} == {("SignedReadingMessage", "r"), ("SignedReadingMessage", "vs")}


def test_rpc__methods_that_sign_for_somebody__are_none():
    assert [method for method in RPC_METHODS if re.search("personal|sign|sendTransaction|account", method)] == []
