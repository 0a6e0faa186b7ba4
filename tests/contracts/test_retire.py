"""retire, retireFor, retireFromWallet, surrender: GRID burnt against import, and the ledger as time goes by."""

import pytest

from busbar import errors
from busbar.chain import Call
from busbar.units import GRACE_EPOCHS, PERIOD_EPOCHS
from tests.market import DAY, ENERGY, ask, bid, reverts

ZERO = "0x" + "00" * 20
WH = 10**15


@pytest.fixture
def meter(market, actors):
    """The consumer's meter; it exports too, so that energy can come from it."""
    return market.meter("m-1", actors.consumer)


@pytest.fixture
def other_meter(market, actors):
    """The other consumer's meter."""
    return market.meter("m-2", actors.other_consumer)


@pytest.fixture
def third_meter(market, actors):
    """The third consumer's meter."""
    return market.meter("m-3", actors.third_consumer)


def retire(market, participant, maximum_wh=2**256 - 1):
    return market.chain.send(participant, Call("Metering", "retire", (maximum_wh,)))


def retire_for(market, *participants):
    call = Call("Metering", "retireFor", ([p.address for p in participants],))
    return market.chain.send(market.actors.outsider, call)


def retire_from_wallet(market, participant, energy_wh):
    return market.chain.send(participant, Call("Metering", "retireFromWallet", (energy_wh,)))


def surrender(market, participant, energy_wh):
    return market.chain.send(participant, Call("Metering", "surrender", (energy_wh,)))


def auto_retire(market, participant, enabled):
    return market.chain.send(participant, Call("Metering", "setAutoRetire", (enabled,)))


def ledger(market, participant):
    """(current, previous, grid import) of a participant."""
    found = market.chain.imports([participant.address])[0]
    return (found.current_wh, found.previous_wh, found.grid_import_wh)


def supply(market):
    return market.chain.view("GridToken", "totalSupply")


def retired(market, outcome):
    """(account, previous, current, from the wallet) of every Retired event."""
    events = [e.args for e in market.events(outcome, "Retired")]
    return [(a["account"], a["previousWh"], a["currentWh"], a["fromWallet"]) for a in events]


def burns(market, outcome):
    return [e.args["value"] for e in market.events(outcome, "Transfer") if e.args["to"] == ZERO]


# ------------------------------------------------------------------------- retire


def test_retire__no_import__reverts(market, actors):
    market.give_energy(actors.consumer, 1_000)
    with reverts(errors.NothingToRetire, account=actors.consumer.address):
        retire(market, actors.consumer)


def test_retire__no_energy__reverts(market, actors, meter):
    market.submit(meter.read(import_wh=500))
    with reverts(errors.NothingToRetire, account=actors.consumer.address):
        retire(market, actors.consumer)


def test_retire__at_most_nothing__reverts(market, actors, meter):
    market.submit(meter.read(import_wh=500, export_wh=500))
    with reverts(errors.NothingToRetire, account=actors.consumer.address):
        retire(market, actors.consumer, 0)


def test_retire__by_nobody__reverts(market, actors):
    with reverts(errors.NothingToRetire, account=actors.outsider.address):
        retire(market, actors.outsider)


def test_retire__less_than_a_wh_free__reverts(market, actors, meter):
    market.mint_to_wallet(actors.consumer, 1)
    trading = market.chain.addresses["Trading"]
    market.chain.send(actors.consumer, Call("GridToken", "approve", (trading, WH - 10**9)))
    market.chain.send(actors.consumer, Call("Trading", "deposit", (ENERGY, WH - 10**9)))
    market.submit(meter.read(import_wh=500))
    assert market.account(actors.consumer).energy_free_uwh == 999_999
    with reverts(errors.NothingToRetire, account=actors.consumer.address):
        retire(market, actors.consumer)


