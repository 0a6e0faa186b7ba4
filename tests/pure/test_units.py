"""Wh, ticks, money and epochs: what is refused, what converts exactly, and what people read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar import errors, units
from busbar.units import Asset, BeforeGenesis, Calendar, Money

SATANG = Money(units.SATANG_WEI)
CALENDAR = Calendar(genesis=1_700_000_000, epoch_seconds=900)


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("tick_wei", [0, -(2 * 10**9), 10**9, 2 * 10**9 - 1, 2 * 10**9 + 1, 10**16 + 10**9])
def test_money__tick_that_cannot_be_halved_per_unit__raises_tick_not_representable(tick_wei):
    with pytest.raises(errors.TickNotRepresentable) as caught:
        Money(tick_wei)
    assert caught.value.values == {"tickWei": tick_wei}


@pytest.mark.parametrize("wei", [1, 4_999_999, 5_000_001])
def test_from_wei__part_of_a_money_unit__raises_inexact_amount(wei):
    with pytest.raises(errors.InexactAmount) as caught:
        SATANG.from_wei(wei)
    assert caught.value.values == {"asset": Asset.MONEY, "amountWei": wei, "unitWei": 5_000_000}


@pytest.mark.parametrize("wei", [1, 10**9 - 1, 10**9 + 1])
def test_energy_from_wei__part_of_an_energy_unit__raises_inexact_amount(wei):
    with pytest.raises(errors.InexactAmount) as caught:
        units.energy_from_wei(wei)
    assert caught.value.values == {"asset": Asset.ENERGY, "amountWei": wei, "unitWei": 10**9}


@pytest.mark.parametrize(("genesis", "seconds"), [(0, 0), (0, -900), (-1, 900)])
def test_calendar__no_time_to_count__raises_invalid_epochs(genesis, seconds):
    with pytest.raises(errors.InvalidEpochs) as caught:
        Calendar(genesis, seconds)
    assert caught.value.values == {"genesis": genesis, "epochSeconds": seconds}


def test_epoch_at__before_genesis__raises_before_genesis():
    with pytest.raises(BeforeGenesis) as caught:
        CALENDAR.epoch_at(1_699_999_999)
    assert isinstance(caught.value, errors.BusbarError)
    assert (caught.value.timestamp, caught.value.genesis) == (1_699_999_999, 1_700_000_000)
    assert str(caught.value) == ("1699999999 lies before the market's genesis at 1700000000: ask for a later time")


# --------------------------------------------------------------------------- exact values


def test_constants__of_energy__agree_with_each_other():
    assert units.ENERGY_UNITS_PER_WH * units.ENERGY_UNIT_WEI == units.GRID_WEI_PER_WH
    assert units.GRID_WEI_PER_WH * 1000 == 10**18


def test_cost_units__a_kwh_at_one_tick__is_worth_a_tick():
    kwh_units = 1000 * units.ENERGY_UNITS_PER_WH
    assert SATANG.to_wei(SATANG.cost_units(kwh_units, price2=2)) == units.SATANG_WEI
    assert SATANG.to_wei(SATANG.cost_units(kwh_units, price2=441)) == 2_205 * 10**15


def test_cost_units__least_energy_at_the_lowest_price__is_a_money_unit():
    assert SATANG.cost_units(1, 1) == 1
    assert SATANG.unit_wei == 5_000_000


def test_money__smallest_tick__has_units_of_one_wei():
    assert Money(2 * 10**9).unit_wei == 1


@given(st.integers(1, 10**12), st.integers(0, 2**76))
def test_money__any_amount__goes_out_and_comes_back(tick_units, amount):
    money = Money(tick_units * 2 * 10**9)
    assert money.from_wei(money.to_wei(amount)) == amount


@given(st.integers(0, 2**60))
def test_energy__any_amount__goes_out_and_comes_back(amount):
    assert units.energy_from_wei(units.energy_to_wei(amount)) == amount


def test_from_wei__nothing__is_nothing():
    assert SATANG.from_wei(0) == units.energy_from_wei(0) == 0


# --------------------------------------------------------------------------- time


@pytest.mark.parametrize(("offset", "epoch"), [(0, 0), (899, 0), (900, 1), (1799, 1), (900 * 96, 96)])
def test_epoch_at__around_a_boundary__counts_the_start_to_the_epoch(offset, epoch):
    assert CALENDAR.epoch_at(CALENDAR.genesis + offset) == epoch


@given(st.integers(0, 2**32), st.integers(1, 10**6), st.integers(0, 2**27))
def test_calendar__any_epoch__runs_from_its_start_to_its_end(genesis, seconds, epoch):
    calendar = Calendar(genesis, seconds)
    assert calendar.epoch_at(calendar.start(epoch)) == epoch
    assert calendar.epoch_at(calendar.end(epoch) - 1) == epoch
    assert calendar.end(epoch) == calendar.start(epoch + 1)
    assert calendar.end(epoch) - calendar.start(epoch) == seconds


@pytest.mark.parametrize(("epoch", "period"), [(0, 0), (95, 0), (96, 1), (191, 1), (192, 2)])
def test_period_of__around_a_boundary__counts_96_epochs(epoch, period):
    assert CALENDAR.period_of(epoch) == period


# --------------------------------------------------------------------------- for people


@pytest.mark.parametrize(
    ("wh", "text"),
    [(0, "0.000 kWh"), (1, "0.001 kWh"), (1234, "1.234 kWh"), (10**7, "10000.000 kWh"), (-50, "-0.050 kWh")],
)
def test_kwh__whole_wh__is_exact(wh, text):
    assert units.kwh(wh) == text


@pytest.mark.parametrize(
    ("wei", "digits", "text"),
    [
        (0, 2, "0.00 THB"),
        (10**18, 2, "1.00 THB"),
        (1_005 * 10**15, 2, "1.00 THB"),
        (1_015 * 10**15, 2, "1.02 THB"),
        (1_005 * 10**15 + 1, 2, "1.01 THB"),
        (1_005 * 10**15 - 1, 2, "1.00 THB"),
        (-1_015 * 10**15, 2, "-1.02 THB"),
        (-1, 2, "0.00 THB"),
        (999_999 * 10**12, 2, "1.00 THB"),
        (25 * 10**17, 0, "2 THB"),
        (35 * 10**17, 0, "4 THB"),
        (1, 18, "0.000000000000000001 THB"),
        (370 * 10**27 + 1, 18, "370000000000.000000000000000001 THB"),
    ],
)
def test_thb__any_amount__is_rounded_half_to_even(wei, digits, text):
    assert units.thb(wei, digits) == text


@pytest.mark.parametrize(
    ("price2", "text"),
    [(441, "2.205"), (440, "2.200"), (2, "0.010"), (3, "0.015"), (2046, "10.230"), (2000, "10.000")],
)
def test_price__ticks_of_one_satang__is_exact_to_half_a_satang(price2, text):
    assert units.price(price2) == text


def test_price__other_ticks__has_as_many_places_as_it_takes():
    assert units.price(1, 10**18) == "0.500"
    assert units.price(1, 10**14) == "0.00005"
    assert units.price(3, 1) == "0.0000000000000000015"


@given(st.integers(2, 2046), st.integers(1, 10**18))
def test_price__any_price__loses_nothing(price2, tick_wei):
    whole, _, places = units.price(price2, tick_wei).partition(".")
    assert int(whole + places.ljust(19, "0")) == price2 * tick_wei * 5
