"""Verbs by signature from Python and the command line: a client, the API, the relay's process, and the chain."""

import sys
from pathlib import Path

import pytest
import structlog
from eth_account import Account as EthAccount

from busbar import cli, errors
from busbar.api.context import Settings
from busbar.chain import Call, KeySigner
from busbar.client import ApiError, Client
from busbar.history import open_database
from busbar.orders import Order, Side
from busbar.relayed import NotDoneError, OtherMessageError, Relayed
from tests.market import BAHT, bid
from tests.served import followed, served
from tests.services.test_relay import running

CONSUMER = ("--account", "dev:23")


@pytest.fixture(autouse=True)
def logs_put_back():
    yield
    structlog.reset_defaults()


@pytest.fixture
def url(market, tmp_path):
    """A server before a relay, over a chain that makes a block for each transaction."""
    engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    market.devnet.node.request("evm_setAutomine", True)
    with (
        running(market, tmp_path) as relay,
        followed(market.chain, engine),
        served(Settings(engine, market.chain, rate=None, relay_url=str(relay.client.base_url))) as url,
    ):
        yield url
    market.devnet.node.request("evm_setAutomine", False)
    engine.dispose()


@pytest.fixture
def mine(url, actors):
    """The consumer's verbs."""
    with Client(url, actors.consumer) as client:
        yield Relayed(client)


@pytest.fixture
def command(market, tmp_path, url, monkeypatch, capsys):
    """Runs a command of a participant who knows the API and no node: exit status and both outputs."""
    monkeypatch.setenv("BUSBAR_API_URL", url)

    def run(*words):
        monkeypatch.setattr(
            sys, "argv", ["busbar", *map(str, words), "--relayed", "--record", str(tmp_path / "record.json")]
        )
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


# ------------------------------------------------------------------------------ from Python


def test_enter__several_orders__are_in_the_book_and_told_by_their_ids(market, actors, mine):
    market.enter(actors.consumer, bid(200, 100))
    ids = mine.enter([Order(Side.BID, 310, 500), Order(Side.BID, 300, 200)])
    assert ids == [market.order_id(actors.consumer, place) for place in (1, 2)]
    assert sum(market.chain.book(1)[0].values()) == 800


def test_order_then_cancel__by_signature__leaves_nothing_in_the_book(market, actors, mine):
    number = mine.order("buy", 310, 500)
    assert market.account(actors.consumer).money_escrow_units == 500 * 10**6 * 620
    assert mine.cancel(number).state == "done"
    assert market.chain.book(1)[0] == {}


def test_order__more_than_the_balance__says_what_the_contract_said(mine):
    with pytest.raises(NotDoneError, match=r"^skipped: InsufficientFree: ") as refused:
        mine.order("buy", 1_000, 10_000_000)
    assert refused.value.status.state == "skipped"


def test_order__by_a_stranger__is_refused_at_once(url, actors):
    with Client(url, actors.outsider) as client, pytest.raises(ApiError) as refused:
        Relayed(client).order("buy", 310, 500)
    assert refused.value.status == 404


def test_withdraw_deposit_transfer__by_signature__move_the_tokens(market, actors, mine):
    free = market.account(actors.consumer).money_free_units
    mine.withdraw("money", 7 * BAHT)
    mine.transfer("money", 2 * BAHT, actors.outsider.address)
    mine.deposit("money", 5 * BAHT)
    assert market.token_balance("BahtToken", actors.outsider.address) == 2 * BAHT
    assert market.token_balance("BahtToken", actors.consumer.address) == 0
    assert market.account(actors.consumer).money_free_units == free - market.chain.money.from_wei(2 * BAHT)


def test_cancel_up_to__by_signature__makes_lower_nonces_worthless(market, actors, mine):
    assert mine.cancel_up_to(4).state == "done"
    assert market.account(actors.consumer).nonce == 5


def test_order__not_brought_in_time__says_where_to_look(market, mine):
    market.chain.send(market.actors.regulator, Call("Trading", "setPaused", (1, True)))
    mine.timeout_s = 0.1
    with pytest.raises(NotDoneError, match=r"see /api/v1/energy/bundles/0x"):
        mine.order("buy", 310, 500)


def test_order__the_server_gives_another_one_to_sign__nothing_is_signed(mine, monkeypatch):
    asked = mine.client.ask

    def dearer(method, path, **what):
        if path == "typed-data/orders":
            what["json"]["orders"][0]["tick"] = 999
        return asked(method, path, **what)

    monkeypatch.setattr(mine.client, "ask", dearer)
    with pytest.raises(OtherMessageError):
        mine.order("buy", 310, 500)


def test_order__the_server_serves_another_market__nothing_is_signed(market, actors, mine):
    elsewhere = market.chain.addresses | {"Trading": market.chain.addresses["Metering"]}
    with pytest.raises(OtherMessageError):
        Relayed(mine.client, elsewhere).order("buy", 310, 500)


def test_relayed__without_a_signer__is_refused(url):
    with Client(url) as client, pytest.raises(errors.BusbarError, match="no signer"):
        Relayed(client)


# ------------------------------------------------------------------------------ from the command line


def test_commands__relayed__do_what_they_say(market, actors, command):
    status, out, _ = command("order", "buy", 310, 500, *CONSUMER)
    assert (status, out) == (0, f"order {market.order_id(actors.consumer)}\n")
    status, out, _ = command("cancel", out.split()[-1], *CONSUMER)
    assert (status, out.startswith("cancel-order done in block ")) == (0, True)
    assert command("withdraw", "money", 7 * BAHT, *CONSUMER)[0] == 0
    assert command("deposit", "money", 5 * BAHT, *CONSUMER)[0] == 0
    status, out, _ = command("transfer", "money", 2 * BAHT, actors.outsider.address, *CONSUMER)
    assert (status, [line.split()[0] for line in out.splitlines()]) == (0, ["deposit", "withdraw"])
    assert market.token_balance("BahtToken", actors.outsider.address) == 2 * BAHT


def test_order__skipped__is_one_line_and_fails(command):
    status, _, err = command("order", "sell", 310, 500, *CONSUMER)
    # The server of these tests logs in the same process.
    assert (status, err.splitlines()[-1].startswith("busbar: skipped: InsufficientFree: ")) == (1, True)


def test_order__without_a_server__says_to_start_one(command, monkeypatch):
    monkeypatch.setenv("BUSBAR_API_URL", "http://127.0.0.1:1")
    status, _, err = command("order", "buy", 310, 500, *CONSUMER)
    assert (status, err.count("\n"), "busbar api" in err) == (1, 1, True)


def test_order__of_a_keystore_in_the_settings_folder__is_signed_by_it(
    market, actors, command, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("BUSBAR_KEYSTORES", str(tmp_path / "safe"))
    monkeypatch.setenv("BUSBAR_KEYSTORE_PASSWORD", "correct horse")
    monkeypatch.setattr(sys, "argv", ["busbar", "wallet", "new", "me"])
    with pytest.raises(SystemExit):
        cli.main()
    key = EthAccount.decrypt((tmp_path / "safe" / "me.json").read_text("utf-8"), "correct horse")
    me = KeySigner.from_key(bytes(key))
    market.register(me)
    free_wei = BAHT * 5
    market.chain.send(actors.issuer, Call("BahtToken", "issue", (me.address, free_wei, bytes(32))))
    assert command("deposit", "money", free_wei, "--account", "me")[0] == 0
    assert command("order", "buy", 310, 500, "--account", "me")[0] == 0
    assert market.account(me).money_escrow_units == 500 * 10**6 * 620
