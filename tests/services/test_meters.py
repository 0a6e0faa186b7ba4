"""The gateway on the real chain: every reading once, in order, whenever it is stopped."""

import pytest
from structlog.testing import capture_logs

from busbar import errors, meters
from busbar.chain import Call, Chain, NotMinedError
from busbar.meters import Gateway, SimulatedMeters, outstanding
from busbar.outbox import Outbox, State
from busbar.readings import MeterKey, Reading, meter_id_bytes

INTERVAL_S = 900


class Street:
    """Meters whose registers grow by so much an interval, with the interval ends of the market's epochs."""

    def __init__(self, market, meter_ids=("ROOF-1", "SHOP-1"), intervals=8, assign=True):
        self.market = market
        self.first = market.epoch + 1
        self.keys = {}
        self.readings = {}
        for n, meter_id in enumerate(meter_ids):
            owner = market.actors.participants[n]
            self.keys[meter_id] = MeterKey(bytes([n + 1]) * 32)
            self.readings[meter_id] = [
                Reading(meter_id, market.chain.calendar.start(self.first + i), 5_000_000 + 10 * i, 3_000_000 + 200 * i)
                for i in range(1, intervals + 1)
            ]
            if assign:
                self.assign(meter_id, owner)

    def assign(self, meter_id, owner):
        self.market.assign_meter(meter_id, owner, key=self.keys[meter_id].secret)

    @property
    def source(self):
        return SimulatedMeters(self.readings, self.keys)

    def gateway(self, chain=None, signer=None, outbox=None):
        return Gateway(chain or self.market.chain, signer or self.market.actors.minter, self.source, outbox)

    def pass_intervals(self, count):
        """Moves to where that many readings of each meter have ended."""
        self.market.to_epoch(self.first + count)

    def accepted(self):
        """(meter, number of its interval) of every accepted reading, in the chain's order."""
        kinds = [("Metering", "ReadingAccepted")]
        found = self.market.chain.events(kinds, 0, self.market.chain.head().number)
        start = self.market.chain.calendar.start(self.first)
        return [
            (event.args["meterId"].rstrip(b"\0").decode(), (event.args["intervalEnd"] - start) // INTERVAL_S)
            for event in found
        ]

    def passed_over(self):
        kinds = [("Metering", "ReadingSkipped")]
        return len(self.market.chain.events(kinds, 0, self.market.chain.head().number))


@pytest.fixture
def street(market):
    """A roof and a shop, eight intervals of each."""
    return Street(market)


@pytest.fixture(autouse=True)
def pool_left_empty(market):
    """Snapshots do not hold what waits for a block: a test that leaves something there would haunt the next."""
    yield
    market.chain.node.request("anvil_dropAllTransactions")


def impatient(market):
    """The market through a process that makes no blocks and is gone before anybody does."""
    return Chain(market.devnet.url, market.chain.addresses, timeout_s=0)


# ------------------------------------------------------------------------------- ordinary


def test_step__no_interval_has_ended__sends_nothing(market, street):
    street.pass_intervals(0)
    before = market.chain.head()
    assert street.gateway().step() == []
    assert market.chain.head() == before


def test_step__an_interval_has_ended__submits_every_meter_once(market, street):
    street.pass_intervals(1)
    gateway = street.gateway()
    (outcome,) = gateway.step()
    assert outcome.ok
    assert street.accepted() == [("ROOF-1", 1), ("SHOP-1", 1)]
    assert market.free_wh(market.actors.producer) == 200
    assert market.chain.imports([market.actors.producer.address])[0].outstanding_wh == 10
    assert gateway.step() == []
    assert street.gateway().step() == []


def test_step__readings_of_the_future__stay_in_the_meter(market, street):
    street.pass_intervals(3)
    street.gateway().step()
    assert max(interval for _, interval in street.accepted()) == 3


def test_step__one_second_before_the_end__does_not_read_yet(market, street):
    market.to_epoch(street.first, offset_s=INTERVAL_S - 1)
    assert street.gateway().step() == []
    market.pass_time(1)
    assert len(street.gateway().step()) == 1


# --------------------------------------------------------------------------- catching up


def test_step__away_for_six_intervals__submits_them_all_in_order(market, street):
    street.pass_intervals(6)
    (outcome,) = street.gateway().step()
    assert outcome.ok
    assert street.accepted() == [(meter_id, i) for i in range(1, 7) for meter_id in ("ROOF-1", "SHOP-1")]
    assert market.free_wh(market.actors.producer) == 6 * 200


def test_step__more_than_a_batch__submits_the_oldest_first(market, street, monkeypatch):
    monkeypatch.setattr(meters, "BATCH", 5)
    street.pass_intervals(8)
    outcomes = street.gateway().step()
    assert [outcome.ok for outcome in outcomes] == [True] * 4
    assert street.accepted() == [(meter_id, i) for i in range(1, 9) for meter_id in ("ROOF-1", "SHOP-1")]
    assert street.gateway().step() == []


def test_step__one_meter_read_by_somebody_else__submits_only_what_is_missing(market, street):
    street.pass_intervals(4)
    newest = street.readings["ROOF-1"][2]
    market.submit(
        market.signed("ROOF-1", street.keys["ROOF-1"].secret, newest.interval_end, newest.import_wh, newest.export_wh)
    )
    street.gateway().step()
    assert street.accepted() == [
        ("ROOF-1", 3),
        ("SHOP-1", 1),
        ("SHOP-1", 2),
        ("SHOP-1", 3),
        ("ROOF-1", 4),
        ("SHOP-1", 4),
    ]
    assert street.passed_over() == 0
    assert market.free_wh(market.actors.producer) == 4 * 200


def test_outstanding__meters_at_different_places__gives_the_oldest_first(market, street):
    registers = market.chain.registers(["ROOF-1", "SHOP-1"])
    now = street.readings["ROOF-1"][1].interval_end
    found = outstanding(street.source, registers, now)
    assert [(r.meter_id, r.interval_end) for r in found] == sorted(
        ((r.meter_id, r.interval_end) for r in found), key=lambda pair: (pair[1], pair[0])
    )
    assert len(found) == 4


# ------------------------------------------------------------------- stopped and started


def test_step__stopped_before_the_receipt_and_started_again__mints_once(market, street):
    street.pass_intervals(2)
    (lost,) = street.gateway(impatient(market)).step()
    assert isinstance(lost.error, NotMinedError)
    # The first process is gone. Two more come and go while no block is made.
    for _ in range(2):
        street.gateway(impatient(market)).step()
    market.devnet.mine()
    assert street.gateway().step() == []
    assert sorted(street.accepted()) == [(m, i) for m in ("ROOF-1", "SHOP-1") for i in (1, 2)]
    assert market.free_wh(market.actors.producer) == 2 * 200


def test_step__stopped_and_time_went_on__sends_old_and_new_once_each(market, street):
    street.pass_intervals(2)
    street.gateway(impatient(market)).step()
    street.pass_intervals(3)
    street.gateway().step()
    assert sorted(street.accepted()) == [(m, i) for m in ("ROOF-1", "SHOP-1") for i in (1, 2, 3)]
    assert market.free_wh(market.actors.producer) == 3 * 200


def test_step__two_gateways_in_one_block__mint_once(market, street):
    other = market.actors.oracle_operator
    market.chain.send(market.actors.regulator, Call("Authority", "grantRole", (3, other.address, 0)))
    street.pass_intervals(2)
    street.gateway(impatient(market)).step()
    street.gateway(impatient(market), other).step()
    market.devnet.mine()
    assert sorted(street.accepted()) == [(m, i) for m in ("ROOF-1", "SHOP-1") for i in (1, 2)]
    assert market.free_wh(market.actors.producer) == 2 * 200
    assert street.gateway().step() == []


# ---------------------------------------------------------------------------- the outbox


def test_step__source_forgets_what_was_accepted__is_submitted_all_the_same(market, street, tmp_path):
    street.pass_intervals(2)
    outbox = Outbox(tmp_path / "outbox.sqlite")
    (lost,) = street.gateway(impatient(market), outbox=outbox).step()
    assert isinstance(lost.error, NotMinedError)
    market.chain.node.request("anvil_dropAllTransactions")
    outbox.close()
    street.readings = {"ROOF-1": []}
    Gateway(market.chain, market.actors.minter, street.source, Outbox(tmp_path / "outbox.sqlite")).step()
    assert sorted(street.accepted()) == [(m, i) for m in ("ROOF-1", "SHOP-1") for i in (1, 2)]


def test_step__accepted_by_the_chain__is_done_at_the_next_look_and_not_before(market, street, tmp_path):
    street.pass_intervals(2)
    outbox = Outbox(tmp_path / "outbox.sqlite")
    gateway = street.gateway(outbox=outbox)
    gateway.step()
    assert outbox.counts()[State.SENT] == 4
    gateway.step()
    assert outbox.counts() == dict.fromkeys(State, 0) | {State.DONE: 4}


def test_step__the_chain_goes_back__submits_again_what_was_done(market, street, tmp_path):
    street.pass_intervals(1)
    outbox = Outbox(tmp_path / "outbox.sqlite")
    gateway = street.gateway(outbox=outbox)
    before = market.devnet.snapshot()
    gateway.step()
    gateway.step()
    market.devnet.restore(before)
    assert outbox.counts()[State.DONE] == 2
    (outcome,) = gateway.step()
    assert outcome.ok
    assert street.accepted() == [("ROOF-1", 1), ("SHOP-1", 1)]
    assert market.free_wh(market.actors.producer) == 200


def test_step__passed_over_and_started_again__does_not_pay_for_the_same_refusal(market, street, tmp_path):
    market.chain.send(market.actors.distributor, Call("Registry", "revokeMeter", (meter_id_bytes("SHOP-1"),)))
    street.pass_intervals(2)
    for _ in range(2):
        outbox = Outbox(tmp_path / "outbox.sqlite")
        street.gateway(outbox=outbox).step()
        assert [(item.key.split("@")[0], item.reason) for item in outbox.of(State.REFUSED)] == [
            ("SHOP-1", "revoked meter")
        ] * 2
        outbox.close()
    assert street.passed_over() == 2


def test_step__two_gateways_share_an_outbox__mint_once(market, street, tmp_path):
    other = market.actors.oracle_operator
    market.chain.send(market.actors.regulator, Call("Authority", "grantRole", (3, other.address, 0)))
    street.pass_intervals(2)
    for chain, who in ((impatient(market), None), (impatient(market), other)):
        street.gateway(chain, who, Outbox(tmp_path / "outbox.sqlite")).step()
    market.devnet.mine()
    assert sorted(street.accepted()) == [(m, i) for m in ("ROOF-1", "SHOP-1") for i in (1, 2)]
    assert market.free_wh(market.actors.producer) == 2 * 200


# ------------------------------------------------------------------------------- refused


def test_step__without_the_role__stops_at_the_first_batch_and_tries_again_later(market, street, monkeypatch):
    monkeypatch.setattr(meters, "BATCH", 2)
    street.pass_intervals(4)
    gateway = street.gateway(signer=market.actors.outsider)
    (outcome,) = gateway.step()
    assert isinstance(outcome.error, errors.AccessManagedUnauthorized)
    market.chain.send(market.actors.regulator, Call("Authority", "grantRole", (3, market.actors.outsider.address, 0)))
    assert [outcome.ok for outcome in gateway.step()] == [True] * 4


def test_step__meter_revoked__is_passed_over_once_and_the_others_go_on(market, street):
    market.chain.send(market.actors.distributor, Call("Registry", "revokeMeter", (meter_id_bytes("SHOP-1"),)))
    street.pass_intervals(2)
    gateway = street.gateway()
    with capture_logs() as logged:
        gateway.step()
    assert street.accepted() == [("ROOF-1", 1), ("ROOF-1", 2)]
    told = [entry for entry in logged if entry["event"] == "passed over"]
    assert [(entry["reading"].split("@")[0], entry["reason"]) for entry in told] == [("SHOP-1", "revoked meter")] * 2
    # It does not pay for the same refusal again, nor forget the others.
    assert gateway.step() == []
    assert street.passed_over() == 2
    street.pass_intervals(3)
    gateway.step()
    assert street.accepted()[-1] == ("ROOF-1", 3)
    assert street.passed_over() == 3


def test_step__meter_signs_with_another_key__is_passed_over(market, street):
    street.keys["SHOP-1"] = MeterKey(bytes([77]) * 32)
    street.pass_intervals(1)
    with capture_logs() as logged:
        street.gateway().step()
    assert street.accepted() == [("ROOF-1", 1)]
    assert [e["reason"] for e in logged if e["event"] == "passed over"] == ["not signed by the meter"]


def test_step__meter_not_assigned_yet__waits_for_it(market):
    street = Street(market, assign=False)
    street.assign("ROOF-1", market.actors.producer)
    street.pass_intervals(2)
    gateway = street.gateway()
    gateway.step()
    assert street.accepted() == [("ROOF-1", 1), ("ROOF-1", 2)]
    assert street.passed_over() == 0
    assert gateway.step() == []
    street.assign("SHOP-1", market.actors.other_producer)
    street.pass_intervals(3)
    gateway.step()
    assert street.accepted()[2:] == [("ROOF-1", 3), ("SHOP-1", 3)]


def test_skip_reasons__by_number__are_the_contracts_own():
    from busbar.tools import project_root

    text = (project_root() / "contracts" / "interfaces" / "IMetering.sol").read_text(encoding="utf-8")
    body = text[text.index("enum SkipReason {") : text.index("}", text.index("enum SkipReason {"))]
    names = [line.strip().rstrip(",") for line in body.splitlines()[1:] if line.strip() and "//" not in line]
    assert names == [
        "None",
        "UnknownMeter",
        "RevokedMeter",
        "InFuture",
        "NotNewer",
        "RegisterWentBack",
        "BadSignature",
        "OutOfRange",
        "TooLate",
        "AboveFinalRegister",
    ]
    assert len(meters.SKIP_REASONS) == len(names)
