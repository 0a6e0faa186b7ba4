"""A street's day through the real market: replayed from data, judged against the data, and once told as a tale."""

import csv
import json
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal

import pytest

from busbar import errors
from busbar.agents import Agent, Agents, Corridor, Role, TariffClock
from busbar.chain import Call
from busbar.community import CommunityError
from busbar.keeper import Keeper
from busbar.ledger import KINDS, audit, read_state, rebuild
from busbar.meters import Gateway, SimulatedMeters
from busbar.readings import MeterKey, Reading, meter_id_bytes
from busbar.replay import ReplayError, ReplaySettings, replay
from busbar.report import write_report
from busbar.results import Run
from busbar.tariff import TariffError
from busbar.units import ENERGY_UNITS_PER_WH
from tests.communities import House, metered, shipped_day, write_community
from tests.market import ENERGY, ZONE, ask, bid

STREET = ("H01", "H05", "H10", "B018", "B038")
UWH = ENERGY_UNITS_PER_WH
RETAIL, BUYBACK = 4_319, 2_200
"""Micro-THB a Wh on 2026-03-14: 4.2218 and Ft 0.0972; and what the utility pays."""


class Silent:
    """Watches a replay and remembers which epochs it was told of."""

    def __init__(self):
        self.stages = []
        self.epochs = []

    def stage(self, text):
        self.stages.append(text)

    def epoch(self, progress):
        self.epochs.append(progress)


def settings(file, out, **changes):
    return replace(ReplaySettings(file, None, 1, 1, out), **changes)


def failed(run):
    return [check.name for check in run.audit if not check.ok]


def comparable(run):
    """Everything but what this computer and this checkout have to do with it."""
    data = json.loads(run.model_dump_json())
    for name in ("wall_seconds", "started_at", "commit"):
        del data["run"][name]
    return data


def prices(run):
    return [row.price2 for row in run.epochs]


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """Three roofs and two small university buildings of the shipped community, in eight intervals of a Saturday."""
    return shipped_day(tmp_path_factory.mktemp("data") / "street.csv", STREET)


@pytest.fixture(scope="module")
def watched(street, tmp_path_factory):
    """The street's day, its folder, and what a watcher saw."""
    folder, watcher = tmp_path_factory.mktemp("report"), Silent()
    run = replay(settings(street, folder), watcher)
    write_report(run, folder)
    return run, folder, watcher


@pytest.fixture(scope="module")
def run(watched):
    return watched[0]


# --------------------------------------------------------------- the day adds up to the last unit


def test_replay__street__passes_every_check_of_the_audit(run):
    assert len(run.audit) == 14
    assert failed(run) == []


def test_replay__street__meters_what_the_data_say(run, street):
    data = metered(street)
    assert {p.name: (p.import_wh, p.export_wh) for p in run.participants if p.role != "utility"} == {
        meter_id: (sum(i for i, _ in series), sum(e for _, e in series)) for meter_id, series in data.items()
    }
    assert len(run.readings) == len(STREET) * 8
    start = int(datetime.fromisoformat("2026-03-14T00:00:00+07:00").timestamp())
    for row in run.readings:
        interval = (row.interval_end - start) // 10_800 - 1
        assert (row.import_wh, row.export_wh) == data[row.meter_id][interval]


def test_replay__street__counts_each_interval_in_the_epoch_after_it(run, street):
    by_interval = list(zip(*metered(street).values(), strict=True))
    assert len(run.epochs) == 8
    for row, meters in zip(run.epochs, by_interval, strict=True):
        assert (row.import_wh, row.export_wh) == (sum(i for i, _ in meters), sum(e for _, e in meters))
        assert row.minted_wh == row.export_wh


def test_replay__street__accounts_for_every_wh_of_everybody(run):
    for p in run.participants:
        came = p.export_wh * UWH + p.bought_uwh
        went = p.sold_uwh + p.retired_wh * UWH + p.grid_held_uwh
        assert came == went, p.name
        if p.role != "utility":
            assert p.retired_wh + p.outstanding_wh + p.grid_import_wh == p.import_wh