@pytest.mark.parametrize(
    ("import_wh", "export_wh", "maximum_wh", "expected"),
    [
        (500, 800, 2**256 - 1, 500),
        (800, 500, 2**256 - 1, 500),
        (500, 800, 200, 200),
        (500, 800, 500, 500),
        (500, 800, 501, 500),
        (1, 1, 1, 1),
    ],
)
def test_retire__import_and_energy__burns_the_least_of_all(
    market, actors, meter, import_wh, export_wh, maximum_wh, expected
):
    market.submit(meter.read(import_wh, export_wh))
    before = supply(market)
    trading = market.chain.addresses["Trading"]
    held = market.token_balance("GridToken", trading)
    energy_total, _ = market.chain.view("Trading", "totals")
    assert market.returned(actors.consumer, "Metering", "retire", maximum_wh) == expected

    outcome = retire(market, actors.consumer, maximum_wh)

    assert retired(market, outcome) == [(actors.consumer.address, 0, expected, False)]
    (burnt,) = market.events(outcome, "Transfer")
    assert burnt.args == {"from": trading, "to": ZERO, "value": expected * WH}
    assert market.free_wh(actors.consumer) == export_wh - expected
    assert ledger(market, actors.consumer) == (import_wh - expected, 0, 0)
    assert supply(market) == before - expected * WH
    assert market.token_balance("GridToken", trading) == held - expected * WH
    assert market.chain.view("Trading", "totals")[0] == energy_total - expected * 10**6


def test_retire__energy_in_open_orders__is_not_burnt(market, actors, meter):
    market.submit(meter.read(import_wh=500, export_wh=300))
    market.sell(actors.consumer, 300, 200)
    retire(market, actors.consumer)
    assert ledger(market, actors.consumer) == (400, 0, 0)
    account = market.account(actors.consumer)
    assert (account.energy_free_uwh, account.energy_escrow_uwh) == (0, 200 * 10**6)


def test_retire__bought_energy_with_a_fraction_of_a_wh__burns_whole_wh_and_leaves_the_rest(
    market, actors, meter, other_meter, third_meter
):
    for each in (meter, other_meter, third_meter):
        market.submit(each.read(import_wh=5_000))
    market.give_energy(actors.producer, 1_000)
    market.enter(actors.producer, ask(300, 1_000))
    for buyer in (actors.consumer, actors.other_consumer, actors.third_consumer):
        market.enter(buyer, bid(300, 1_000))
    market.next_epoch()
    # A thousand Wh among three: 333.333333 each.
    assert market.account(actors.consumer).energy_free_uwh == 333_333_333

    # Nobody has cleared or settled: retiring does.
    outcome = retire(market, actors.consumer)

    assert len(market.events(outcome, "EpochCleared")) == 1
    assert retired(market, outcome) == [(actors.consumer.address, 0, 333, False)]
    assert burns(market, outcome) == [333 * WH]
    assert market.account(actors.consumer).energy_free_uwh == 333_333
    assert ledger(market, actors.consumer) == (4_667, 0, 0)
    with reverts(errors.NothingToRetire, account=actors.consumer.address):
        retire(market, actors.consumer)


def test_retire__previous_and_current_import__takes_the_older_first(market, actors, meter):
    market.submit(meter.read(import_wh=500))
    market.to_epoch(PERIOD_EPOCHS)
    market.submit(meter.read(import_wh=300, export_wh=10_000))
    assert ledger(market, actors.consumer) == (300, 500, 0)

    assert retired(market, retire(market, actors.consumer, 200)) == [(actors.consumer.address, 200, 0, False)]
    assert ledger(market, actors.consumer) == (300, 300, 0)
    assert retired(market, retire(market, actors.consumer, 400)) == [(actors.consumer.address, 300, 100, False)]
    assert ledger(market, actors.consumer) == (200, 0, 0)
    assert retired(market, retire(market, actors.consumer)) == [(actors.consumer.address, 0, 200, False)]
    assert ledger(market, actors.consumer) == (0, 0, 0)
    assert market.free_wh(actors.consumer) == 9_200


# ------------------------------------------------------------------- as time goes by


