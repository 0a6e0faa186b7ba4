"""The community's figures over HTTP, and the dapp's own door: files, what it must know, and JSON-RPC for wallets."""

import json
import os
import signal
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from busbar.api.context import Settings
from busbar.api.dapp import DappMissing
from busbar.api.rpc import MOST_BATCHED, MOST_BLOCKS, MOST_BYTES, PART
from busbar.chain import TRANSACTION_GAS_CAP
from busbar.history import open_database
from busbar.tariff import UTHB_PER_TICK
from tests.served import followed, served

PAGE = "<!doctype html><title>Busbar</title>"


@pytest.fixture(scope="module")
def street(street_day):
    """The API over a replayed street's index, without a node."""
    engine = open_database(street_day.url)
    with served(Settings(engine, rate=None, stream_seconds=0)) as url:
        yield httpx.Client(base_url=url + "/api/v1/", headers={"connection": "close"})
    engine.dispose()


@pytest.fixture
def built(tmp_path):
    """A folder such as a build leaves."""
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(PAGE, encoding="utf-8")
    (folder / "assets" / "index-1.js").write_text("0;" * 2_000, encoding="utf-8")
    return folder


@pytest.fixture
def door(market, built, tmp_path):
    """The dapp and the API over the tests' market, at one address."""
    engine = open_database(f"sqlite:///{tmp_path / 'live.db'}")
    with (
        followed(market.chain, engine),
        served(Settings(engine, market.chain, rate=None, dapp=built)) as url,
        httpx.Client(base_url=url, headers={"connection": "close"}, timeout=30) as client,
    ):
        yield client
    engine.dispose()


# ------------------------------------------------------------------------------ the community


def test_energy__of_every_epoch__is_what_the_meters_said(street, street_day):
    items = street.get("grid/energy", params={"by": "epoch"}).json()["items"]
    genesis, epoch_s = street_day.run.market.genesis, street_day.run.market.epoch_seconds
    read = defaultdict(lambda: [0, 0])
    for row in street_day.run.readings:
        epoch = (row.interval_end - 1 - genesis) // epoch_s
        read[str(epoch)][0] += row.import_wh
        read[str(epoch)][1] += row.export_wh
    assert {
        row["key"]: [row["import_wh"], row["export_wh"]] for row in items if row["import_wh"] or row["export_wh"]
    } == {key: sums for key, sums in read.items() if any(sums)}


def test_energy__by_day__covers_what_was_retired(street, street_day):
    days = street.get("grid/energy", params={"by": "day"}).json()["items"]
    # The utility's GRID is surrendered, which covers nobody's import.
    households = [row for row in street_day.run.participants if row.role != "utility"]
    assert sum(day["covered_wh"] for day in days) == sum(row.retired_wh for row in households) > 0


def test_energy__by_hour__adds_up_to_the_days(street):
    hours, days = (street.get("grid/energy", params={"by": by}).json()["items"] for by in ("hour", "day"))
    assert len(hours) > 1
    for name in ("import_wh", "export_wh", "covered_wh"):
        assert sum(row[name] for row in hours) == sum(row[name] for row in days)


def test_flows__of_the_day__are_the_reports(street, street_day):
    account = {row.name: row.account for row in street_day.run.participants}
    items = street.get("energy/flows").json()["items"]
    assert {(row["seller"], row["buyer"], row["energy_wh"]) for row in items} == {
        (account[row.seller], account[row.buyer], row.energy_wh) for row in street_day.run.flows
    }


def test_tariff__of_the_day__is_the_agents_corridor(street, street_day):
    epochs = street_day.run.epochs
    steps = street.get("grid/tariff", params={"first_epoch": epochs[0].epoch, "last_epoch": epochs[-1].epoch}).json()[
        "items"
    ]
    assert [(step["epoch"], step["retail_tick"], step["buyback_tick"]) for step in steps] == [
        (epochs[0].epoch, epochs[0].retail_tick, epochs[0].buyback_tick)
    ]
    assert steps[0]["retail_uthb_per_kwh"] // UTHB_PER_TICK == epochs[0].retail_tick


