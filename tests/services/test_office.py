"""The commands of operators and participants, on the tests' market."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import structlog
import typer

from busbar import cli
from busbar.api.context import Settings
from busbar.chain import Node
from busbar.devnet import free_port
from busbar.history import open_database
from busbar.statements import Statement
from tests.market import BAHT, ask, bid
from tests.served import served

BIN = Path(sys.executable).parent


@pytest.fixture(autouse=True)
def logs_put_back():
    yield
    structlog.reset_defaults()


@pytest.fixture
def command(market, tmp_path, monkeypatch, capsys):
    """Runs a command on the tests' market: exit status, and what it said on both outputs."""
    record = tmp_path / "record.json"
    market.record.save(record)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words, chain=True, database=False):
        where = ["--url", market.devnet.url, "--record", record] if chain else []
        where += ["--database", f"sqlite:///{tmp_path / 'index.db'}"] if database else []
        monkeypatch.setattr(sys, "argv", ["busbar", *map(str, [*words, *where])])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def automine(market):
    """A block for each transaction, as commands expect of a chain."""
    market.devnet.node.request("evm_setAutomine", True)
    yield
    market.devnet.node.request("evm_setAutomine", False)


def trade(market):
    roof = market.meter("roof", market.actors.producer)
    market.submit(roof.read(export_wh=1_000))
    market.enter(market.actors.producer, ask(300, 1_000))
    market.enter(market.actors.consumer, bid(310, 700))
    market.next_epoch()
    market.clear()


# ------------------------------------------------------------------------------ operators


def test_index_then_verify__a_market__agree(market, command):
    trade(market)
    assert command("index", "--once", database=True)[0] == 0
    status, out, _ = command("verify", database=True)
    assert (status, out) == (0, f"index and chain agree at block {market.chain.head().number}\n")


def test_index__rebuilt__agrees_again(market, command):
    trade(market)
    command("index", "--once", database=True)
    assert command("index", "--once", "--rebuild", database=True)[0] == 0
    assert command("verify", database=True)[0] == 0


def test_verify__of_an_altered_index__fails_in_one_line_and_lists_what_differs(market, command, tmp_path):
    trade(market)
    command("index", "--once", database=True)
    engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE epochs SET volume_wh = volume_wh + 1")
    engine.dispose()
    status, out, err = command("verify", database=True)
    head = market.chain.head().number
    assert (status, err) == (1, f"busbar: index and chain differ in 1 places at block {head}\n")
    assert out.startswith("result of zone 1 in epoch ")


def test_verify__without_an_index__says_what_to_run(command):
    status, _, err = command("verify", database=True)
    assert (status, err.count("\n")) == (1, 1)
    assert "run `busbar index`" in err


def test_export_then_audit__a_market__finds_no_difference(market, command, tmp_path):
    trade(market)
    status, out, _ = command("export", tmp_path / "archive.jsonl")
    head = market.chain.head().hash
    assert (status, head in out) == (0, True)
    status, out, _ = command("audit", tmp_path / "archive.jsonl", "--head", head, chain=False)
    assert (status, out.splitlines()[-1]) == (0, "the audit found no difference")
    assert command("audit")[0] == 0


def test_audit__one_byte_altered__fails_and_names_the_first_difference(market, command, tmp_path):
    trade(market)
    path = tmp_path / "archive.jsonl"
    command("export", path)
    lines = path.read_text("ascii").splitlines(keepends=True)
    number = max(i for i, line in enumerate(lines) if "receipts" in line)
    place = lines[number].index("receipts") + 900
    lines[number] = lines[number][:place] + "10"[lines[number][place] == "1"] + lines[number][place + 1 :]
    path.write_text("".join(lines), "ascii")
    status, _, err = command("audit", path, chain=False)
    assert (status, err.count("\n")) == (1, 1)
    assert f"the first: epoch 1, account {market.actors.keeper.address}: block {number - 1}" in err