def test_imports_of__constants__are_a_day_and_an_hour_of_quarter_hours(market):
    assert market.chain.view("Metering", "PERIOD_EPOCHS") == PERIOD_EPOCHS == 96
    assert market.chain.view("Metering", "GRACE_EPOCHS") == GRACE_EPOCHS == 4


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (DAY + 96 * 900 - 1, (0, 500, 0, 0)),
        (DAY + 96 * 900, (1, 0, 500, 0)),
        (DAY + 100 * 900 - 1, (1, 0, 500, 0)),
        (DAY + 100 * 900, (1, 0, 0, 500)),
        (DAY + 192 * 900, (2, 0, 0, 500)),
        (DAY + 96_000 * 900 + 17, (1000, 0, 0, 500)),
    ],
)
def test_imports_of__import_of_the_first_period__becomes_previous_and_then_grid_import(
    market, actors, meter, time, expected
):
    market.submit(meter.read(import_wh=500))
    market.devnet.mine(time)
    found = market.chain.imports([actors.consumer.address])[0]
    assert (found.period, found.current_wh, found.previous_wh, found.grid_import_wh) == expected


def test_imports_of__import_within_the_grace__belongs_to_the_new_period(market, actors, meter):
    market.submit(meter.read(import_wh=500))
    market.to_epoch(99)
    market.submit(meter.read(import_wh=7))
    assert ledger(market, actors.consumer) == (7, 500, 0)
    market.to_epoch(100)
    assert ledger(market, actors.consumer) == (7, 0, 500)
    market.to_epoch(195)
    assert ledger(market, actors.consumer) == (0, 7, 500)
    market.to_epoch(196)
    assert ledger(market, actors.consumer) == (0, 0, 507)


def test_retire__last_second_of_the_grace__still_counts(market, actors, meter):
    market.submit(meter.read(import_wh=500, export_wh=800))
    # The transaction's own block is a second later.
    market.devnet.mine(DAY + 100 * 900 - 2)
    retire(market, actors.consumer)
    assert market.chain.head().timestamp == DAY + 100 * 900 - 1
    assert ledger(market, actors.consumer) == (0, 0, 0)
    assert market.free_wh(actors.consumer) == 300


def test_retire__after_the_grace__reverts_for_what_is_grid_import(market, actors, meter):
    market.submit(meter.read(import_wh=500, export_wh=800))
    market.to_epoch(100)
    with reverts(errors.NothingToRetire, account=actors.consumer.address):
        retire(market, actors.consumer)
    assert ledger(market, actors.consumer) == (0, 0, 500)
    assert market.free_wh(actors.consumer) == 800


def test_retire__two_periods_later__does_not_bring_grid_import_back(market, actors, meter):
    market.submit(meter.read(import_wh=500, export_wh=800))
    market.to_epoch(2 * PERIOD_EPOCHS + 1)
    market.submit(meter.read(import_wh=30))
    retire(market, actors.consumer)
    assert ledger(market, actors.consumer) == (0, 0, 500)
    assert market.free_wh(actors.consumer) == 770


