"""The API over a real socket: what it answers, what it refuses, and what never reaches it."""

import contextlib
import csv
import io
import json
import logging
import socket
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import get_args

import httpx
import pytest
from eth_account.messages import encode_defunct
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from busbar import door, tables
from busbar.api.app import create_app
from busbar.api.context import Settings
from busbar.api.energy import OrderStatus
from busbar.api.node import THREADS
from busbar.api.signed import text_to_sign
from busbar.chain import Call, Node
from busbar.client import ApiError, Client, frame
from busbar.deployment import ROLES
from busbar.devnet import free_port
from busbar.history import History, head_of, holdings, import_ledgers, open_database
from busbar.orders import order_id
from busbar.statements import Month, Statement, Tariffs, make
from busbar.units import GRID_WEI_PER_WH
from tests.market import BAHT, ZONE, ask, bid
from tests.served import followed, served

SOMEBODY = {"name": "Somchai Jaidee", "email": "somchai@example.org", "location": "Soi 5, Bangkok"}


@pytest.fixture(scope="module")
def street(street_day):
    """The API over a replayed street's index, without a node."""
    engine = open_database(street_day.url)
    with served(Settings(engine, rate=None, stream_seconds=0)) as url:
        yield httpx.Client(base_url=url + "/api/v1/", headers={"connection": "close"})
    engine.dispose()


@pytest.fixture
def live(market, tmp_path):
    """The API over the tests' market, following every block."""
    engine = open_database(f"sqlite:///{tmp_path / 'live.db'}")
    with followed(market.chain, engine), served(Settings(engine, market.chain, rate=None)) as url:
        yield market, url, engine
    engine.dispose()


@pytest.fixture
def client_of(live):
    """Makes a client that signs for somebody."""
    made = []

    def of(signer=None):
        made.append(Client(live[1], signer))
        return made[-1]

    yield of
    for client in made:
        client.close()


def pages(http, path, **params):
    """All items of a list, page by page."""
    items, cursor = [], None
    while True:
        page = http.get(path, params=params | ({"cursor": cursor} if cursor else {})).json()
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


# ------------------------------------------------------------------------------ reading


def test_get__every_trade__is_the_replays_own(street, street_day):
    trades = pages(street, "energy/trades", limit=4)
    assert {(t["order_id"], t["energy_uwh"], t["money_wei"], t["order_tx"]) for t in trades} == {
        (t.order_id, str(t.energy_uwh), str(t.money_wei), t.tx_hash) for t in street_day.run.trades
    }
    assert len(trades) == len(street_day.run.trades)


def test_get__an_epoch__has_price_volume_and_curves(street, street_day):
    row = next(row for row in reversed(street_day.run.epochs) if row.volume_wh)
    epoch = street.get(f"energy/epochs/{row.epoch}").json()
    result = epoch["result"]
    assert (result["price2"], result["volume_wh"], epoch["status"]) == (row.price2, row.volume_wh, "cleared")
    assert max(step["cumulative_wh"] for step in epoch["demand"]) == sum(v.energy_wh for v in row.bids)
    assert max(step["cumulative_wh"] for step in epoch["supply"]) == sum(v.energy_wh for v in row.asks)
    assert street.get("energy/epochs", params={"limit": 1}).json()["items"][0]["epoch"] >= row.epoch


def test_get__lists_by_small_pages__are_the_lists(street):
    for path in ("blocks", "energy/orders", "energy/epochs", "participants", "meters", "meters/H01/readings"):
        assert pages(street, path, limit=3) == street.get(path, params={"limit": 500}).json()["items"], path


def test_get__orders_by_filter__are_those(street, street_day):
    everything = pages(street, "energy/orders", limit=500)
    seller = next(p for p in street_day.run.participants if p.sold_uwh).account
    for name, value, wanted in (
        ("account", seller, lambda o: o["account"] == seller),
        ("side", "sell", lambda o: o["side"] == "sell"),
        ("epoch", everything[0]["epoch"], lambda o: o["epoch"] == everything[0]["epoch"]),
        ("status", "filled", lambda o: o["status"] == "filled"),
        ("status", "partial", lambda o: o["status"] == "partial"),
        ("status", "unfilled", lambda o: o["status"] == "unfilled"),
    ):
        assert pages(street, "energy/orders", **{name: value}) == [o for o in everything if wanted(o)]
    one = everything[0]
    assert street.get(f"energy/orders/{one['order_id']}").json() == one


