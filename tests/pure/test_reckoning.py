"""The audit's own reading of the tariff file, held against `busbar.tariff`, which shares nothing with it."""

from datetime import date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from busbar.reckoning import CLOCK, Interval, Rates, ReckoningError, covered_days, from_grid
from busbar.statements import Lot, Month, Tariffs, grid_lines, share_of
from busbar.tariff import Share, load_tariff
from busbar.tools import project_root
from tests.pure.test_statements import changed_within_march

FILE = project_root() / "data" / "tariffs" / "thailand.csv"
DAYS = [date(2026, 1, 1) + timedelta(days=n) for n in range(0, 500, 3)]


PLANS = ["residential-1.1", "residential-1.2", "tou-1.3"]


@pytest.mark.parametrize("plan", PLANS)
def test_rates__any_day_and_hour__are_the_tariffs(plan):
    rates = Rates(FILE, plan)
    for day in DAYS:
        tariff, found = load_tariff(FILE, day, plan), rates.on(day)
        assert int(found.value("ft") * 10**6) == tariff.ft_uthb_per_kwh
        assert int(found.value("buyback") * 10**6) == tariff.buyback_uthb_per_kwh
        assert int(found.value("service") * 10**6) == tariff.service_uthb_per_month
        assert found.value("vat") == tariff.vat_percent
        assert [
            (item, *bounds, int(found.value(item) * 10**6), found.entries[item].quoted)
            for item, bounds in found.blocks().items()
        ] == [(block.item, block.above_wh, block.to_wh, block.uthb_per_kwh, block.row) for block in tariff.blocks]
        for hour in (0, 8, 9, 21, 22):
            at = datetime(day.year, day.month, day.day, hour, tzinfo=CLOCK)
            assert found.on_peak(at) == tariff.is_on_peak(at)
            if not tariff.blocks:
                energy = found.value("energy_on_peak" if found.on_peak(at) else "energy_off_peak")
                assert int((energy + found.value("ft")) * 10**6) == tariff.retail_uthb_per_kwh(at)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    intervals=st.lists(st.tuples(st.integers(0, 31 * 96), st.integers(0, 90_000)), max_size=30),
    plan=st.sampled_from(PLANS),
    month=st.sampled_from([Month(2026, 3), Month(2026, 5), Month(2026, 9)]),
    covered=st.integers(0, 31),
    service=st.booleans(),
)
def test_from_grid__any_month__comes_to_the_statements_lines(tmp_path, intervals, plan, month, covered, service):
    """Prices and blocks that change on 16 March, an Ft that ends in August: every line, word and transaction."""
    share = Share(min(covered, month.last.day), month.last.day)
    file = changed_within_march(tmp_path)
    lots = [Lot(month.start + 1 + 900 * n, wh, wh, f"0x{place}") for place, (n, wh) in enumerate(intervals)]
    lots = [lot for lot in lots if lot.interval_end <= month.end and lot.import_wh]
    charged = [(lot, lot.import_wh) for lot in lots]
    written = grid_lines(charged, month, Tariffs(file, plan), 900, share, service=service)
    reckoned = from_grid(
        Rates(file, plan),
        month.first,
        [Interval(lot.interval_end, lot.import_wh, lot.tx_hash) for lot in lots],
        900,
        share.covered_days,
        service=service,
    )
    assert [charge._asdict() for charge in reckoned] == [line.model_dump() for line in written]
    energy_wh = sum(line.quantity_wh for line in written if line.item.startswith("Energy"))
    assert energy_wh == sum(lot.import_wh for lot in lots)


@given(
    ends=st.lists(st.integers(1, 31 * 86_400), max_size=20),
    month=st.sampled_from([Month(2026, 2), Month(2026, 3), Month(2026, 9)]),
    epoch_seconds=st.sampled_from([60, 900, 3_600]),
)
def test_covered_days__any_readings__are_the_statements(ends, month, epoch_seconds):
    ends = [month.start + end for end in ends if month.start + end <= month.end]
    assert (covered_days(month.first, ends, epoch_seconds), month.last.day) == share_of(month, ends, epoch_seconds)


def test_rates__a_day_without_a_price__says_which():
    with pytest.raises(ReckoningError, match=r"no residential-1\.2 service on 2020-01-01"):
        Rates(FILE, "residential-1.2").on(date(2020, 1, 1))


def test_rates__a_plan_that_is_none__says_so():
    with pytest.raises(ReckoningError, match="no plan 'free'"):
        Rates(FILE, "free")