@pytest.mark.parametrize("path", ["grid/energy", "grid/tariff", "energy/flows"])
def test_range__too_long_or_backwards__is_refused(street, path):
    for first, last in ((0, 3_000), (5, 4)):
        answer = street.get(path, params={"first_epoch": first, "last_epoch": last})
        assert (answer.status_code, answer.json()["title"]) == (422, "Range")


# ------------------------------------------------------------------------------ the dapp's door


def test_page__asked_for__may_run_nothing_from_elsewhere_and_is_looked_up_again(door):
    answer = door.get("/")
    assert answer.text == PAGE
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_script__asked_for__is_compressed_and_kept_for_good(door):
    answer = door.get("/assets/index-1.js")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_file_that_is_not_there__asked_for__is_a_problem_document(door):
    answer = door.get("/assets/nothing.js")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["HEAD", "DELETE"])
def test_api__another_method_than_it_has__is_405_beside_the_dapp(door, method):
    answer = door.request(method, "/api/v1/status")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_api__where_nothing_is__is_a_problem_document_beside_the_dapp(door):
    answer = door.get("/api/v1/nothing")
    assert (answer.status_code, answer.json()["detail"]) == (404, "nothing is at /api/v1/nothing")


def test_folder__without_a_built_dapp__is_refused(market, tmp_path):
    with pytest.raises(DappMissing, match="make dapp-build"), served(Settings(None, market.chain, dapp=tmp_path)):
        pass


def test_deployment__asked_for__tells_the_market_and_no_node(door, market):
    told = door.get("/deployment.json").json()
    assert told["contracts"] == market.chain.addresses
    assert (told["chainId"], told["epochSeconds"]) == (market.chain.chain_id, market.chain.calendar.epoch_seconds)
    assert (told["api"], told["rpcUrl"], told["relay"]) == ("/api/v1", "/rpc", False)
    assert market.chain.node.url not in json.dumps(told)


JSON = {"content-type": "application/json"}


def asked(door, *calls):
    bodies = [
        {"jsonrpc": "2.0", "id": n, "method": method, "params": params} for n, (method, *params) in enumerate(calls)
    ]
    return door.post("/rpc", content=json.dumps(bodies if len(bodies) > 1 else bodies[0]), headers=JSON)


def test_rpc__what_wallets_ask__is_the_nodes_answer(door, market):
    assert asked(door, ("eth_chainId",)).json()["result"] == hex(market.chain.chain_id)
    block, gas_price = asked(door, ("eth_blockNumber",), ("eth_gasPrice",)).json()
    assert int(block["result"], 16) == market.chain.head().number
    assert int(gas_price["result"], 16) >= 0


@pytest.mark.parametrize(
    ("method", "code"),
    [
        *((name, -32601) for name in ("anvil_setBalance", "evm_mine", "eth_sendTransaction", "debug_traceCall")),
        *((odd, -32600) for odd in (None, [], {}, 7)),
        ("\ud800", -32601),
    ],
)
def test_rpc__what_administers_a_node_or_is_no_method__is_refused(door, market, method, code):
    before = market.chain.head().number
    told = asked(door, ("eth_chainId",), (method,)).json()
    assert [entry["error"]["code"] for entry in told] == [code]
    assert market.chain.head().number == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (json.dumps([{"id": 1, "method": "eth_chainId"}] * (MOST_BATCHED + 1)).encode(), 422),
        (b" " * (MOST_BYTES + 1), 413),
        (b"[" * 200_000, 400),
        (b'{"id":1,"method":"eth_chainId","params":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b'{"id":NaN,"method":"eth_chainId"}', 400),
        (b'{"id":1e999,"method":"eth_chainId"}', 400),
        (b'{"id":1,"method":"\xff"}', 400),
    ],
)
def test_rpc__too_much_or_not_json__is_a_problem_document(door, body, status):
    answer = door.post("/rpc", content=body, headers=JSON)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_rpc__a_method_named_twice__is_what_was_looked_at(door, market):
    before = market.chain.head().number
    body = b'{"jsonrpc":"2.0","id":1,"method":"evm_mine","method":"eth_chainId","params":[]}'
    assert door.post("/rpc", content=body, headers=JSON).json()["result"] == hex(market.chain.chain_id)
    assert market.chain.head().number == before


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_rpc__from_any_page_unasked__is_415(door, kind):
    body = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'
    assert door.post("/rpc", content=body, headers={"content-type": kind}).status_code == 415


