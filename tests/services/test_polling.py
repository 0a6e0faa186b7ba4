"""A head-end is asked page by page: whatever goes wrong on the way, every reading is taken in once."""

import asyncio
import json
import socket
import threading
from contextlib import suppress

import httpx
import pytest
from structlog.testing import capture_logs

from busbar import door, metrics
from busbar.devnet import Devnet, free_port
from busbar.headend import Readings, create_app
from busbar.intake import AHEAD_S, Intake
from busbar.keys import PASSWORD_VARIABLE
from busbar.meters import Gateway, SimulatedMeters, outstanding
from busbar.outbox import Outbox, State
from busbar.polling import HeadEnd, HeadEndError, Poller
from busbar.readings import MeterKey, Reading, meter_id_text
from busbar.units import GRID_WEI_PER_WH
from tests.communities import metered, shipped_day
from tests.market import P256, SECP256K1
from tests.operators import GENESIS, METERS, Operator

INTERVALS, METER_IDS = 8, ("ROOF-1", "SHOP-1", "WALL-1")
ALL = INTERVALS * len(METER_IDS)
PAGE = 5


class Faulty:
    """The simulator's application, with something wrong with the answers that are named in `faults`, in turn."""

    def __init__(self, app):
        self.app, self.faults, self.asked, self.before = app, [], 0, None

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self.asked += 1
        fault = self.faults.pop(0) if self.faults else None
        told = []

        async def hold(message):
            told.append(message)

        scope["query_string"] += b"&limit=%d" % PAGE
        await self.app(scope, receive, hold)
        start, body = told[0], b"".join(message.get("body", b"") for message in told[1:])
        if fault == "slow":
            await asyncio.sleep(0.6)
        elif fault == "error":
            start["status"], body = 500, b"out of order"
        elif fault == "short":
            page = json.loads(body)
            body = json.dumps(page | {"readings": page["readings"][:-1]}).encode()
        elif fault == "garbage":
            body = body[: len(body) // 2]
        elif fault == "repeated" and self.before is not None:
            body = self.before
        elif fault == "gone":
            start["status"] = 410
        elif fault == "huge":
            body = b"[" * 5_000_000
        self.before = body
        cut = body[: len(body) // 2] if fault == "cut" else body
        start["headers"] = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send(start)
        await send({"type": "http.response.body", "body": cut, "more_body": False})


class Place:
    """A market with meters on both curves, a head-end that has read them, and a gateway that asks it."""

    def __init__(self, market, folder, order=None):
        self.market, self.folder = market, folder
        first = market.epoch + 1
        keys, readings = {}, {}
        for n, meter_id in enumerate(METER_IDS):
            keys[meter_id] = MeterKey(bytes([n + 1]) * 32, P256 if n == 1 else SECP256K1)
            market.assign_meter(
                meter_id, market.actors.participants[n], key=keys[meter_id].secret, key_type=keys[meter_id].key_type
            )
            readings[meter_id] = [
                Reading(meter_id, market.chain.calendar.start(first + i), 5_000_000 + 10 * i, 3_000_000 + 200 * i)
                for i in range(1, INTERVALS + 1)
            ]
        self.source = SimulatedMeters(readings, keys)
        self.readings = Readings(market.chain, self.source)
        if order is not None:
            self.readings._readings = order(self.readings._readings)
        self.faulty = Faulty(create_app(self.readings))
        market.to_epoch(first + INTERVALS)
        with capture_logs() as logged:
            self.stop_serving = door.serve(self.faulty, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{logged[0]['port']}"
        self.outbox, self.pollers = Outbox(folder / "outbox.sqlite"), []

    def poller(self):
        intake = Intake(self.market.chain, self.outbox, door="headend")
        poller = Poller(HeadEnd(self.url, timeout_s=0.3), intake, pause_s=0.01)
        self.pollers.append(poller)
        return poller

    def polled(self):
        """Polls, with a poller that is new each time, until all was read; gives how many polls failed."""
        failed = 0
        for _ in range(100):
            with suppress(HeadEndError):
                self.poller().poll()
                if self.outbox.cursor(self.url) == str(ALL):
                    return failed
                continue
            failed += 1
        raise AssertionError("it does not come to an end")

    def stop(self):
        for poller in self.pollers:
            poller.head_end.close()
        self.stop_serving()

    def minted(self):
        gateway = Gateway(self.market.chain, self.market.actors.minter, outbox=self.outbox)
        while gateway.step():
            pass
        return [self.market.free_wh(who) for who in self.market.actors.participants[: len(METER_IDS)]]


EVERYTHING = [200 * INTERVALS] * len(METER_IDS)


@pytest.fixture
def place(market, tmp_path):
    place = Place(market, tmp_path)
    yield place
    place.stop()


def accepted(place):
    return sorted(item.key for item in place.outbox.open())


def expected(place):
    return sorted(reading.key for readings in place.source.readings.values() for reading in readings)


def test_poll__all_is_well__takes_every_page_once(place):
    assert place.poller().poll() == ALL
    assert place.faulty.asked == -(-ALL // PAGE)
    assert accepted(place) == expected(place)
    assert place.minted() == EVERYTHING


def test_poll__nothing_new__asks_once_where_it_left_off(place):
    place.poller().poll()
    place.faulty.asked = 0
    assert place.poller().poll() == 0
    assert place.faulty.asked == 1
    assert place.outbox.cursor(place.url) == str(ALL)


FAULTS = ("error", "slow", "cut", "short", "garbage", "huge", "repeated", "gone")


@pytest.mark.parametrize("fault", FAULTS)
def test_poll__a_fault_at_every_page__loses_and_doubles_nothing(place, fault):
    place.faulty.faults = [None, fault] * (2 * ALL // PAGE) if fault != "gone" else [None, None, fault, None, fault]
    place.polled()
    assert accepted(place) == expected(place)
    assert place.minted() == EVERYTHING


def test_poll__every_fault_one_after_another__loses_and_doubles_nothing(place):
    place.faulty.faults = [None, *FAULTS, None, *reversed(FAULTS), *FAULTS]
    assert place.polled() >= 12
    assert accepted(place) == expected(place)
    assert place.minted() == EVERYTHING


def test_poll__failed_page__leaves_the_cursor_where_it_was(place):
    place.faulty.faults = [None, "error"]
    with pytest.raises(HeadEndError, match="500"):
        place.poller().poll()
    assert place.outbox.cursor(place.url) == str(PAGE)
    assert len(accepted(place)) == PAGE


def test_poll__gateway_lost_its_cursor__reads_again_and_doubles_nothing(place):
    place.poller().poll()
    assert place.minted() == EVERYTHING
    place.outbox.forget_cursor(place.url)
    place.poller().poll()
    assert place.minted() == EVERYTHING
    assert place.outbox.counts()[State.DONE] == ALL


def test_poll__new_outbox_after_everything_counted__takes_nothing_twice(place, tmp_path):
    place.poller().poll()
    place.minted()
    place.outbox = Outbox(tmp_path / "other.sqlite")
    assert place.poller().poll() == 0
    assert place.outbox.cursor(place.url) == str(ALL)
    assert place.minted() == EVERYTHING


def test_poll__pages_out_of_order__mints_everything_all_the_same(market, tmp_path):
    place = Place(market, tmp_path, order=lambda readings: [*readings[15:], *readings[5:15], *readings[:5]])
    try:
        place.polled()
        assert place.minted() == EVERYTHING
    finally:
        place.stop()


def test_take__last_page_first_and_each_submitted_at_once__mints_everything_all_the_same(place):
    poller = place.poller()
    pages = [poller.head_end.page(str(first)) for first in range(0, ALL, PAGE)]
    for page in reversed(pages):
        poller._take(page)
        place.minted()
    assert place.minted() == EVERYTHING


def test_poll__forged_and_senseless_among_good_ones__leaves_these_out_and_goes_on(place):
    stranger = MeterKey(b"\x63" * 32)
    place.readings.source = SimulatedMeters(place.source.readings, place.source.keys | {"SHOP-1": stranger})
    with capture_logs() as logged:
        place.polled()
    assert {entry["reading"].split("@")[0] for entry in logged if entry["event"] == "not taken on"} == {"SHOP-1"}
    assert place.minted() == [1_600, 0, 1_600]


def test_poll__chain_stands_still__waits_with_the_page(place, market, monkeypatch):
    late = Reading("ROOF-1", market.chain.head().timestamp + AHEAD_S + 60, 5_000_900, 3_009_000)
    signed = place.source.keys["ROOF-1"].sign(late, market.chain.meter_domain)
    page = {"readings": [json.loads(signed.to_json())], "count": 1, "next_cursor": "1", "more": False}
    monkeypatch.setattr(place.readings, "page", lambda *_: page)
    with pytest.raises(HeadEndError, match="ends after the newest block"):
        place.poller().poll()
    assert place.outbox.cursor(place.url) is None
    market.devnet.mine(late.interval_end)
    assert place.poller().poll() == 1


def test_poll__one_reading_far_ahead__is_refused_and_holds_nobody_up(place, market, monkeypatch):
    ahead = {
        "meterId": "NOBODY",
        "intervalEnd": market.chain.head().timestamp + 23 * 3_600,
        "importWh": 0,
        "exportWh": 0,
    }
    forged = ahead | {"r": "0x" + "11" * 32, "vs": "0x" + "11" * 32}
    real = place.readings.page

    def page(*asked):
        found = real(*asked)
        return found | {"readings": [*found["readings"], forged], "count": found["count"] + 1}

    monkeypatch.setattr(place.readings, "page", page)
    assert place.poller().poll() == ALL
    assert accepted(place) == expected(place)


@pytest.mark.parametrize(
    ("cursors", "readings", "told"),
    [("ab", 1, "leads in a circle"), ("abcdefgh", 0, "empty page")],
)
def test_poll__pages_without_end__are_left_for_a_pause(place, market, monkeypatch, cursors, readings, told):
    reading = place.source.keys["ROOF-1"].sign(place.source.readings["ROOF-1"][0], market.chain.meter_domain)
    asked = []

    def page(*_):
        asked.append(1)
        return {
            "readings": [json.loads(reading.to_json())] * readings,
            "count": readings,
            "next_cursor": cursors[len(asked) % len(cursors)],
            "more": True,
        }

    monkeypatch.setattr(place.readings, "page", page)
    monkeypatch.setattr(place.readings, "knows", lambda _: True, raising=False)
    with pytest.raises(HeadEndError, match=told):
        place.poller().poll()


def test_poll__page_comes_a_byte_at_a_time__is_left_after_the_time_of_a_page(market):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        let_go = threading.Event()

        def drip():
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n")
                while not let_go.wait(0.05):
                    connection.sendall(b" ")

        threading.Thread(target=drip, daemon=True).start()
        head_end = HeadEnd(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout_s=0.3)
        poller = Poller(head_end, Intake(market.chain, Outbox(None)), pause_s=60)
        with pytest.raises(HeadEndError, match=r"a page took longer than 0\.3 s"):
            poller.poll()
        let_go.set()
        head_end.close()


def heard(place):
    """When the head-end was last heard of, as the metrics tell."""
    return metrics.PAGE_READ.labels(httpx.URL(place.url).host)._value.get()


def test_poll__page_without_readings__was_read(place, monkeypatch):
    place.poller().poll()
    monkeypatch.setattr("busbar.polling.time.time", lambda: 4_711)
    assert place.poller().poll() == 0
    assert heard(place) == 4_711


@pytest.mark.parametrize("fault", ["error", "garbage", "slow"])
def test_poll__no_page__leaves_the_time_of_the_last_one(place, monkeypatch, fault):
    monkeypatch.setattr("busbar.polling.time.time", lambda: 815)
    place.poller().poll()
    monkeypatch.setattr("busbar.polling.time.time", lambda: 4_711)
    place.faulty.faults = [fault]
    with pytest.raises(HeadEndError):
        place.poller().poll()
    assert heard(place) == 815


def test_start__head_end_that_never_answers__is_missed_from_then_on(place, market, monkeypatch):
    monkeypatch.setattr("busbar.polling.time.time", lambda: 4_711)
    poller = Poller(HeadEnd(f"http://127.0.0.1:{free_port()}", 1), Intake(market.chain, Outbox(None)), pause_s=0.01)
    poller.start()
    poller.stop()
    assert heard(place) == 4_711


def test_poll__nobody_there__is_a_fault_that_passes(market, tmp_path):
    poller = Poller(HeadEnd(f"http://127.0.0.1:{free_port()}", 1), Intake(market.chain, Outbox(None)))
    with pytest.raises(HeadEndError, match="ConnectError"):
        poller.poll()
    poller.head_end.close()


# ---- as processes, with keystores


@pytest.fixture(scope="module")
def community(tmp_path_factory):
    return shipped_day(tmp_path_factory.mktemp("street") / "street.csv", ("H01", "H05", "B018"))


@pytest.fixture
def operator(community, tmp_path):
    environment = {PASSWORD_VARIABLE: "correct horse", "BUSBAR_METERS__HEADEND_PAUSE_S": "0.1"}
    with (
        Devnet(timestamp=GENESIS) as devnet,
        Operator(devnet, tmp_path, community, environment=environment) as operator,
    ):
        yield operator


def test_processes__head_end_and_gateway_killed_in_turn__bring_every_interval_once(operator, community, monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, "correct horse")
    operator.enrol("--meter-keys", str(operator.folder / "keys"))
    enrolling = operator.running["enrol"]
    operator.make_blocks_until(lambda: enrolling.poll() is not None)
    assert enrolling.returncode == 0, operator.said("enrol")
    del operator.running["enrol"]
    operator.open()
    assert {key.key_type for key in operator.source.keys.values()} == {SECP256K1, P256}
    port = free_port()

    def start(name):
        more = ("--port", str(port)) if name == "headend" else ("--headend", f"http://127.0.0.1:{port}")
        operator.start(name, *more)

    def all_read():
        registers = operator.chain.registers(operator.source.meter_ids)
        return not outstanding(operator.source, registers, operator.chain.head().timestamp)

    start("headend")
    start("meters")
    # The data has eight intervals.
    for number, killed in enumerate(("meters", "headend", "both", None), 1):
        operator.to_interval(2 * number)
        if killed in ("headend", "both"):
            operator.kill("headend")
            start("headend")
        if killed in ("meters", "both"):
            operator.until(lambda: operator.sent_by(METERS))
            operator.kill("meters")
            start("meters")
        operator.make_blocks_until(all_read)
    assert [operator.stop(name) for name in ("meters", "headend")] == [0, 0]

    events = operator.chain.events([("Metering", "ReadingAccepted")], 0, operator.chain.head().number)
    read = [(meter_id_text(e.args["meterId"]), e.args["intervalEnd"], e.args["exportWh"]) for e in events]
    series = operator.source.readings
    assert sorted(read) == sorted((r.meter_id, r.interval_end, r.export_wh) for rs in series.values() for r in rs)
    exported = sum(export_wh for energies in metered(community).values() for _, export_wh in energies)
    assert operator.chain.view("GridToken", "totalSupply") == exported * GRID_WEI_PER_WH