@pytest.mark.parametrize("by", ["epoch", "hour", "day", "participant", "zone"])
def test_get__stats__add_up_to_all_trades(street, street_day, by):
    items = street.get("energy/stats", params={"by": by}).json()["items"]
    assert sum(int(i["bought_uwh"]) for i in items) == sum(p.bought_uwh for p in street_day.run.participants)
    assert sum(int(i["earned_units"]) for i in items) * street_day.run.market.money_unit_wei == sum(
        p.earned_wei for p in street_day.run.participants
    )


def test_get__a_block_by_hash_and_number__is_the_same_with_its_events(street):
    block = street.get("blocks/70").json()
    assert street.get(f"blocks/hash/{block['hash']}").json() == block
    busiest = max(street.get("blocks", params={"limit": 500}).json()["items"], key=lambda b: b["events"])
    events = street.get(f"blocks/{busiest['number']}/events").json()
    assert len(events) == busiest["events"]
    assert [e["log_index"] for e in events] == sorted(e["log_index"] for e in events)


def test_get__account_meter_and_grid__agree_with_the_replay(street, street_day):
    grid = street.get("grid/status").json()
    assert (grid["participants"], grid["meters"]) == (6, 5)
    for p in street_day.run.participants:
        balance = street.get(f"accounts/{p.account}/balance").json()
        assert int(balance["energy_free_uwh"]) == p.grid_held_uwh
        assert balance["import_current_wh"] + balance["import_previous_wh"] == p.outstanding_wh
        assert balance["grid_import_wh"] == p.grid_import_wh
        meters = street.get("meters", params={"account": p.account}).json()["items"]
        assert sorted(m["meter_id"] for m in meters) == sorted(p.meter_ids)
        changes = pages(street, f"accounts/{p.account}/history")
        assert sum(int(c["energy_free_uwh"]) for c in changes) == p.grid_held_uwh


def test_get__statement__is_the_same_in_every_format(street, street_day, tmp_path):
    who = street_day.run.participants[0].account
    path = f"accounts/{who}/statement?month=2026-03"
    text = street.get(path).text
    as_json = Statement.model_validate_json(text)
    assert as_json.model_dump_json() == text  # whose digest the PDF has
    rows = list(csv.DictReader(io.StringIO(street.get(path + "&format=csv").text)))
    assert [int(r["amount_uthb"]) for r in rows if r["record"] == "total"] == [as_json.total_uthb]
    assert len([r for r in rows if r["record"] == "trade"]) == len(as_json.trades)
    assert all(r["transactions"] for r in rows if r["record"] in ("trade", "reading", "movement"))
    pdf = street.get(path + "&format=pdf")
    assert (pdf.headers["content-type"], pdf.content[:5]) == ("application/pdf", b"%PDF-")
    assert pdf.content == street.get(path + "&format=pdf").content


# ------------------------------------------------------------------------------ HTTP manners


def test_get__what_is_known_already__is_304(street):
    first = street.get("energy/book")
    again = street.get("energy/book", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert street.get("energy/book", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nothing", 404),
        ("blocks/999999", 404),
        ("blocks/-1", 422),
        ("blocks/99999999999999999999", 422),
        ("energy/orders/7", 404),
        ("energy/orders?cursor=nonsense", 422),
        ("energy/orders?cursor=WzFd", 422),
        ("energy/orders?cursor=WzUsICJcdWQ4MDAiLCAwXQ", 422),  # [5, "\ud800", 0]: no text
        ("energy/trades?cursor=WzUsIlx1MDAwMCIsMF0", 422),  # [5, "\u0000", 0]
        ("energy/orders?cursor=WzUsImEiLDEwOTk1MTE2Mjc3NzZd", 422),  # [5, "a", 2 ** 40]: no index of an order
        ("energy/orders?zone=1&zone=2", 422),
        ("energy/orders?limit=0", 422),
        ("energy/stats?first_epoch=5&last_epoch=1", 422),
        ("energy/book?zone=9", 404),
        ("energy/epochs?zone=9", 404),
        ("energy/epochs/1?zone=9", 404),
        ("meters/none", 404),
        ("accounts/0x0000000000000000000000000000000000000001", 404),
        ("accounts/0x0000000000000000000000000000000000000001/balance", 404),
        ("accounts/0x12/balance", 422),
        ("energy/orders?acount=0x70997970C51812dc3A010C7d01b50e0d17dc79C8", 422),
        ("energy/orders?account=0x70997970c51812dc3A010C7d01b50e0d17dc79C8", 422),
        ("accounts/0x70997970c51812dc3A010C7d01b50e0d17dc79C8/balance", 422),
        ("transactions/0x" + 64 * "0", 404),
    ],
)
def test_get__what_cannot_be_answered__is_a_problem_document(street, path, status):
    answer = street.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["status"], problem["instance"]) == (
        status,
        f"urn:busbar:request:{answer.headers['x-request-id']}",
    )
    assert problem["detail"]