def test_rpc__a_page_of_an_origin_that_is_not_named__may_not_ask(market, built, tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'live.db'}")
    settings = Settings(engine, market.chain, rate=None, dapp=built, cors_origins=("https://one.example",))
    with followed(market.chain, engine), served(settings) as url:
        told = {}
        for origin in ("https://one.example", "https://evil.example"):
            wish = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
            answer = httpx.options(f"{url}/rpc", headers={"origin": origin, **wish, "connection": "close"})
            told[origin] = (answer.status_code, answer.headers.get("access-control-allow-origin"))
    engine.dispose()
    assert told == {"https://one.example": (200, "https://one.example"), "https://evil.example": (400, None)}


FOREVER, GAS_LEFT = "0x5b600056", "0x5a60005260206000f3"
"""Code that never ends, and code that returns the gas it has."""


@pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
@pytest.mark.parametrize(
    "params",
    [
        [{"to": "0x" + "aa" * 20}, "latest", {"0x" + "aa" * 20: {"code": FOREVER}}],
        [{"to": "0x" + "aa" * 20}, "latest", None, {"time": "0x1"}],
        [{"data": FOREVER, "gasLimit": "0x2540be400"}],
        [{"data": FOREVER, "gas": 10**9}],
        [{"data": FOREVER, "gas": "0xzz"}],
        [],
        ["0x"],
        {"to": "0x"},
    ],
)
def test_rpc__a_call_beyond_the_chain_as_it_is__is_refused(door, method, params):
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    assert door.post("/rpc", json=body).json()["error"]["code"] == -32602


@pytest.mark.parametrize("gas", [{}, {"gas": "0x2540be400"}], ids=["none named", "ten billion"])
def test_rpc__a_call_with_more_gas_than_a_transaction__has_a_transactions(door, gas):
    left = int(asked(door, ("eth_call", {"data": GAS_LEFT, **gas}, "latest")).json()["result"], 16)
    assert TRANSACTION_GAS_CAP * 9 // 10 < left < TRANSACTION_GAS_CAP


def test_rpc__a_call_with_little_gas__has_just_that(door):
    left = int(asked(door, ("eth_call", {"data": GAS_LEFT, "gas": hex(100_000)}, "latest")).json()["result"], 16)
    assert left < 100_000


def test_rpc__more_than_a_part__is_answered_in_order(door):
    answers = asked(door, *[("eth_chainId",), ("eth_blockNumber",)] * PART).json()
    assert [answer["id"] for answer in answers] == list(range(2 * PART))


@pytest.mark.parametrize(
    ("wish", "allowed"),
    [
        ({"fromBlock": "0x0", "toBlock": hex(MOST_BLOCKS - 1)}, True),
        ({"fromBlock": "0x0", "toBlock": hex(MOST_BLOCKS)}, False),
        ({"fromBlock": "earliest", "toBlock": "0xffffffff"}, False),
        ({"fromBlock": "0x0"}, True),
        ({}, True),
    ],
)
def test_rpc__events__are_told_of_so_many_blocks(door, wish, allowed):
    told = asked(door, ("eth_getLogs", wish)).json()
    assert ("result" in told, told.get("error", {}).get("code")) == ((True, None) if allowed else (False, -32005))


def test_rpc__the_node_stands_still__the_api_answers_meanwhile_and_the_calls_are_503(door, market):
    with ThreadPoolExecutor(8) as wallets:
        os.kill(market.devnet.pid, signal.SIGSTOP)
        try:
            waiting = [wallets.submit(asked, door, ("eth_chainId",)) for _ in range(8)]
            answers = [door.get("/api/v1/participants", timeout=4) for _ in range(3)]
            statuses = {done.result().status_code for done in waiting}
        finally:
            os.kill(market.devnet.pid, signal.SIGCONT)
    assert [answer.status_code for answer in answers] == [200] * 3
    assert statuses == {503}
