"""The audit's own reading of the tariff file, held against `busbar.tariff`, which shares nothing with it."""

from datetime import date, datetime, timedelta

import pytest

from busbar.reckoning import CLOCK, Rates, ReckoningError
from busbar.tariff import load_tariff
from busbar.tools import project_root

FILE = project_root() / "data" / "tariffs" / "thailand.csv"
DAYS = [date(2026, 1, 1) + timedelta(days=n) for n in range(0, 500, 3)]


@pytest.mark.parametrize("plan", ["residential-1.2", "tou-1.3"])
def test_rates__any_day_and_hour__are_the_tariffs(plan):
    rates = Rates(FILE, plan)
    for day in DAYS:
        tariff, found = load_tariff(FILE, day, plan), rates.on(day)
        assert int(found.values["ft"] * 10**6) == tariff.ft_uthb_per_kwh
        assert int(found.values["buyback"] * 10**6) == tariff.buyback_uthb_per_kwh
        assert int(found.values["service"] * 10**6) == tariff.service_uthb_per_month
        assert found.values["vat"] == tariff.vat_percent
        for hour in (0, 8, 9, 21, 22):
            at = datetime(day.year, day.month, day.day, hour, tzinfo=CLOCK)
            assert found.on_peak(at) == tariff.is_on_peak(at)
            price = found.energy(found.on_peak(at)) + found.values["ft"]
            assert int(price * 10**6) == tariff.retail_uthb_per_kwh(at)


def test_rates__a_day_without_a_price__says_which():
    with pytest.raises(ReckoningError, match=r"no residential-1\.2 service on 2020-01-01"):
        Rates(FILE, "residential-1.2").on(date(2020, 1, 1))


def test_rates__a_plan_that_is_none__says_so():
    with pytest.raises(ReckoningError, match="no plan 'free'"):
        Rates(FILE, "free")
