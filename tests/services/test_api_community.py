"""The community's figures over HTTP, and the dapp's own door: files, what it must know, and JSON-RPC for wallets."""

import json
from collections import defaultdict

import httpx
import pytest

from busbar.api.context import Settings
from busbar.api.dapp import MOST_BATCHED, MOST_BYTES, DappMissing
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
        httpx.Client(base_url=url, headers={"connection": "close"}) as client,
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


def test_folder__without_a_built_dapp__is_refused(market, tmp_path):
    with pytest.raises(DappMissing, match="make dapp-build"), served(Settings(None, market.chain, dapp=tmp_path)):
        pass


def test_deployment__asked_for__tells_the_market_and_no_node(door, market):
    told = door.get("/deployment.json").json()
    assert told["contracts"] == market.chain.addresses
    assert (told["chainId"], told["epochSeconds"]) == (market.chain.chain_id, market.chain.calendar.epoch_seconds)
    assert (told["api"], told["rpcUrl"], told["relay"]) == ("/api/v1", "/rpc", False)
    assert market.chain.node.url not in json.dumps(told)


def asked(door, *calls):
    bodies = [
        {"jsonrpc": "2.0", "id": n, "method": method, "params": params} for n, (method, *params) in enumerate(calls)
    ]
    return door.post("/rpc", json=bodies if len(bodies) > 1 else bodies[0])


def test_rpc__what_wallets_ask__is_the_nodes_answer(door, market):
    assert asked(door, ("eth_chainId",)).json()["result"] == hex(market.chain.chain_id)
    block, gas_price = asked(door, ("eth_blockNumber",), ("eth_gasPrice",)).json()
    assert int(block["result"], 16) == market.chain.head().number
    assert int(gas_price["result"], 16) >= 0


@pytest.mark.parametrize("method", ["anvil_setBalance", "evm_mine", "eth_sendTransaction", "debug_traceCall", None])
def test_rpc__what_administers_a_node__is_refused(door, market, method):
    before = market.chain.head().number
    told = asked(door, ("eth_chainId",), (method,)).json()
    assert [entry["error"]["code"] for entry in told] == [-32601]
    assert market.chain.head().number == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (json.dumps([{"id": 1, "method": "eth_chainId"}] * (MOST_BATCHED + 1)).encode(), 422),
        (b" " * (MOST_BYTES + 1), 413),
    ],
)
def test_rpc__too_much_or_not_json__is_refused(door, body, status):
    assert door.post("/rpc", content=body).status_code == status


def test_rpc__a_method_named_twice__is_what_was_looked_at(door, market):
    before = market.chain.head().number
    body = b'{"jsonrpc":"2.0","id":1,"method":"evm_mine","method":"eth_chainId","params":[]}'
    assert door.post("/rpc", content=body).json()["result"] == hex(market.chain.chain_id)
    assert market.chain.head().number == before
