"""A replayed market that goes on: tomorrow is like today, and everything is served at one address."""

import os
import signal

import httpx
import pytest

from busbar.chain import ChainUnreachableError, Node
from busbar.community import load_community
from busbar.devnet import dev_signer, free_port
from busbar.enrolment import chosen, plan
from busbar.live import GUEST, GUEST_METER, LiveMarket, RepeatedMeters, RepeatedTariff, serve
from busbar.replay import ReplaySettings, replayed
from tests.communities import House, write_community
from tests.days import Silent

START, EPOCH_S = 1_773_421_200, 900

ROOF = House("ROOF", (100, 900, 200), (2_500, 0, 300))
SHOP = House("SHOP", (700, 800, 900))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_community(tmp_path_factory.mktemp("street") / "street.csv", ROOF, SHOP)


@pytest.fixture(scope="module")
def street(file):
    community = load_community(file)
    _, intervals = chosen(community, None, 1)
    return plan(community, file, intervals, chain_start=START, epoch_seconds=EPOCH_S, seed=1), community


@pytest.fixture
def meters(street):
    return RepeatedMeters(*street)


def test_meters__after_the_replay__go_on_from_its_last_registers(meters, street):
    enrolment, community = street
    last = community.registers(community.meter("ROOF"))[enrolment.replayed.stop - 1]
    (first,) = meters.after("ROOF", enrolment.chain_end, enrolment.chain_end + EPOCH_S)
    grown = (first.import_wh - last.import_wh, first.export_wh - last.export_wh)
    assert grown == (0, 2_400)
    assert first.interval_end == enrolment.chain_end + EPOCH_S


def test_meters__days_later__have_grown_by_whole_days(meters, street):
    enrolment, community = street
    shop = community.meter("SHOP")
    day = sum(community.import_wh(shop, i) for i in enrolment.replayed)
    before, after = (meters.registers("SHOP", 1 + days * enrolment.intervals) for days in (0, 3))
    assert after.import_wh - before.import_wh == 3 * day


def test_meters__asked_again__tell_only_what_is_newer(meters, street):
    end = street[0].chain_end
    assert meters.after("SHOP", end + 5 * EPOCH_S, end + 5 * EPOCH_S + EPOCH_S - 1) == []
    assert [r.interval_end for r in meters.after("SHOP", end + 5 * EPOCH_S, end + 7 * EPOCH_S)] == [
        end + 6 * EPOCH_S,
        end + 7 * EPOCH_S,
    ]


def test_meters__of_the_guest__count_as_the_first_roof_does(meters):
    assert meters.registers(GUEST_METER, 2) == meters.registers("ROOF", 2)
    assert len({*meters.keys.values()}) == 3


def test_sunny__of_a_day__is_the_first_interval_with_half_of_the_most_export(meters):
    assert meters.sunny() == 0


def test_tariff__a_day_later__is_the_same_hours(street):
    tariff, length = RepeatedTariff(*street), street[0].intervals * EPOCH_S
    assert tariff.corridor(START + EPOCH_S) == tariff.corridor(START + EPOCH_S + 40 * length)


def test_serve__until_interrupted__has_everything_at_one_address(file, tmp_path):
    seen = {}

    def opened(url, market):
        market.devnet.mine()
        market.step()
        with httpx.Client(base_url=url, headers={"connection": "close"}, timeout=30) as http:
            seen["page"] = http.get("/").text
            seen["pace"] = http.get("/deployment.json").json()["pace"]
            seen["status"] = http.get("/api/v1/status").json()
            account = dev_signer(GUEST).address
            seen["guest"] = http.get(f"/api/v1/participants/{account}").json()["status"]
            seen["meters"] = http.get("/api/v1/meters", params={"account": account}).json()["items"]
            wish = {"account": account, "orders": [{"side": "buy", "tick": 300, "quantity_wh": 500}]}
            seen["to sign"] = http.post("/api/v1/typed-data/orders", json=wish).json()["typed_data"]["primaryType"]
        raise KeyboardInterrupt

    built = tmp_path / "dist"
    built.mkdir()
    (built / "index.html").write_text("the dapp", encoding="utf-8")
    with replayed(ReplaySettings(file, None, 1, 1, tmp_path / "out"), Silent()) as done:
        serve(done, tmp_path / "out" / "deployment.json", built, free_port(), opened)
        assert all(check.ok for check in done.run.audit)
    assert (seen["page"], seen["pace"], seen["guest"], seen["to sign"]) == ("the dapp", 480, "active", "Orders")
    assert seen["status"]["behind_blocks"] == 0
    assert [meter["meter_id"] for meter in seen["meters"]] == [GUEST_METER]


@pytest.fixture
def live(file, tmp_path):
    with replayed(ReplaySettings(file, None, 1, 1, tmp_path / "out"), Silent()) as done:
        market = LiveMarket(done, tmp_path / "out" / "deployment.json", tmp_path)
        market.prepare()
        # Whoever mines does not wait for half a minute.
        market.devnet.node = Node(market.devnet.url, timeout_s=0.5)
        yield market
        market.engine.dispose()


def test_go_on__the_node_stands_still_for_a_while__goes_on_afterwards(live, monkeypatch):
    late = []

    def warned(told, **_):
        if told == "the node is late":
            os.kill(live.devnet.pid, signal.SIGCONT)
            late.append(live.chain.head().number)
            monkeypatch.setattr(live, "step", lambda: after(live.chain.head().number))

    def after(block):
        if block > late[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr("busbar.live.log.warning", warned)
    monkeypatch.setattr(live, "step", lambda: os.kill(live.devnet.pid, signal.SIGSTOP))
    # Not stopped before the head is read: that client waits for half a minute.
    live.chain.node = live.devnet.node
    with pytest.raises(KeyboardInterrupt):
        live.go_on()
    assert len(late) == 1


def test_go_on__the_node_has_ended__ends(live, monkeypatch):
    monkeypatch.setattr(live, "step", lambda: os.kill(live.devnet.pid, signal.SIGKILL))
    with pytest.raises(ChainUnreachableError):
        live.go_on()