def test_get__a_parameter_it_does_not_know__is_named(street):
    (fault,) = street.get("energy/orders", params={"acount": "0x12", "limit": 5}).json()["errors"]
    assert fault["location"] == "query.acount"


@pytest.mark.parametrize("name", ["lower", "upper"])
def test_get__address_without_checksum__is_the_one_with_it(street, name):
    account = street.get("participants").json()["items"][0]["account"]
    plain = "0x" + getattr(account[2:], name)()
    assert street.get(f"accounts/{plain}/balance").json()["account"] == account


def test_any__wrong_method_and_body__are_problem_documents(street):
    assert street.put("energy/book").status_code == 405
    assert street.put("energy/book").headers["content-type"] == "application/problem+json"
    wrong = street.post("transactions", content=b"{", headers={"content-type": "application/json"})
    assert (wrong.status_code, wrong.headers["content-type"]) == (422, "application/problem+json")


def test_any__a_request_id__comes_back(street):
    assert street.get("status", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    forged = street.get("status", headers={"X-Request-ID": "a b\tc"}).headers["x-request-id"]
    assert forged != "a b\tc"
    assert len(forged) == 32


def test_any__cors__is_for_named_origins_only(street_day):
    engine = open_database(street_day.url)
    with served(Settings(engine, cors_origins=("https://app.example",))) as url:
        for origin, allowed in (("https://app.example", "https://app.example"), ("https://evil.example", None)):
            answer = httpx.get(url + "/api/v1/status", headers={"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == allowed
    engine.dispose()


def test_any__more_than_the_rate__is_429_with_a_time_to_wait(street_day):
    engine = open_database(street_day.url)
    with served(Settings(engine, rate="3/minute")) as url:
        answers = [httpx.get(url + "/api/v1/status") for _ in range(4)]
    engine.dispose()
    assert [a.status_code for a in answers] == [200, 200, 200, 429]
    assert answers[3].headers["content-type"] == "application/problem+json"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 61


def test_any__nothing_indexed__is_503(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'empty.db'}")
    with served(Settings(engine)) as url:
        answer = httpx.get(url + "/api/v1/status")
    engine.dispose()
    assert (answer.status_code, answer.json()["title"]) == (503, "Nothing indexed yet")


def test_status__the_node_is_gone__says_so(live, monkeypatch):
    market, url, _ = live
    monkeypatch.setattr("busbar.api.context.BESIDE_S", 0)
    monkeypatch.setattr("busbar.api.answers.PASSES_S", -1)
    assert httpx.get(url + "/api/v1/status").json()["behind_blocks"] == 0
    monkeypatch.setattr(market.chain.node, "url", "http://127.0.0.1:1")
    assert httpx.get(url + "/api/v1/status").json()["node_block"] is None
    answer = httpx.post(url + f"/api/v1/accounts/{market.actors.consumer.address}/withdraw", json=wei("money", 1))
    assert (answer.status_code, answer.json()["title"]) == (503, "The node does not answer")


def test_status__no_block_comes__grows_old_by_the_servers_clock(live, monkeypatch):
    market, url, _ = live

    def later(seconds):
        monkeypatch.setattr("busbar.api.streams.time", SimpleNamespace(monotonic=lambda: time.monotonic() + seconds))

    def told():
        with httpx.stream("GET", f"{url}/api/v1/streams/blocks", timeout=20) as answer:
            return json.loads(next(line for line in answer.iter_lines() if line.startswith("data: "))[6:])

    consumer = market.actors.consumer
    market.enter(consumer, bid(300, 700))
    later(10)
    number = told()["number"]
    later(1_010)
    old = httpx.get(url + "/api/v1/status").json()
    assert (old["block"], old["age_s"] >= 1_000) == (number, True)
    assert told()["age_s"] >= 1_000
    market.enter(consumer, bid(301, 700))
    assert httpx.get(url + "/api/v1/status").json()["age_s"] < 1_000


def test_any__the_node_hangs__keeps_nobody_from_the_index(live, monkeypatch):
    market, url, _ = live
    monkeypatch.setattr("busbar.api.context.GLANCE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(2 * THREADS) as callers:
        silence = Node(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=10)
        monkeypatch.setattr(market.chain, "node", silence)
        hashes = [f"0x{number:064x}" for number in range(2 * THREADS)]
        asked = [callers.submit(httpx.get, f"{url}/api/v1/transactions/{tx}", timeout=60) for tx in hashes]
        time.sleep(0.5)
        read = httpx.get(url + "/api/v1/energy/orders?limit=3", timeout=5)
        told = httpx.get(url + "/api/v1/status", timeout=5).json()
        assert (read.status_code, told["node_block"]) == (200, None)
        assert [one.done() for one in asked] == [False] * len(asked)
        silent.close()
        assert {one.result().status_code for one in asked} == {503}


def test_any__too_many_wait_for_the_node__is_503(live, monkeypatch):
    _, url, _ = live
    monkeypatch.setattr("busbar.api.node.MOST", 0)
    answer = httpx.get(f"{url}/api/v1/transactions/0x{'0' * 64}")
    assert (answer.status_code, answer.json()["detail"]) == (503, "too many wait for it: try again later")


def test_any__the_database_is_gone__is_503(live, monkeypatch):
    _, url, _ = live

    def gone(*_):
        raise OperationalError("select", {}, Exception("disk I/O error"))

    monkeypatch.setattr("busbar.api.context.place_of", gone)
    answer = httpx.get(url + "/api/v1/meters")
    assert (answer.status_code, answer.json()["title"]) == (503, "The index does not answer")


def wei(asset, amount_wei, **more):
    return {"asset": asset, "amount_wei": str(amount_wei), **more}


# ------------------------------------------------------------------------------ live


def news_of(answer):
    """What a stream's events say, one after another."""
    return (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: "))


def clear_an_epoch(market, order):
    market.enter(market.actors.consumer, order)
    market.next_epoch()
    market.clear()


def test_stream__blocks_book_and_orders__tell_what_changes(live):
    market, url, _ = live
    consumer = market.actors.consumer
    for path, first, then in (
        ("blocks", lambda d: d["number"], lambda d: d["number"]),
        ("book", lambda d: d["orders"], lambda d: d["bids"]),
        (f"orders/{consumer.address}", lambda d: d["orders"], lambda d: d["orders"][-1]["status"]),
    ):
        with httpx.stream("GET", f"{url}/api/v1/streams/{path}", timeout=20) as answer:
            news = news_of(answer)
            before = next(news)
            market.enter(consumer, bid(300, 700))
            after = next(news)
        assert first(before) != then(after)


def test_stream__of_epochs__tells_of_each_that_is_cleared(live):
    market, url, _ = live
    clear_an_epoch(market, bid(300, 700))
    with httpx.stream("GET", f"{url}/api/v1/streams/epochs", timeout=20) as answer:
        news = news_of(answer)
        first = next(news)
        clear_an_epoch(market, bid(310, 200))
        then = next(news)
    assert (first["epoch"], then["epoch"]) == (market.epoch - 2, market.epoch - 1)
    assert then == httpx.get(f"{url}/api/v1/energy/epochs").json()["items"][0]


def test_stream__of_the_market__tells_of_block_book_and_epoch_on_one_connection(live):
    market, url, _ = live
    clear_an_epoch(market, bid(300, 700))
    with httpx.stream("GET", f"{url}/api/v1/streams/market", timeout=20) as answer:
        lines = answer.iter_lines()
        names = [next(line for line in lines if line.startswith("event: "))[7:] for _ in range(3)]
    assert names == ["block", "book", "epoch"]


def test_stream__of_a_server_that_stops__ends_whole_and_in_silence(live, caplog):
    _, _, engine = live
    port = free_port()
    stop = door.serve(create_app(Settings(engine, rate=None)), "127.0.0.1", port)
    with httpx.stream("GET", f"http://127.0.0.1:{port}/api/v1/streams/blocks", timeout=20) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: block"
        stop()
        assert "event: block" not in list(lines)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_energy__an_order__goes_through_its_states(live, client_of):
    market, _, _ = live
    producer, consumer = market.actors.producer, market.actors.consumer
    market.give_energy(producer, 1_000)
    market.enter(producer, ask(300, 900))
    market.enter(consumer, bid(310, 500), bid(200, 100), bid(210, 100))
    market.cancel(consumer, market.order_id(consumer, 2))
    client = client_of()
    epoch = market.epoch
    ids = [order_id(consumer.address, epoch, i) for i in range(3)] + [order_id(producer.address, epoch, 0)]

    def states():
        by_id = {order.order_id: order.status for order in client.orders(epoch=epoch)}
        for status in get_args(OrderStatus):
            told = {order.order_id for order in client.orders(epoch=epoch, status=status)}
            assert told == {i for i in by_id if by_id[i] == status}, status
        return [by_id[i] for i in ids]

    assert states() == ["open", "open", "cancelled", "open"]
    assert client.book().indicative.volume_wh == 500
    market.next_epoch()
    market.chain.after_send()
    assert states() == ["waiting", "waiting", "cancelled", "waiting"]
    assert client.epoch(epoch).status == "waiting"
    market.clear()
    assert states() == ["filled", "unfilled", "cancelled", "partial"]
    assert client.epoch(epoch).result.price2 == market.chain.results(ZONE, [epoch])[0].price2


def test_balance__of_everybody__is_the_contracts(live, client_of):
    market, _, engine = live
    market.give_energy(market.actors.producer, 1_000)
    market.enter(market.actors.producer, ask(300, 400))
    with engine.connect() as connection:
        head = head_of(connection)
        held, _ = holdings(connection, head), import_ledgers(connection, head)
    for participant in market.actors.participants:
        account, shown = market.account(participant), client_of().balance(participant.address)
        assert (shown.energy_free_uwh, shown.energy_escrow_uwh) == (account.energy_free_uwh, account.energy_escrow_uwh)
        assert shown.money_free_units == account.money_free_units == held[participant.address].money_free_units


# ------------------------------------------------------------------------------ payloads and transactions


def test_deposit_withdraw_transfer__signed_by_the_client__move_the_tokens(live, client_of):
    market, _, _ = live
    consumer, producer = market.actors.consumer, market.actors.producer
    client = client_of(consumer)
    before = client.balance(consumer.address).money_free_wei
    assert [t.status for t in client.withdraw("money", 30 * BAHT)] == ["included"]
    assert [t.status for t in client.transfer("money", 5 * BAHT, producer.address)] == ["included"]
    assert [e.name for t in client.deposit("money", 20 * BAHT) for e in t.events] == [
        "Approval",
        "Deposited",
        "Transfer",
    ]
    assert client.balance(consumer.address).money_free_wei == before - 10 * BAHT
    assert market.token_balance("BahtToken", consumer.address) == 5 * BAHT
    assert market.token_balance("BahtToken", producer.address) == 5 * BAHT


def test_deposit__of_energy__arrives(live, client_of):
    market, _, _ = live
    producer = market.actors.producer
    market.mint_to_wallet(producer, 700)
    client = client_of(producer)
    client.deposit("energy", 700 * GRID_WEI_PER_WH)
    assert client.balance(producer.address).energy_free_uwh == 700 * 10**6


@pytest.mark.parametrize(
    ("verb", "body", "kind"),
    [
        ("withdraw", wei("energy", GRID_WEI_PER_WH), "InsufficientFree"),
        ("withdraw", wei("money", 1), "InexactAmount"),
        ("transfer", wei("money", 10**30, to="0x" + 40 * "1"), "ERC20InsufficientBalance"),
    ],
)
def test_payload__the_contract_would_refuse__is_its_error_by_name(live, verb, body, kind):
    market, url, _ = live
    answer = httpx.post(f"{url}/api/v1/accounts/{market.actors.consumer.address}/{verb}", json=body)
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, f"urn:busbar:error:{kind}")
    assert problem["values"]


def test_deposit__more_than_the_wallet_holds__is_refused(live):
    market, url, _ = live
    path = f"{url}/api/v1/accounts/{market.actors.consumer.address}/deposit"
    assert httpx.post(path, json=wei("energy", 10**20)).json()["title"] == "Not enough tokens"


def signed_raw(market, signer, **changes):
    (payload,) = market.chain.payloads(signer.address, [Call("Trading", "withdraw", (1, BAHT, signer.address))])
    return "0x" + signer.sign({k: v for k, v in (payload | changes).items() if k != "from"}).hex()


def test_transactions__signed_for_us__is_accepted_and_followed(live):
    market, url, _ = live
    raw = signed_raw(market, market.actors.consumer)
    answer = httpx.post(url + "/api/v1/transactions", json={"raw": raw})
    assert answer.status_code == 202
    stands = httpx.get(url + answer.json()["follow"]).json()
    assert (stands["status"], stands["indexed"]) == ("included", True)
    assert [e["name"] for e in stands["events"]] == ["Withdrawn", "Transfer"]


def test_transactions__sent_twice_or_not_ours__are_refused(live):
    market, url, _ = live
    consumer = market.actors.consumer
    raw = signed_raw(market, consumer)
    path = url + "/api/v1/transactions"
    assert httpx.post(path, json={"raw": raw}).status_code == 202
    refused = [
        {"raw": raw},
        {"raw": signed_raw(market, consumer, chainId=1)},
        {"raw": signed_raw(market, consumer, to=consumer.address)},
        {"raw": "0x02c0"},
        {"raw": "0x" + 80 * "ff"},
        {"raw": raw, "key": "0x" + 64 * "1"},
        {},
    ]
    answers = [httpx.post(path, json=body) for body in refused]
    assert [a.status_code for a in answers] == [422] * len(refused)
    titles = [a.json()["title"] for a in answers]
    assert titles[1:5] == ["Another chain", "Another contract", "Not a transaction", "Not a transaction"]


def test_transactions__that_would_fail__are_refused_by_name(live):
    market, url, _ = live
    outsider = market.actors.outsider
    (payload,) = market.chain.payloads(market.actors.consumer.address, [Call("Trading", "createBuyOrder", (300, 500))])
    raw = "0x" + outsider.sign({k: v for k, v in (payload | {"nonce": 0}).items() if k != "from"}).hex()
    problem = httpx.post(url + "/api/v1/transactions", json={"raw": raw}).json()
    assert (problem["status"], problem["title"]) == (422, "NotRegistered")
    assert problem["values"] == {"account": outsider.address.lower()}


# ------------------------------------------------------------------------------ people


def test_person__told_read_and_erased__by_its_account(live, client_of):
    client = client_of(live[0].actors.consumer)
    account = live[0].actors.consumer.address
    assert client.tell(account, **SOMEBODY).name == SOMEBODY["name"]
    assert client.tell(account, name="Malee", email=None, location=None).email is None
    assert client.person(account).name == "Malee"
    client.erase(account)
    client.erase(account)
    with pytest.raises(ApiError, match="nothing is known"):
        client.person(account)


def test_person__a_distributor__may_act_for_others(live, client_of):
    market = live[0]
    client = client_of(market.actors.distributor)
    client.tell(market.actors.consumer.address, **SOMEBODY)
    assert client.person(market.actors.consumer.address).location == SOMEBODY["location"]
    client.erase(market.actors.consumer.address)


@pytest.mark.parametrize("role", ["producer", "minter", "keeper", "issuer", "outsider", "oracle_operator"])
def test_person__a_stranger__is_refused_everything(live, client_of, role):
    market = live[0]
    client = client_of(getattr(market.actors, role))
    account = market.actors.consumer.address
    for act in (
        lambda: client.tell(account, **SOMEBODY),
        lambda: client.person(account),
        lambda: client.erase(account),
    ):
        with pytest.raises(ApiError) as caught:
            act()
        assert caught.value.status == 403


def test_person__a_distributor_that_lost_its_role__is_refused(live, client_of):
    market = live[0]
    distributor = market.actors.distributor
    revoke = Call("Authority", "revokeRole", (ROLES["distributor"], distributor.address))
    market.chain.send(market.actors.regulator, revoke)
    with pytest.raises(ApiError, match="nor a distributor"):
        client_of(distributor).person(market.actors.consumer.address)


def authorization(signer, method, path, *, expires=None, body=b"", chain_id=31337):
    expires = int(time.time()) + 60 if expires is None else expires
    text = text_to_sign(method, path, chain_id, expires, body)
    signature = signer.account.sign_message(encode_defunct(text=text)).signature
    return f"Busbar account={signer.address}, expires={expires}, signature=0x{bytes(signature).hex()}"


def test_person__without_a_signature_that_holds__is_401(live):
    market, url, _ = live
    consumer = market.actors.consumer
    path = f"/api/v1/accounts/{consumer.address}/person"
    good = authorization(consumer, "GET", path)
    assert httpx.get(url + path, headers={"Authorization": good}).status_code == 404
    for header in (
        "",
        "Bearer x",
        authorization(consumer, "GET", path, expires=int(time.time()) - 1),
        authorization(consumer, "GET", path, expires=int(time.time()) + 10_000),
        authorization(consumer, "DELETE", path),
        authorization(consumer, "GET", path + "?x=1"),
        authorization(consumer, "GET", path, body=b"{}"),
        authorization(consumer, "GET", path, chain_id=1),
        good.replace(consumer.address, market.actors.producer.address),
        good[:-2] + "ff",
    ):
        answer = httpx.get(url + path, headers={"Authorization": header})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Busbar"), header


def test_person__erased__is_in_no_table_no_export_and_no_file(live, client_of, tmp_path):
    market, _, engine = live
    consumer = market.actors.consumer
    client = client_of(consumer)
    client.tell(consumer.address, **SOMEBODY)
    database = tmp_path / "live.db"
    assert SOMEBODY["name"].encode() in database.read_bytes() + (tmp_path / "live.db-wal").read_bytes()
    client.erase(consumer.address)
    for name in ("x.json", "x.csv", "x.pdf"):
        client.save_statement(consumer.address, "2026-03", tmp_path / name)
    with engine.connect() as connection:
        rows = [str(list(connection.execute(select(table)))) for table in tables.metadata.sorted_tables]
    for told in SOMEBODY.values():
        assert not any(told in row for row in rows)
        for path in tmp_path.iterdir():
            assert told.encode() not in path.read_bytes(), path


def test_person__erased_while_somebody_reads__is_503_and_cleared_when_asked_again(live, client_of, tmp_path):
    consumer = live[0].actors.consumer
    client = client_of(consumer)
    client.tell(consumer.address, **SOMEBODY)

    def remnants():
        return [path.name for path in tmp_path.iterdir() if SOMEBODY["name"].encode() in path.read_bytes()]

    with contextlib.closing(sqlite3.connect(tmp_path / "live.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM people").fetchone()
        with pytest.raises(ApiError, match="erase again") as caught:
            client.erase(consumer.address)
        assert caught.value.status == 503
        assert remnants() == ["live.db-wal"]
        with pytest.raises(ApiError, match="nothing is known"):
            client.person(consumer.address)
    client.erase(consumer.address)
    assert remnants() == []


@pytest.mark.parametrize("erased", [True, False])
def test_person__the_same_request_to_tell_again__is_409(live, client_of, erased):
    market, url, _ = live
    consumer = market.actors.consumer
    body = json.dumps({"account": consumer.address, "name": SOMEBODY["name"]}).encode()
    header = {"Authorization": authorization(consumer, "POST", "/api/v1/accounts", body=body)}
    headers = header | {"Content-Type": "application/json"}
    assert httpx.post(url + "/api/v1/accounts", content=body, headers=headers).status_code == 201
    if erased:
        client_of(consumer).erase(consumer.address)
    answer = httpx.post(url + "/api/v1/accounts", content=body, headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (409, "Used already")
    with pytest.raises(ApiError, match="nothing is known") if erased else contextlib.nullcontext():
        client_of(consumer).person(consumer.address)


def test_person__the_same_request_to_erase_again__takes_away_nothing_that_was_told_since(live, client_of):
    _, url, _ = live
    consumer = live[0].actors.consumer
    client = client_of(consumer)
    path = f"/api/v1/accounts/{consumer.address}/person"
    headers = {"Authorization": authorization(consumer, "DELETE", path)}
    client.tell(consumer.address, **SOMEBODY)
    # Again is harmless as long as nothing is known: after a 503 it is what clears the files.
    assert [httpx.delete(url + path, headers=headers).status_code for _ in range(2)] == [204, 204]
    # Not the same again, which within a second would be the same request.
    client.tell(consumer.address, **SOMEBODY | {"name": "Somchai"})
    answer = httpx.delete(url + path, headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (409, "Used already")
    assert client.person(consumer.address).name == "Somchai"


def test_person__of_an_account_that_is_not_registered__is_404(live, client_of):
    outsider = live[0].actors.outsider
    for caller in (outsider, live[0].actors.distributor):
        with pytest.raises(ApiError, match="is no participant") as caught:
            client_of(caller).tell(outsider.address, **SOMEBODY)
        assert caught.value.status == 404


def test_person__the_index_is_rebuilt__stays_known(live, client_of):
    market, _, engine = live
    client = client_of(market.actors.consumer)
    client.tell(market.actors.consumer.address, **SOMEBODY)
    History.forget(engine)
    History(market.chain, engine).step()
    assert client.person(market.actors.consumer.address).name == SOMEBODY["name"]


# ------------------------------------------------------------------------------ the client and its frames


def test_client__reads_everything__typed(live, client_of):
    market, _, _ = live
    roof = market.meter("roof", market.actors.producer)
    market.submit(roof.read(export_wh=500))
    request = Call("OracleClient", "requestEnergyData", (1, b"ft".ljust(32, b"\0")))
    market.chain.send(market.actors.oracle_operator, request)
    client = client_of()
    head = market.chain.head()
    assert client.block(head.number).hash == head.hash
    assert next(client.blocks()).number == head.number
    assert client.grid().grid_supply_wei == 500 * GRID_WEI_PER_WH
    assert [m.export_register_wh for m in client.meters()] == [roof.export_wh]
    assert [r.kind for r in client.readings("roof")] == ["reading", "opened"]
    assert [r.status for r in client.requests()] == ["pending"]
    assert {p.account for p in client.participants()} == {p.address for p in market.actors.participants}
    assert client.account(market.actors.producer.address).status == "active"
    assert next(client.history(market.actors.producer.address)).kind == "metered"
    assert client.stats("zone").items == []


def test_client__nobody_listens_or_no_signer__says_so_in_one_line(live, client_of):
    with Client("http://127.0.0.1:1") as client, pytest.raises(ApiError, match="no server answers at"):
        client.status()
    with pytest.raises(ApiError, match="has no signer"):
        client_of().withdraw("money", BAHT)


def test_client__something_else_answers__says_so_in_one_line(tmp_path):
    (tmp_path / "api" / "v1" / "energy").mkdir(parents=True)
    for path in ("status", "energy/epochs"):
        (tmp_path / "api" / "v1" / path).write_text("<html></html>", encoding="utf-8")
    files = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    thread = threading.Thread(target=files.serve_forever)
    thread.start()
    try:
        with Client(f"http://127.0.0.1:{files.server_port}") as client:
            with pytest.raises(ApiError, match=r"that is no Status: another server, or another version of Busbar"):
                client.status()
            with pytest.raises(ApiError, match=r"that is no Page\[EpochShape\]"):
                next(client.epochs())
    finally:
        files.shutdown()
        files.server_close()
        thread.join()


def test_frame__of_trades__keeps_every_unit_exact(street, street_day):
    engine = open_database(street_day.url)
    with served(Settings(engine, rate=None)) as url, Client(url) as client:
        trades = frame(client.trades())
    engine.dispose()
    assert trades["money_wei"].sum() == sum(t.money_wei for t in street_day.run.trades)
    assert set(trades["order_id"]) == {int(t.order_id) for t in street_day.run.trades}
    assert {"energy_uwh", "money_units", "quantity_wh", "price2"} <= set(trades.columns)


# ------------------------------------------------------------------------------ a month without trade


def test_statement__tells_a_participant_without_anything__nothing(live):
    market, _, engine = live
    with engine.connect() as connection:
        made = make(
            connection,
            market.actors.third_consumer.address,
            Month(2026, 3),
            Tariffs(Settings(engine).tariff_file),
        )
    assert (made.lines, made.total_uthb, made.saving_uthb, made.readings) == ([], 0, 0, [])
    assert [m.kind for m in made.movements] == ["deposited"]


def test_frame__sums_beyond_64_bits_and_missing_numbers__stay_exact():
    rows = [Sum(money_wei=9 * 10**18, block=2**53 + 1), Sum(money_wei=9 * 10**18, block=None)]
    table = frame(rows)
    assert table["money_wei"].sum() == 18 * 10**18
    assert (table["block"].iloc[0], table["block"].isna().sum()) == (2**53 + 1, 1)


class Sum(BaseModel):
    """Numbers that pandas would round."""

    money_wei: int
    block: int | None