def test_statement__in_every_format__is_written_and_audited(market, command, tmp_path):
    trade(market)
    command("index", "--once", database=True)
    command("export", tmp_path / "archive.jsonl")
    consumer = market.actors.consumer.address
    for ending in ("csv", "pdf", "json"):
        file = tmp_path / f"march.{ending}"
        assert command("statement", consumer, "2026-03", file, chain=False, database=True)[0] == 0
        assert file.stat().st_size > 0
    made = Statement.model_validate_json((tmp_path / "march.json").read_text("utf-8"))
    assert made.bought_uwh == 700 * 10**6
    both = ("--statement", tmp_path / "march.csv", "--statement", tmp_path / "march.json")
    assert command("audit", tmp_path / "archive.jsonl", *both, chain=False)[0] == 0
    words = ("audit", tmp_path / "archive.jsonl", "--statement", tmp_path / "march.json")
    wrong = made.model_copy(update={"total_uthb": made.total_uthb - 1})
    (tmp_path / "march.json").write_text(wrong.model_dump_json(), "utf-8")
    status, _, err = command(*words, chain=False)
    assert (status, f"account {consumer}: statement 2026-03: total in micro-THB" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nobody", "2026-03", "x.pdf"), "is no address"),
        (("0x" + 40 * "1", "2026-03", "x.txt"), "must end in .json, .csv or .pdf"),
        (("0x" + 40 * "1", "2026-13", "x.pdf"), "is no month"),
        (("0x" + 40 * "1", "2026-03", "x.pdf"), "is no participant"),
    ],
)
def test_statement__that_cannot_be_made__says_so_in_one_line(command, words, said):
    command("index", "--once", database=True)
    status, _, err = command("statement", *words, chain=False, database=True)
    assert (status in (1, 2), said in err, err.count("\n")) == (True, True, 1)


def test_api__as_a_process__serves_and_stops(market, command, tmp_path):
    trade(market)
    command("index", "--once", database=True)
    port = free_port()
    words = ["api", "--port", port, "--url", market.devnet.url, "--record", tmp_path / "record.json"]
    words += ["--database", f"sqlite:///{tmp_path / 'index.db'}", "--rate", "", "--relay", "http://127.0.0.1:1"]
    process = subprocess.Popen([BIN / "busbar", *map(str, words)], stderr=subprocess.PIPE, text=True)
    answer = None
    while answer is None and process.poll() is None:
        time.sleep(0.2)
        with contextlib.suppress(httpx.ConnectError):
            answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/status")
    assert answer.json()["block"] == market.chain.head().number
    unanswered = httpx.get(f"http://127.0.0.1:{port}/api/v1/energy/bundles/0x{'0' * 72}")
    assert (unanswered.status_code, unanswered.json()["title"]) == (503, "The relay does not answer")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    paths = [json.loads(line)["path"] for line in said.splitlines() if "answered" in line]
    assert process.returncode == 0
    assert paths == ["/api/v1/status", f"/api/v1/energy/bundles/0x{'0' * 72}"]


def test_api__a_rate_that_is_none__is_refused(command):
    status, _, err = command("api", "--rate", "often", database=True)
    assert (status, "is no rate" in err) == (2, True)


# ------------------------------------------------------------------------------ participants


def test_verbs__of_a_participant__do_what_they_say(market, command, automine):
    me = ("--account", "dev:23")  # the tests' consumer
    consumer, producer = market.actors.consumer, market.actors.producer
    status, out, _ = command("order", "buy", 310, 500, *me)
    assert status == 0
    order = out.splitlines()[-1].removeprefix("order ")
    assert int(order) == market.order_id(consumer)
    assert market.account(consumer).money_escrow_units == 500 * 10**6 * 620
    assert command("cancel", order, *me)[0] == 0
    assert market.account(consumer).money_escrow_units == 0
    free = market.account(consumer).money_free_units
    assert command("withdraw", "money", 7 * BAHT, *me)[0] == 0
    assert command("transfer", "money", 2 * BAHT, producer.address, *me)[0] == 0
    assert command("deposit", "money", 5 * BAHT, *me)[0] == 0
    assert market.account(consumer).money_free_units == free - market.chain.money.from_wei(2 * BAHT)
    status, out, _ = command("account", *me)
    assert (status, consumer.address in out, "998.00 THB" in out) == (0, True, True)


@pytest.mark.parametrize("option", ["--epochs", "--until"])
def test_order_buy__to_stand__stands_so_long(market, command, automine, option):
    epoch = market.epoch
    number = 5 if option == "--epochs" else epoch + 5
    assert command("order", "buy", 310, 500, option, number, "--account", "dev:23")[0] == 0
    (entry,) = market.chain.orders(market.actors.consumer.address)
    assert entry.order == replace(bid(310, 500), life=5)


def test_order_buy__to_stand_longer_than_a_day__says_so_in_one_line(command, automine):
    status, _, err = command("order", "buy", 310, 500, "--epochs", 97, "--account", "dev:23")
    assert (status, err.count("\n"), "97" in err) == (1, 1, True)