def test_replay__street__flows_add_up_to_what_each_sold_and_bought(run):
    assert run.flows
    for p in run.participants:
        for end, uwh in (("seller", p.sold_uwh), ("buyer", p.bought_uwh)):
            mine = [flow.energy_wh for flow in run.flows if getattr(flow, end) == p.name]
            # Each flow is rounded to the nearest Wh, and those of less than half a Wh are left out.
            assert abs(sum(mine) * UWH - uwh) <= UWH * len(run.participants) // 2


def test_replay__street__money_paid_is_money_earned(run):
    paid, earned = sum(p.paid_wei for p in run.participants), sum(p.earned_wei for p in run.participants)
    assert paid > 0
    # A money unit for each order at most, which is the rounding of rationed fills.
    assert 0 <= paid - earned <= run.market.money_unit_wei * len(run.trades)
    assert paid == sum(t.money_wei for t in run.trades if t.side == "buy")
    assert earned == sum(t.money_wei for t in run.trades if t.side == "sell")


def test_replay__street__bills_are_what_the_tariff_makes_of_the_meters(run):
    for p in run.participants:
        if p.role == "utility":
            assert p.saving_uthb == 0
            continue
        assert p.retail_only_cost_uthb == RETAIL * p.import_wh
        assert p.buyback_only_income_uthb == BUYBACK * p.export_wh
        assert p.baseline_bill_uthb == RETAIL * p.import_wh - BUYBACK * p.export_wh
        grid = RETAIL * (p.outstanding_wh + p.grid_import_wh)
        assert p.bill_uthb == grid + -(-p.paid_wei // 10**12) - p.earned_wei // 10**12
        assert p.saving_uthb == p.baseline_bill_uthb - p.bill_uthb
        assert p.service_uthb == 794_194  # 24.62 THB a month, one of 31 days
        assert p.grid_ft_uthb <= 97.2 * (p.outstanding_wh + p.grid_import_wh) < p.grid_ft_uthb + len(run.epochs)
        for vat, cost in ((p.vat_uthb, grid), (p.baseline_vat_uthb, p.retail_only_cost_uthb)):
            assert 0 <= 100 * vat - 7 * (cost + p.service_uthb) < 100
    assert sum(p.saving_uthb for p in run.participants) > 0


def test_replay__street__clears_every_epoch_within_the_corridor(run):
    assert all(row.cleared_block > 0 for row in run.epochs)
    traded = [row for row in run.epochs if row.volume_wh]
    assert traded
    for row in traded:
        assert (row.buyback_tick, row.retail_tick) == (220, 431)
        assert 2 * 220 <= row.price2 <= 2 * 431
        assert all(220 <= volume.tick <= 431 for volume in row.asks)
        assert all(220 <= volume.tick < 431 for volume in row.bids)


def test_replay__street__buyers_bid_below_retail_and_the_utility_at_buyback(run):
    (utility,) = [p for p in run.participants if p.role == "utility"]
    bids = {t.limit_tick for t in run.trades if t.account == utility.account}
    assert bids <= {220}
    # Whatever it bought it retired, but what came with the last epoch.
    assert utility.retired_wh * UWH + utility.grid_held_uwh == utility.bought_uwh


def test_replay__watched__tells_of_every_epoch_once_and_in_order(watched):
    run, _, watcher = watched
    assert [progress.number for progress in watcher.epochs] == list(range(1, 9))
    assert [(p.epoch, p.price2, p.volume_wh, p.orders, p.gas) for p in watcher.epochs] == [
        (row.epoch, row.price2, row.volume_wh, row.orders, row.clear_gas) for row in run.epochs
    ]
    assert {p.total for p in watcher.epochs} == {8}
    assert watcher.epochs[0].when == datetime.fromisoformat("2026-03-14T03:00:00+07:00")
    assert watcher.stages[0] == "reading the community"
    assert watcher.stages[-1] == "auditing"


def test_replay__report__holds_the_same_figures(watched):
    run, folder, _ = watched
    assert Run.load(folder) == run
    assert {path.name for path in folder.iterdir()} >= {"run.json", "report.html", "enrolment.json", "deployment.json"}
    with (folder / "participants.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [p.name for p in run.participants]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert all(check.name.split(" = ")[0] in page for check in run.audit)


# ------------------------------------------------------------------------------ settings


def test_replay__same_seed__gives_the_same_day(run, street, tmp_path):
    assert comparable(replay(settings(street, tmp_path), Silent())) == comparable(run)


def test_replay__other_seed__gives_other_prices_for_the_same_energy(run, street, tmp_path):
    other = replay(settings(street, tmp_path, seed=2), Silent())
    assert failed(other) == []
    assert prices(other) != prices(run)
    assert [p.import_wh for p in other.participants] == [p.import_wh for p in run.participants]


def test_replay__epochs_of_15_seconds__trade_the_same_and_say_that_dates_were_moved(run, street, tmp_path):
    short = replay(settings(street, tmp_path, epoch_seconds=15), Silent())
    assert failed(short) == []
    assert prices(short) == prices(run)
    assert [p.saving_uthb for p in short.participants] == [p.saving_uthb for p in run.participants]
    assert any("Dates were moved" in note for note in short.community.notes)
    assert not any("Dates were moved" in note for note in run.community.notes)
    assert short.market.epoch_seconds == 15
    # What people read is the data's own time.
    assert [row.start for row in short.epochs] == [row.start for row in run.epochs]


def test_replay__time_of_use_plan__prices_each_interval_by_its_own_hour(tmp_path):
    friday = shipped_day(tmp_path / "friday.csv", STREET, day="2026-03-13")
    run = replay(settings(friday, tmp_path / "out", plan="tou-1.3"), Silent())
    assert failed(run) == []
    on_peak, off_peak = (Decimal(e) + Decimal("0.0972") for e in ("5.7982", "2.6369"))
    for row in run.epochs:
        hour = datetime.fromisoformat(row.start).hour
        retail = on_peak if 9 <= hour < 22 else off_peak
        assert row.retail_tick == int(retail * 100)
    for p in run.participants[:-1]:
        series = metered(friday)[p.name]
        expected = sum(
            Decimal(import_wh) / 1_000 * (on_peak if 9 <= 3 * i < 22 else off_peak)
            for i, (import_wh, _) in enumerate(series)
        )
        # Each interval is rounded up to a micro-THB.
        assert 0 <= p.retail_only_cost_uthb - expected * 10**6 < len(series)


def test_replay__two_days__go_on_without_a_seam(tmp_path):
    file = write_community(
        tmp_path / "two-days.csv",
        House("ROOF", (300, 250, 400, 500) * 2, (0, 900, 1_200, 0, 0, 2_000, 300, 0)),
        House("SHOP", (150, 700, 650, 90) * 2),
        days=2,
    )
    run = replay(settings(file, tmp_path / "out", days=2), Silent())
    assert failed(run) == []
    assert run.run.days == ["2026-03-14", "2026-03-15"]
    assert len(run.epochs) == 8
    again = replay(settings(file, tmp_path / "out", day=date(2026, 3, 15)), Silent())
    assert failed(again) == []
    assert (again.run.days, len(again.epochs)) == (["2026-03-15"], 4)


def test_replay__amounts_below_the_smallest_order__accumulate_until_they_are_one(tmp_path):
    file = write_community(tmp_path / "crumbs.csv", House("ROOF", (0,) * 8, (40,) * 8), House("SHOP", (45,) * 8))
    run = replay(settings(file, tmp_path / "out"), Silent())
    assert failed(run) == []
    first = next(i for i, row in enumerate(run.epochs) if row.asks)
    assert first == 2
    assert run.epochs[first].asks[0].energy_wh == 120
    assert [bool([b for b in row.bids if b.tick > 220]) for row in run.epochs[:3]] == [False, False, True]


def test_replay__community_without_generation__buys_everything_from_the_grid(tmp_path):
    file = write_community(tmp_path / "night.csv", House("SHOP", (500, 600)), House("FLAT", (70, 0)))
    run = replay(settings(file, tmp_path / "out"), Silent())
    assert failed(run) == []
    assert [row.volume_wh for row in run.epochs] == [0, 0]
    assert {p.name: (p.outstanding_wh, p.saving_uthb) for p in run.participants} == {
        "SHOP": (1_100, 0),
        "FLAT": (70, 0),
        "utility": (0, 0),
    }


# --------------------------------------------------------- refused before anything is started


@pytest.fixture
def no_chain(monkeypatch):
    """Fails the test if a chain is started."""

    def started(*_, **__):
        raise AssertionError("a chain was started")

    monkeypatch.setattr("busbar.replay.Devnet", started)


def refused(error, *args, **changes):
    with pytest.raises(error) as caught:
        replay(settings(*args, **changes), Silent())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_replay__unknown_day__names_those_there_are(street, tmp_path, no_chain):
    said = refused(CommunityError, street, tmp_path, day=date(2026, 3, 15))
    assert "available: 2026-03-14 to 2026-03-14" in said


def test_replay__no_complete_day_in_the_file__says_so(tmp_path, no_chain):
    file = tmp_path / "noon.csv"
    file.write_text(
        "meter_id,role,timestamp,consumption_wh,generation_wh\n"
        "H01,prosumer,2026-03-14T12:00:00+07:00,100,900\n"
        "H01,prosumer,2026-03-14T12:15:00+07:00,100,900\n",
        encoding="utf-8",
    )
    assert "no complete day" in refused(CommunityError, file, tmp_path)


@pytest.mark.parametrize("seconds", [1, 9])
def test_replay__epoch_too_short_for_its_blocks__says_so(street, tmp_path, no_chain, seconds):
    assert "10 is the least" in refused(ReplayError, street, tmp_path, epoch_seconds=seconds)


def test_replay__unknown_plan__names_the_plans(street, tmp_path, no_chain):
    assert "residential-1.1, residential-1.2 and tou-1.3" in refused(TariffError, street, tmp_path, plan="free")


def test_replay__days_before_the_tariff__are_refused_even_if_only_the_first_is(tmp_path, no_chain):
    start = datetime.fromisoformat("2021-12-31T00:00:00+07:00")
    file = write_community(tmp_path / "old.csv", House("SHOP", (500, 600, 500, 600)), days=2, start=start)
    assert "2021-12-31" in refused(TariffError, file, tmp_path, days=2)


# ------------------------------------------------------------------------------- the tale


class SteadyTariff(TariffClock):
    """Buyback and retail as on the first page of the bill, all day."""

    def corridor(self, _):
        return Corridor(220, 431)


LUCKY = 118
"""A seed with which roof and neighbours meet whenever the tales below want them to."""


class Day:
    """A street of three: a roof, a bakery and a cinema; a gateway, a keeper and agents that can be sent away."""

    def __init__(self, market):
        self.market, actors = market, market.actors
        self.roof, self.bakery, self.cinema, self.utility = (
            actors.producer,
            actors.consumer,
            actors.other_consumer,
            actors.third_consumer,
        )
        owners = {"ROOF": self.roof, "BAKERY": self.bakery, "CINEMA": self.cinema}
        limits = {"ROOF": (9_000, 6_000), "BAKERY": (9_000, 0), "CINEMA": (9_000, 0)}
        kinds = {"ROOF": 1, "BAKERY": 2, "CINEMA": 2}
        self.keys = {
            m: MeterKey(
                market.assign_meter(
                    m, owner, kind=kinds[m], import_w=limits[m][0], export_w=limits[m][1], import_wh=4_000, export_wh=0
                )
            )
            for m, owner in owners.items()
        }
        self.registers = dict.fromkeys(owners, (4_000, 0))
        self.readings = {m: [] for m in owners}
        self.keeper = Keeper(market.chain, actors.keeper, [ZONE])
        self.gateway = Gateway(market.chain, actors.minter, SimulatedMeters(self.readings, self.keys))
        agents = [
            Agent("roof", Role.PROSUMER, self.roof, ("ROOF",)),
            Agent("bakery", Role.CONSUMER, self.bakery, ("BAKERY",)),
            Agent("cinema", Role.CONSUMER, self.cinema, ("CINEMA",)),
            Agent("utility", Role.UTILITY, self.utility),
        ]
        self.agents = Agents(market.chain, agents, SteadyTariff(), seed=LUCKY)
        self.keeper_there = True
        market.next_epoch()

    def quarter_hour(self, **energies):
        """A quarter of an hour in which meters run (`roof=-900` exports 900 Wh), and what everybody does after it."""
        end = self.market.chain.calendar.start(self.market.next_epoch())
        for meter_id in self.registers:
            net = energies.get(meter_id.lower(), 0)
            import_wh, export_wh = self.registers[meter_id]
            self.registers[meter_id] = (import_wh + max(0, net), export_wh + max(0, -net))
            self.readings[meter_id].append(Reading(meter_id, end, *self.registers[meter_id]))
        if self.keeper_there:
            self.keeper.step()
        self.gateway.step()
        if self.keeper_there:
            self.keeper.step()
        self.agents.step()

    def outstanding(self, who):
        return self.market.chain.imports([who.address])[0].outstanding_wh

    def result(self, epochs_ago=1):
        return self.market.chain.results(ZONE, [self.market.epoch - epochs_ago])[0]

    def books(self):
        """The books rebuilt from every event so far, and the checks that fail."""
        chain = self.market.chain
        head = chain.head()
        headers = chain.node.batch([("eth_getBlockByNumber", [hex(n), False]) for n in range(head.number + 1)])
        epoch_of = [chain.calendar.epoch_at(int(header["timestamp"], 16)) for header in headers]
        ledger = rebuild(chain.events(KINDS, 0, head.number), chain.money, epoch_of.__getitem__, epoch_of[-1])
        checks = audit(ledger, read_state(chain, head.number), chain.money)
        return ledger, [check.name for check in checks if not check.ok]


@pytest.fixture
def day(market):
    """The street in the morning: everybody registered and funded, no energy anywhere."""
    return Day(market)


def test_a_day__solar_noon_evening_peak_a_wrong_meter_and_a_missing_keeper(day):
    market = day.market

    # Early morning. The bakery is hot, the roof is dark: nobody has anything to sell, and there is no price.
    day.quarter_hour(roof=120, bakery=800)
    day.quarter_hour()
    assert not day.result().traded
    assert (day.outstanding(day.roof), day.outstanding(day.bakery)) == (120, 800)

    # Solar noon. The roof feeds in 1,300 Wh: its own morning first, the bakery's next, below retail and above buyback.
    day.quarter_hour(roof=-1_300)
    assert day.outstanding(day.roof) == 0
    assert market.account(day.roof).energy_escrow_uwh == 1_180 * UWH
    day.quarter_hour()
    noon = day.result()
    assert noon.volume_wh == 800
    assert 2 * 220 <= noon.price2 < 2 * 431
    assert day.outstanding(day.bakery) == 0

    # A wrong meter. The cinema's register jumps by 90 kWh in a quarter of an hour, forty times what its fuse carries.
    day.quarter_hour(cinema=90_000)
    assert day.outstanding(day.cinema) == 0
    assert market.chain.view("Metering", "parkedOf", 1)[2] == 90_000
    # Nobody bids on its strength, and the next readings count from where the register stands.
    assert market.account(day.cinema).order_count == 0
    day.quarter_hour(cinema=300)
    assert day.outstanding(day.cinema) == 300
    assert market.account(day.cinema).order_count == 1

    # A missing keeper. For three quarters of an hour nobody clears and nobody retires; the market goes on without.
    day.keeper_there = False
    day.quarter_hour(roof=-900)
    day.quarter_hour(roof=-900, bakery=400)
    day.quarter_hour(roof=-100, bakery=400)
    assert day.result().traded
    ledger, failing = day.books()
    assert failing == []
    owed = day.outstanding(day.bakery)
    assert owed > 0
    assert market.account(day.bakery).energy_free_uwh > 0

    # It comes back, finds a single epoch to clear and retires what was bought meanwhile.
    day.keeper_there = True
    day.quarter_hour()
    assert day.outstanding(day.bakery) < owed
    assert day.keeper.step() == []

    # The distributor looks at the cinema's meter: it was the meter. Another takes its place, and the jump is refused.
    market.chain.send(market.actors.distributor, Call("Metering", "rejectParked", (1,)))
    new_key = bytes([9]) * 32
    new_address = type(market.actors.producer).from_key(new_key).address
    imported, _ = day.registers["CINEMA"]
    swap = (meter_id_bytes("CINEMA"), new_address, 0, imported + 5, 0, 17, 0)
    market.chain.send(market.actors.distributor, Call("Registry", "replaceMeter", swap))
    day.keys["CINEMA"] = MeterKey(new_key)
    day.registers["CINEMA"] = (17, 0)
    before = day.outstanding(day.cinema)
    _, failing = day.books()
    assert failing == []

    # Evening peak. The film runs, the oven is off; what noon left over goes to the cinema, and the rest is dear.
    day.quarter_hour(cinema=1_500, roof=700)
    assert day.outstanding(day.cinema) == before + 1_500
    day.quarter_hour(cinema=1_500, roof=700)
    day.quarter_hour()

    # Night. The bakery bids for the dough of tomorrow and takes one bid back; every sum comes out.
    epoch = market.epoch
    market.enter(day.bakery, bid(300, 400), bid(301, 500))
    market.cancel(day.bakery, market.order_id(day.bakery, market.account(day.bakery).order_count - 1, epoch))
    market.next_epoch()
    day.keeper.step()
    ledger, failing = day.books()
    assert failing == []
    assert {m: sum(r.import_wh for r in ledger.readings if r.meter_id == m) for m in day.keys} == {
        "ROOF": 1_520,
        "BAKERY": 1_600,
        "CINEMA": 93_300,
    }
    assert sum(ledger.growth_export_wh.values()) == 3_200
    assert ledger.parked_import_wh == 90_000


def test_a_day__grid_made_from_nothing__is_found_by_the_audit_and_by_nothing_else(day):
    """The regulator lets somebody mint without a meter. The token cannot tell; the books can."""
    day.quarter_hour(roof=-1_000, bakery=500)
    day.quarter_hour()
    assert day.books()[1] == []
    day.market.mint_to_wallet(day.market.actors.outsider, 1)
    assert day.books()[1] == ["GRID minted = export metered"]


def test_a_day__energy_carried_home_and_back__comes_out(day):
    """GRID leaves for a wallet, changes hands there, is retired from the wallet, and the rest comes back."""
    market = day.market
    day.quarter_hour(bakery=400)
    day.quarter_hour(roof=-1_500)
    market.cancel(day.roof, market.order_id(day.roof))
    market.withdraw(day.roof, ENERGY, 1_000 * 10**15)
    transfer = Call("GridToken", "transfer", (day.bakery.address, 900 * 10**15))
    market.chain.send(day.roof, transfer)
    market.chain.send(day.bakery, Call("GridToken", "approve", (market.chain.addresses["Metering"], 10**30)))
    market.chain.send(day.bakery, Call("Metering", "retireFromWallet", (400,)))
    market.chain.send(day.bakery, Call("GridToken", "approve", (market.chain.addresses["Trading"], 10**30)))
    market.chain.send(day.bakery, Call("Trading", "deposit", (ENERGY, 500 * 10**15)))
    assert day.books()[1] == []
    market.enter(day.bakery, ask(300, 500))
    day.quarter_hour()
    assert day.books()[1] == []


def test_a_day__midnight_passes__import_of_yesterday_becomes_grid_import_and_stays_it(day):
    market = day.market
    day.quarter_hour(bakery=700, cinema=500)
    market.to_epoch(96 + 1)
    # Within the grace yesterday's import can still be covered.
    day.quarter_hour(roof=-900)
    day.quarter_hour()
    covered = 1_200 - day.outstanding(day.bakery) - day.outstanding(day.cinema)
    assert covered > 0
    ledger, failing = day.books()
    assert failing == []
    # Noon of the new day: what is covered now is today's, and yesterday's has been bought from the grid.
    market.to_epoch(96 + 40)
    yesterdays = ledger.accounts[day.cinema.address].outstanding_wh + ledger.accounts[day.bakery.address].outstanding_wh
    day.quarter_hour(bakery=500, roof=-3_000)
    day.quarter_hour()
    ledger, failing = day.books()
    assert failing == []
    grid = ledger.accounts[day.cinema.address].grid_import_wh + ledger.accounts[day.bakery.address].grid_import_wh
    assert grid == yesterdays == 1_200 - covered
    assert ledger.accounts[day.bakery.address].outstanding_wh == 0


def test_a_day__parked_by_mistake__is_released_and_traded(day):
    """The roof was away from the net for an hour's worth of sun; its power limit knows nothing of that."""
    market = day.market
    day.quarter_hour(roof=-4_000)
    assert market.free_wh(day.roof) == 0
    market.chain.send(market.actors.distributor, Call("Metering", "releaseParked", (1,)))
    assert market.free_wh(day.roof) == 4_000
    assert day.books()[1] == []
    with pytest.raises(errors.NothingParked):
        market.chain.send(market.actors.distributor, Call("Metering", "releaseParked", (1,)))
    day.quarter_hour(bakery=500)
    assert market.account(day.roof).energy_escrow_uwh == 4_000 * UWH
    assert day.books()[1] == []