def expected_ledger(owed, epoch):
    """The ledger by the rule itself: what was owed in which epoch, looked at in this one, nothing retired."""
    period, into = divmod(epoch, PERIOD_EPOCHS)
    periods = [(when // PERIOD_EPOCHS, wh) for when, wh in owed if when <= epoch]
    current = sum(wh for p, wh in periods if p == period)
    previous = sum(wh for p, wh in periods if p == period - 1) if into < GRACE_EPOCHS else 0
    return (current, previous, sum(wh for _, wh in periods) - current - previous)


LOOKS = (0, 3, 95, 96, 99, 100, 150, 191, 192, 195, 196, 287, 288, 291, 292, 384, 480, 1000)


@pytest.mark.parametrize("touched", [(), (95,), (96,), (99,), (100,), (191, 192), LOOKS[1:-1]])
def test_imports_of__touched_in_between__is_a_function_of_time_alone(market, actors, meter, other_meter, touched):
    # Both owe the same; one account is written to at other times as well, and owes a Wh more each time.
    owed, more = [(0, 1_000)], []
    market.submit(meter.read(import_wh=1_000))
    market.submit(other_meter.read(import_wh=1_000))
    for epoch in LOOKS[1:]:
        market.to_epoch(epoch)
        if epoch in touched:
            market.submit(meter.read(import_wh=1))
            more.append((epoch, 1))
            auto_retire(market, actors.consumer, epoch % 2 == 0)
        assert ledger(market, actors.consumer) == expected_ledger(owed + more, epoch)
        assert ledger(market, actors.other_consumer) == expected_ledger(owed, epoch)


@pytest.mark.parametrize("touched", [99, 100, 191, 192])
def test_retire__touched_by_a_retirement_or_not__leaves_the_same_grid_import(
    market, actors, meter, other_meter, touched
):
    for each in (meter, other_meter):
        market.submit(each.read(import_wh=1_000, export_wh=10))
    retire(market, actors.other_consumer)
    market.to_epoch(90)
    # One retires now, the other did at once: from here on nothing tells them apart.
    retire(market, actors.consumer)
    market.to_epoch(touched)
    market.submit(meter.read(import_wh=5))
    market.submit(meter.read(import_wh=6))
    market.submit(other_meter.read(import_wh=11))
    for epoch in (touched + 1, 200, 300, 500):
        if epoch > touched:
            market.to_epoch(epoch)
        assert ledger(market, actors.consumer) == ledger(market, actors.other_consumer)


# ---------------------------------------------------------------------- retireFor


def test_retire_for__nobody__does_nothing(market):
    outcome = retire_for(market)
    assert market.events(outcome) == []


def test_retire_for__mixed_accounts__passes_over_those_with_nothing_to_retire(
    market, actors, meter, other_meter, third_meter
):
    market.submit(meter.read(import_wh=500, export_wh=800))  # on by default
    market.submit(other_meter.read(import_wh=500, export_wh=800))  # switched off
    market.submit(third_meter.read(import_wh=900, export_wh=100))  # switched off and on again
    auto_retire(market, actors.other_consumer, False)
    auto_retire(market, actors.third_consumer, False)
    auto_retire(market, actors.third_consumer, True)
    market.give_energy(actors.producer, 1_000)  # no import
    everybody = (
        actors.outsider,
        actors.consumer,
        actors.other_consumer,
        actors.producer,
        actors.third_consumer,
        actors.other_producer,
    )
    before = supply(market)
    addresses = [p.address for p in everybody]
    assert market.returned(actors.outsider, "Metering", "retireFor", addresses) == 600

    outcome = retire_for(market, *everybody)

    assert retired(market, outcome) == [
        (actors.consumer.address, 0, 500, False),
        (actors.third_consumer.address, 0, 100, False),
    ]
    # One burn a transaction, however many accounts.
    assert burns(market, outcome) == [600 * WH]
    assert len(market.events(outcome, "Transfer")) == 1
    assert supply(market) == before - 600 * WH
    assert ledger(market, actors.consumer) == (0, 0, 0)
    assert ledger(market, actors.other_consumer) == (500, 0, 0)
    assert ledger(market, actors.third_consumer) == (800, 0, 0)
    assert [market.free_wh(p) for p in everybody[1:]] == [300, 800, 1_000, 0, 0]


def test_retire_for__nothing_to_retire_at_all__burns_nothing(market, actors):
    outcome = retire_for(market, *actors.participants)
    assert market.events(outcome) == []


def test_retire_for__sent_twice__changes_nothing_the_second_time(market, actors, meter):
    market.submit(meter.read(import_wh=500, export_wh=800))
    retire_for(market, actors.consumer)
    assert market.events(retire_for(market, actors.consumer)) == []
    assert (ledger(market, actors.consumer), market.free_wh(actors.consumer)) == ((0, 0, 0), 300)


def test_retire_for__previous_import__takes_the_older_first(market, actors, meter):
    market.submit(meter.read(import_wh=500))
    market.to_epoch(PERIOD_EPOCHS)
    market.submit(meter.read(import_wh=300, export_wh=600))
    outcome = retire_for(market, actors.consumer)
    assert retired(market, outcome) == [(actors.consumer.address, 500, 100, False)]
    assert ledger(market, actors.consumer) == (200, 0, 0)


def test_retire_for__bought_energy_unsettled__settles_first(market, actors, meter):
    market.submit(meter.read(import_wh=500))
    market.give_energy(actors.producer, 1_000)
    market.sell(actors.producer, 300, 1_000)
    market.buy(actors.consumer, 300, 1_000)
    market.next_epoch()
    retire_for(market, actors.consumer)
    assert (ledger(market, actors.consumer), market.free_wh(actors.consumer)) == ((0, 0, 0), 500)


def test_retire_for__named_twice_with_energy_to_spare__reverts_and_burns_nothing(market, actors, meter):
    market.submit(meter.read(import_wh=500, export_wh=800))
    with reverts(errors.MoreThanOutstanding, account=actors.consumer.address, energyWh=300, outstandingWh=0):
        retire_for(market, actors.consumer, actors.consumer)
    assert (ledger(market, actors.consumer), market.free_wh(actors.consumer)) == ((500, 0, 0), 800)


def test_retire_for__named_twice_with_too_little_energy__burns_once(market, actors, meter):
    market.submit(meter.read(import_wh=800, export_wh=500))
    outcome = retire_for(market, actors.consumer, actors.consumer)
    assert retired(market, outcome) == [(actors.consumer.address, 0, 500, False)]
    assert (ledger(market, actors.consumer), market.free_wh(actors.consumer)) == ((300, 0, 0), 0)


def test_retire_for__named_twice_sharing_import_between_them__never_discharges_more_than_outstanding(
    market, actors, meter
):
    market.submit(meter.read(import_wh=500, export_wh=700))
    with reverts(errors.MoreThanOutstanding, account=actors.consumer.address, energyWh=200, outstandingWh=0):
        retire_for(market, actors.consumer, actors.other_consumer, actors.consumer)


# ------------------------------------------------------------------ setAutoRetire


def test_set_auto_retire__off_and_on__is_told_and_shown(market, actors, meter):
    market.submit(meter.read(import_wh=500))
    assert market.chain.imports([actors.consumer.address])[0].auto_retire is True
    for enabled in (False, True):
        outcome = auto_retire(market, actors.consumer, enabled)
        (event,) = market.events(outcome)
        assert (event.name, event.args) == (
            "AutoRetireSet",
            {"account": actors.consumer.address, "enabled": enabled},
        )
        assert market.chain.imports([actors.consumer.address])[0].auto_retire is enabled
        assert ledger(market, actors.consumer) == (500, 0, 0)


def test_set_auto_retire__off__the_owner_may_still_retire_and_it_stays_off(market, actors, meter):
    auto_retire(market, actors.consumer, False)
    market.submit(meter.read(import_wh=500, export_wh=800))
    retire(market, actors.consumer, 100)
    assert ledger(market, actors.consumer) == (400, 0, 0)
    assert market.chain.imports([actors.consumer.address])[0].auto_retire is False


# --------------------------------------------------------------- retireFromWallet


def test_retire_from_wallet__nothing__reverts(market, actors, meter):
    market.submit(meter.read(import_wh=500))
    with reverts(errors.NothingToRetire, account=actors.consumer.address):
        retire_from_wallet(market, actors.consumer, 0)


@pytest.mark.parametrize("asked", [501, 2**256 - 1])
def test_retire_from_wallet__more_than_outstanding__reverts(market, actors, meter, asked):
    market.submit(meter.read(import_wh=500))
    with reverts(errors.MoreThanOutstanding, account=actors.consumer.address, energyWh=asked, outstandingWh=500):
        retire_from_wallet(market, actors.consumer, asked)


def test_retire_from_wallet__no_import__reverts(market, actors):
    market.mint_to_wallet(actors.outsider, 1_000)
    with reverts(errors.MoreThanOutstanding, account=actors.outsider.address, energyWh=1, outstandingWh=0):
        retire_from_wallet(market, actors.outsider, 1)


def test_retire_from_wallet__without_allowance__reverts(market, actors, meter):
    market.submit(meter.read(import_wh=500))
    market.mint_to_wallet(actors.consumer, 1_000)
    metering = market.chain.addresses["Metering"]
    with reverts(errors.ERC20InsufficientAllowance, spender=metering, allowance=0, needed=500 * WH):
        retire_from_wallet(market, actors.consumer, 500)
    assert ledger(market, actors.consumer) == (500, 0, 0)


def test_retire_from_wallet__less_in_the_wallet__reverts(market, actors, meter):
    market.submit(meter.read(import_wh=500, export_wh=500))
    market.mint_to_wallet(actors.consumer, 100)
    metering = market.chain.addresses["Metering"]
    market.chain.send(actors.consumer, Call("GridToken", "approve", (metering, 500 * WH)))
    with reverts(errors.ERC20InsufficientBalance, sender=actors.consumer.address, balance=100 * WH):
        retire_from_wallet(market, actors.consumer, 500)
    assert ledger(market, actors.consumer) == (500, 0, 0)


def test_retire_from_wallet__within_the_allowance__burns_the_wallets_grid_oldest_first(market, actors, meter):
    market.submit(meter.read(import_wh=500))
    market.to_epoch(PERIOD_EPOCHS)
    market.submit(meter.read(import_wh=300, export_wh=40))
    market.mint_to_wallet(actors.consumer, 1_000)
    metering = market.chain.addresses["Metering"]
    market.chain.send(actors.consumer, Call("GridToken", "approve", (metering, 600 * WH)))
    before = supply(market)

    outcome = retire_from_wallet(market, actors.consumer, 600)

    assert retired(market, outcome) == [(actors.consumer.address, 500, 100, True)]
    (burnt,) = market.events(outcome, "Transfer")
    assert burnt.args == {"from": actors.consumer.address, "to": ZERO, "value": 600 * WH}
    assert ledger(market, actors.consumer) == (200, 0, 0)
    assert market.token_balance("GridToken", actors.consumer.address) == 400 * WH
    assert market.chain.view("GridToken", "allowance", actors.consumer.address, metering) == 0
    assert supply(market) == before - 600 * WH
    # The trading account is not touched.
    assert market.free_wh(actors.consumer) == 40


# ---------------------------------------------------------------------- surrender


def test_surrender__nothing__reverts(market, actors):
    market.give_energy(actors.consumer, 1_000)
    with reverts(errors.NothingToRetire, account=actors.consumer.address):
        surrender(market, actors.consumer, 0)


@pytest.mark.parametrize("asked", [1_001, 2**64 + 1, 2**256 - 1])
def test_surrender__more_than_free__reverts(market, actors, asked):
    market.give_energy(actors.consumer, 1_000)
    with reverts(errors.NotEnoughGrid, account=actors.consumer.address, energyWh=asked, freeWh=1_000):
        surrender(market, actors.consumer, asked)
    assert market.free_wh(actors.consumer) == 1_000


def test_surrender__escrowed_energy__reverts(market, actors):
    market.give_energy(actors.consumer, 1_000)
    market.sell(actors.consumer, 300, 400)
    with reverts(errors.NotEnoughGrid, account=actors.consumer.address, energyWh=601, freeWh=600):
        surrender(market, actors.consumer, 601)


def test_surrender__free_energy__burns_it_and_leaves_the_import(market, actors, meter):
    market.submit(meter.read(import_wh=500, export_wh=800))
    before = supply(market)
    outcome = surrender(market, actors.consumer, 700)
    (event,) = market.events(outcome, "Surrendered")
    assert event.args == {"account": actors.consumer.address, "energyWh": 700}
    assert market.events(outcome, "Retired") == []
    assert burns(market, outcome) == [700 * WH]
    assert market.free_wh(actors.consumer) == 100
    assert ledger(market, actors.consumer) == (500, 0, 0)
    assert supply(market) == before - 700 * WH