def test_order_sell__without_energy__says_so_in_one_line(command, automine):
    status, _, err = command("order", "sell", 310, 500, "--account", "dev:23")
    assert (status, err.count("\n"), "InsufficientFree" in err or "free" in err) == (1, 1, True)


def test_cancel__of_no_id__is_refused(command):
    assert command("cancel", "mine")[0] == 2


def test_show__blocks_epochs_trades_book__prints_them(market, command, tmp_path):
    trade(market)
    market.enter(market.actors.consumer, bid(310, 700))
    command("index", "--once", database=True)
    engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    with served(Settings(engine, market.chain, rate=None)) as url:
        said = {
            what: command("show", what, "--api", url, chain=False) for what in ("blocks", "epochs", "trades", "book")
        }
    engine.dispose()
    assert {status for status, _, _ in said.values()} == {0}
    assert market.chain.head().hash in said["blocks"][1]
    assert "0.700 kWh" in said["epochs"][1]
    assert market.actors.consumer.address in said["trades"][1]
    assert said["book"][1].endswith("1 orders, would clear at no trade\n")


@pytest.mark.parametrize("what", ["book", "epochs"])
def test_show__a_zone_never_opened__is_one_line_and_fails(market, command, tmp_path, what):
    command("index", "--once", database=True)
    engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    with served(Settings(engine, market.chain, rate=None)) as url:
        status, out, err = command("show", what, "--zone", 9, "--api", url, chain=False)
    engine.dispose()
    assert (status, out, err.count("\n"), "zone 9 was never opened" in err) == (1, "", 1, True)


def test_show__without_a_server__says_to_start_one(command):
    status, _, err = command("show", "book", "--api", "http://127.0.0.1:1", chain=False)
    assert (status, err.count("\n"), "busbar api" in err) == (1, 1, True)


# ------------------------------------------------------------------------------ reset


@pytest.fixture
def scrapped(monkeypatch, tmp_path):
    """What a reset would have asked the node for; the tests' chain is spared."""
    asked = []
    ask_node = Node.request

    def request(node, method, *params):
        if method == "anvil_reset":
            asked.append(node.url)
            return None
        return ask_node(node, method, *params)

    monkeypatch.setattr("busbar.chain.Node.request", request)
    monkeypatch.setattr("busbar.deployment.record_path", lambda _: tmp_path / "31337.json")
    return asked


def test_reset__asked_and_confirmed__empties_chain_and_index(market, command, scrapped, tmp_path):
    trade(market)
    command("index", "--once", database=True)
    words = ("reset", "--url", market.devnet.url, "--yes")
    assert command(*words, chain=False, database=True)[0] == 0
    assert scrapped == [market.devnet.url]
    status, _, err = command("verify", database=True)
    assert status == 1, err


def test_reset__not_confirmed__touches_nothing(market, command, scrapped, monkeypatch):
    def no(*_, **__):
        raise typer.Abort

    monkeypatch.setattr("typer.confirm", no)
    assert command("reset", "--url", market.devnet.url, chain=False, database=True)[0] == 130
    assert scrapped == []


def test_reset__of_a_chain_that_is_not_local__is_refused(market, command, scrapped, monkeypatch):
    monkeypatch.setattr("busbar.chain._THIS_MACHINE", ("http://nowhere:",))
    words = ("reset", "--url", market.devnet.url, "--yes")
    status, _, err = command(*words, chain=False, database=True)
    assert (status, "only a local chain" in err, scrapped) == (1, True, [])


def test_reset__of_another_chain_id__is_refused(market, command, scrapped, monkeypatch):
    monkeypatch.setattr("busbar.devnet.CHAIN_ID", 1)
    words = ("reset", "--url", market.devnet.url, "--yes")
    status, _, err = command(*words, chain=False, database=True)
    assert (status, "serves chain 31337" in err, scrapped) == (1, True, [])


# ------------------------------------------------------------------------------ slips of the pen

HUGE = 10**90
NOBODY = "0xe77478d9e136d3643cfc6fef578abf63f9ab91b1"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cancel", HUGE), "OrderNotOpen: "),
        (("cancel", 5), "NotOrderOwner: The order is of another account (orderId = 5, "),
        (("withdraw", "money", HUGE), "Trading.withdraw takes no such value: Value "),
        (("withdraw", "money", 5_000_000, "--to", "nobody"), "'nobody' is no address: write 0x and 40 hex digits"),
        (("transfer", "money", 5_000_000, NOBODY[:-1]), f"'{NOBODY[:-1]}' is no address"),
        (("transfer", "money", 5_000_000, NOBODY.replace("e7", "E7", 1).replace("d9", "D9", 1)), "is mistyped: "),
        (("transfer", "money", 5_000_000, f"0x{'0' * 40}"), "ZeroAddress: "),
        (("order", "buy", 310, 500, "--until", 0), "epoch 0 is over: epoch "),
        (("account", "--account", "dev:99999999999"), "'dev:99999999999' is no development account"),
        (("account", "--account", "nobody"), "the keystore nobody cannot be read: No such file or directory"),
        (("order", "buy", 310, 500, "--account", "nobody"), "the keystore nobody cannot be read: No such file"),
    ],
)
def test_verbs__of_what_cannot_be__say_so_in_one_line(market, command, words, said):
    market.next_epoch()
    status, _, err = command(*words)
    assert (status, err.count("\n")) == (1, 1)
    assert said in err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("money", 10**18, "--account", "dev:61"), "NotRegistered"),
        (("money", 5, "--account", "dev:23"), "InexactAmount"),
        (("energy", 10**33, "--account", "dev:23"), "ERC20InsufficientBalance"),
    ],
)
def test_deposit__that_would_be_refused__approves_nothing(market, command, words, error):
    before = market.chain.head().number
    status, _, err = command("deposit", *words)
    assert (status, err.split(":")[1].strip()) == (1, error)
    assert market.chain.head().number == before


def test_account__of_an_address__needs_no_key(market, command):
    consumer = market.actors.consumer.address
    status, out, _ = command("account", "--account", consumer.lower())
    assert (status, consumer in out) == (0, True)


def test_transfer__relayed_to_a_mistyped_address__moves_nothing(command):
    words = ("transfer", "money", 5_000_000, "0xE77478d9", "--relayed", "--api", "http://127.0.0.1:1")
    status, _, err = command(*words, chain=False)
    assert (status, "is no address" in err) == (1, True)


def test_show__of_what_is_no_server__says_so(command):
    status, _, err = command("show", "book", "--api", "here", chain=False)
    assert (status, err) == (1, "busbar: 'here' is no address of a server: write http://127.0.0.1:8000, say\n")


@pytest.mark.parametrize("text", ["no JSON", '{"account": "0x"}'])
def test_audit__of_what_is_no_statement__says_so(market, command, tmp_path, text):
    command("export", tmp_path / "archive.jsonl")
    (tmp_path / "bill.json").write_text(text, "utf-8")
    words = ("audit", tmp_path / "archive.jsonl", "--statement", tmp_path / "bill.json")
    status, _, err = command(*words, chain=False)
    assert (status, "bill.json is no statement as `busbar statement` writes it" in err, err.count("\n")) == (1, True, 1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bill.csv", "bill.csv is no statement as `busbar statement` writes it as CSV: no record says its account"),
        ("bill.pdf", "bill.pdf is a print, which is not audited: audit the statement as JSON or CSV"),
    ],
)
def test_audit__of_a_file_it_cannot_audit__says_so(market, command, tmp_path, name, said):
    command("export", tmp_path / "archive.jsonl")
    (tmp_path / name).write_text("record,item\ntotal,\n", "utf-8")
    status, _, err = command("audit", tmp_path / "archive.jsonl", "--statement", tmp_path / name, chain=False)
    assert (status, err) == (1, f"busbar: {tmp_path}/{said}\n")


@pytest.mark.parametrize("month", ["2025-12", "2026-05"])
def test_statement__of_a_month_outside_the_markets_time__is_refused(market, command, tmp_path, month):
    command("index", "--once", database=True)
    words = ("statement", market.actors.consumer.address, month, tmp_path / "x.json")
    status, _, err = command(*words, chain=False, database=True)
    assert (status, f"nothing of {month} is in the market's time" in err) == (1, True)


def test_index_once__its_metrics_port_is_taken__needs_none(market, command, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("BUSBAR_INDEX__METRICS_PORT", str(taken.getsockname()[1]))
        assert command("index", "--once", database=True)[0] == 0


@pytest.mark.parametrize(("setting", "what"), [("PORT", "requests"), ("METRICS_PORT", "metrics")])
def test_api__its_port_is_taken__names_it(market, command, monkeypatch, setting, what):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("BUSBAR_API__PORT", "0")
        monkeypatch.setenv(f"BUSBAR_API__{setting}", str(port))
        status, _, err = command("api", database=True)
    told = f"{what} cannot be taken at 127.0.0.1, port {port} (Address already in use): stop who listens there"
    assert (status, told in err) == (1, True)
