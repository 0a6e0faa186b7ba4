"""The dated tariff: which rows a date finds, and prices that never round past retail or buyback."""

from datetime import date, datetime, timedelta, timezone
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.tariff import FLAT_MARGINAL_PLAN, TOU_PLAN, Share, TariffError, load_tariff

THAILAND = Path(__file__).parents[2] / "data" / "tariffs" / "thailand.csv"
BANGKOK = timezone(timedelta(hours=7))
MONDAY = date(2026, 3, 9)
NOON = datetime(2026, 3, 9, 12, tzinfo=BANGKOK)
FLAT = load_tariff(THAILAND, MONDAY)
TOU = load_tariff(THAILAND, MONDAY, TOU_PLAN)

HEADER = "tariff_id,item,value,unit,valid_from,valid_to,source,source_date,status"
# The least file that makes a flat plan; rows 2 to 7.
LEAST = (
    HEADER,
    "thailand,ft,0.0001,THB/kWh,2026-01-01,2026-04-30,s,2026,read",
    "thailand,buyback,2.20,THB/kWh,2022-01-01,,s,2026,read",
    "thailand,vat,7,percent,2012-01-01,,s,2012,read",
    "residential-1.2,service,24.62,THB/month,2026-01-01,,s,2026,read",
    "residential-1.2,energy_kwh_1_150,3,THB/kWh,2015-11-01,,s,2026,read",
    "residential-1.2,energy_kwh_151_400,4.2218,THB/kWh,2015-11-01,,s,2026,read",
    "residential-1.2,energy_kwh_401_up,4.4217,THB/kWh,2015-11-01,,s,2026,read",
)


def write(tmp_path, lines):
    path = tmp_path / "tariff.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def changed(old, new):
    """Return the least file with one text replaced, which must occur."""
    text = "\n".join(LEAST)
    assert old in text
    return text.replace(old, new, 1).split("\n")


MALFORMED = {
    "header": (changed("tariff_id", "plan"), "row 1: header must be exactly tariff_id,item"),
    "field missing": (changed("s,2012,read", "s,read"), "row 4: has 8 fields, not 9"),
    "value is text": (changed("2.20", "two"), "row 3: value 'two' is not a decimal"),
    "value too fine": (
        changed("4.2218", "4.2218001"),
        "row 7: value '4.2218001' is not a decimal with at most six",
    ),
    "value exponent": (changed("2.20", "2e0"), "row 3: value '2e0' is not a decimal"),
    "date": (changed("2012-01-01", "2012-13-01"), "row 4: valid_from '2012-13-01' is not a date"),
    "period turned round": (
        changed("2026-04-30", "2025-04-30"),
        "row 2: valid_from 2026-01-01 is after valid_to",
    ),
    "status": (changed("s,2012,read", "s,2012,trust me"), "row 4: status 'trust me' must begin with one of"),
    "unit": (changed("2.20,THB/kWh", "220,satang/kWh"), "row 3: unit 'satang/kWh' must be 'THB/kWh'"),
    "unit of ft": (
        changed("0.0001,THB/kWh", "0.01,satang/kWh"),
        "row 2: unit 'satang/kWh' must be 'THB/kWh'",
    ),
    "vat not whole": (changed("vat,7,", "vat,7.5,"), "thailand vat is 7.5, not a whole number"),
    "no row": (
        changed("thailand,buyback", "thailand,feed_in"),
        "no thailand buyback on 2026-03-09; known periods: none",
    ),
    "row of another time": (
        changed("2022-01-01,", "2022-01-01,2025-12-31"),
        "no thailand buyback on 2026-03-09; known periods: 2022-01-01..2025-12-31",
    ),
    "two rows contradict": (
        [*LEAST, "thailand,buyback,2.21,THB/kWh,2021-01-01,,s,2026,news"],
        "row 9: 2.21 contradicts 2.20 in row 3 on 2026-03-09",
    ),
    "no ft at all": (
        changed("thailand,ft", "thailand,fx"),
        "no thailand ft on 2026-03-09; known periods: none",
    ),
    "blocks with a gap": (
        changed("energy_kwh_401_up", "energy_kwh_402_up"),
        "the blocks of residential-1.2 on 2026-03-09 do not cover a month once: energy_kwh_1_150, energy_kwh_151_400",
    ),
    "blocks twice": (
        [*LEAST, "residential-1.2,energy_kwh_1_100,3,THB/kWh,2015-11-01,,s,2026,read"],
        "do not cover a month once: energy_kwh_1_",
    ),
    "blocks with an end": (
        changed("energy_kwh_401_up", "energy_kwh_401_900"),
        "the blocks of residential-1.2 on 2026-03-09 do not cover a month once",
    ),
    "quote never closed": (changed("s,2012", '"s,2012'), "is not valid CSV"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_load_tariff__file_is_malformed__says_where_and_why_in_one_line(tmp_path, case):
    lines, reason = MALFORMED[case]
    path = write(tmp_path, lines)
    with pytest.raises(TariffError) as caught:
        load_tariff(path, MONDAY)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_load_tariff__file_is_absent_or_no_text__says_so(tmp_path):
    with pytest.raises(TariffError, match="cannot be read: No such file"):
        load_tariff(tmp_path / "nowhere.csv", MONDAY)
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(TariffError, match="is not UTF-8"):
        load_tariff(path, MONDAY)


def test_load_tariff__unknown_plan__lists_the_plans():
    with pytest.raises(
        TariffError, match=r"no plan 'solar'; plans are residential-1\.1, residential-1\.2 and tou-1\.3"
    ):
        load_tariff(THAILAND, MONDAY, "solar")


def test_load_tariff__date_before_a_needed_row__raises_instead_of_guessing():
    with pytest.raises(TariffError, match=r"no tou-1\.3 service on 2025-06-01; known periods: 2026-01-01\.\."):
        load_tariff(THAILAND, date(2025, 6, 1), TOU_PLAN)


def test_load_tariff__shipped_file_for_the_shipped_week__finds_the_dated_rows():
    assert (FLAT.plan, FLAT.currency, FLAT.vat_percent) == (FLAT_MARGINAL_PLAN, "THB", 7)
    assert FLAT.ft_uthb_per_kwh == 97_200
    assert FLAT.buyback_uthb_per_kwh == 2_200_000
    assert FLAT.service_uthb_per_month == 24_620_000
    assert (FLAT.holds_from, FLAT.holds_to) == (date(2026, 1, 1), date(2026, 4, 30))
    assert (TOU.on_peak_uthb_per_kwh, TOU.off_peak_uthb_per_kwh) == (5_798_200, 2_636_900)


@pytest.mark.parametrize(
    ("on", "ft_uthb_per_kwh"),
    [
        (date(2026, 1, 1), 97_200),
        (date(2026, 4, 30), 97_200),
        (date(2026, 5, 1), 162_300),
        (date(2026, 8, 31), 162_300),
    ],
)
def test_load_tariff__first_and_last_day_of_an_ft_period__belong_to_it(on, ft_uthb_per_kwh):
    tariff = load_tariff(THAILAND, on)
    assert tariff.ft_uthb_per_kwh == ft_uthb_per_kwh
    assert not any("ft-nearest-period" in assumption for assumption in tariff.assumptions)


def test_load_tariff__no_ft_for_the_date__takes_the_nearest_period_and_names_the_assumption():
    tariff = load_tariff(THAILAND, date(2026, 10, 1))
    assert tariff.ft_uthb_per_kwh == 162_300
    expected = (
        "ft-nearest-period: the file has no Ft for 2026-10-01; used 0.1623 of 2026-05-01..2026-08-31, 31 days away"
    )
    assert expected in tariff.assumptions
    assert f"assumption: {expected}" in tariff.describe()


@pytest.mark.parametrize(
    ("on", "ft_uthb_per_kwh", "holds"),
    [
        (date(2026, 5, 1), 100, (date(2026, 5, 1), date(2026, 5, 5))),
        (date(2026, 5, 5), 100, (date(2026, 5, 1), date(2026, 5, 5))),  # equally near: the earlier
        (date(2026, 5, 6), 200, (date(2026, 5, 6), date(2026, 5, 9))),
    ],
)
def test_load_tariff__gap_between_ft_periods__turns_at_its_middle(tmp_path, on, ft_uthb_per_kwh, holds):
    later = "thailand,ft,0.0002,THB/kWh,2026-05-10,2026-08-31,s,2026,read"
    tariff = load_tariff(write(tmp_path, [*LEAST, later]), on)
    assert tariff.ft_uthb_per_kwh == ft_uthb_per_kwh
    assert (tariff.holds_from, tariff.holds_to) == holds


def test_load_tariff__row_without_value__is_no_value(tmp_path):
    missing = "thailand,ft,,THB/kWh,2026-05-01,2026-08-31,,,not_found"
    tariff = load_tariff(write(tmp_path, [*LEAST, missing]), date(2026, 6, 1))
    assert tariff.assumptions[0].startswith("ft-nearest-period")


def test_load_tariff__two_sources_agree__is_no_contradiction(tmp_path):
    second = "thailand,buyback,2.2,THB/kWh,2026-01-01,,other,2026,news"
    tariff = load_tariff(write(tmp_path, [*LEAST, second]), MONDAY)
    assert tariff.buyback_tick == 220
    assert any("other" in row for row in tariff.rows)


def test_retail__tariff_kept_past_its_period__raises():
    with pytest.raises(TariffError, match="holds 2026-01-01 to 2026-04-30, not 2026-05-01: load it anew"):
        FLAT.retail_uthb_per_kwh(datetime(2026, 5, 1, tzinfo=BANGKOK))


def test_retail__naive_instant__raises():
    with pytest.raises(TariffError, match="no UTC offset"):
        TOU.retail_uthb_per_kwh(datetime(2026, 3, 9, 12))  # noqa: DTZ001


def test_grid_cost__negative_energy__raises():
    for question in (
        lambda: FLAT.grid_cost_uthb(-1, NOON),
        lambda: FLAT.buyback_credit_uthb(-1),
        lambda: FLAT.ft_cost_uthb(-1),
    ):
        with pytest.raises(TariffError, match="-1 Wh is negative"):
            question()


@pytest.mark.parametrize(
    ("at", "on_peak"),
    [
        ("2026-03-09T08:59:59+07:00", False),
        ("2026-03-09T09:00:00+07:00", True),
        ("2026-03-09T21:59:59+07:00", True),
        ("2026-03-09T22:00:00+07:00", False),
        ("2026-03-13T21:45:00+07:00", True),
        ("2026-03-14T12:00:00+07:00", False),
        ("2026-03-15T12:00:00+07:00", False),
        ("2026-03-09T02:00:00+00:00", True),  # 09:00 in Bangkok
        ("2026-03-08T20:00:00-06:00", True),  # Sunday elsewhere, Monday 09:00 in Bangkok
    ],
)
def test_retail__time_of_use__follows_the_bangkok_clock(at, on_peak):
    moment = datetime.fromisoformat(at)
    assert TOU.is_on_peak(moment) is on_peak
    assert TOU.retail_uthb_per_kwh(moment) == (5_895_400 if on_peak else 2_734_100)
    assert TOU.retail_limit_tick(moment) == (589 if on_peak else 273)


def test_retail__flat_marginal__is_block_151_to_400_plus_ft_at_every_hour():
    for hour in range(24):
        at = datetime(2026, 3, 14, hour, tzinfo=BANGKOK)
        assert FLAT.retail_uthb_per_kwh(at) == 4_319_000
        assert FLAT.retail_limit_tick(at) == 431
        assert not FLAT.is_on_peak(at)


thb = st.integers(min_value=0, max_value=10_000_000).map(lambda uthb: f"{uthb // 10**6}.{uthb % 10**6:06}")


@given(buyback=thb, energy=thb, ft=thb, sign=st.sampled_from(["", "-"]))
def test_ticks__any_tariff__never_above_retail_nor_below_buyback(tmp_path_factory, buyback, energy, ft, sign):
    lines = list(LEAST)
    lines[1] = lines[1].replace("0.0001", sign + ft)
    lines[2] = lines[2].replace("2.20", buyback)
    lines[6] = lines[6].replace("4.2218", energy)
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    tariff = load_tariff(path, MONDAY)
    retail = tariff.retail_uthb_per_kwh(NOON)
    assert tariff.retail_limit_tick(NOON) * 10_000 <= retail < (tariff.retail_limit_tick(NOON) + 1) * 10_000
    assert (tariff.buyback_tick - 1) * 10_000 < tariff.buyback_uthb_per_kwh <= tariff.buyback_tick * 10_000
    assert tariff.buyback_bid_tick * 10_000 <= tariff.buyback_uthb_per_kwh


def test_grid_cost__one_wh_and_one_kwh__rounds_up_to_a_micro_baht():
    assert FLAT.grid_cost_uthb(0, NOON) == 0
    assert FLAT.grid_cost_uthb(1, NOON) == 4_319
    assert TOU.grid_cost_uthb(1, NOON) == 5_896  # 5,895.4
    assert TOU.grid_cost_uthb(1_000, NOON) == 5_895_400


whs = st.integers(min_value=0, max_value=2**48)


@given(whs, whs)
def test_grid_cost__import_cut_in_two__is_never_cheaper(first_wh, second_wh):
    whole = TOU.grid_cost_uthb(first_wh + second_wh, NOON)
    parts = TOU.grid_cost_uthb(first_wh, NOON) + TOU.grid_cost_uthb(second_wh, NOON)
    assert whole <= parts <= whole + 1


@given(whs, whs)
def test_buyback_credit__export_cut_in_two__never_earns_more(first_wh, second_wh):
    whole = FLAT.buyback_credit_uthb(first_wh + second_wh)
    parts = FLAT.buyback_credit_uthb(first_wh) + FLAT.buyback_credit_uthb(second_wh)
    assert parts <= whole
    assert whole * 1_000 <= (first_wh + second_wh) * 2_200_000


def test_ft_cost__its_part_of_the_cost__is_rounded_down():
    assert FLAT.ft_cost_uthb(1_000) == 97_200
    assert FLAT.ft_cost_uthb(1) == 97
    assert FLAT.grid_cost_uthb(1, NOON) - FLAT.ft_cost_uthb(1) == 4_222


def test_service__a_day_of_march__is_a_thirty_first_of_the_month_rounded_up():
    assert FLAT.service_uthb(date(2026, 3, 14)) == 794_194
    assert 0 <= 31 * FLAT.service_uthb(date(2026, 3, 14)) - FLAT.service_uthb_per_month < 31


def test_vat__seven_percent__rounds_up():
    assert FLAT.vat_uthb(100) == 7
    assert FLAT.vat_uthb(1) == 1
    assert FLAT.vat_uthb(0) == 0


def test_load_tariff__blocks_cut_otherwise__takes_the_400th_kwh_for_every_one(tmp_path):
    lines = [line for line in LEAST if "energy_kwh" not in line]
    for item, price in (("1_200", 3), ("201_399", 4), ("400_up", 5)):
        lines.append(f"residential-1.2,energy_kwh_{item},{price},THB/kWh,2015-11-01,,s,2026,read")
    tariff = load_tariff(write(tmp_path, lines), MONDAY)
    assert tariff.off_peak_uthb_per_kwh == 5_000_000
    assert "flat-marginal: every kWh costs the price of block 400-up kWh/month" in tariff.describe()
    assert [row.split()[0] for row in tariff.rows if "energy" in row] == ["energy_kwh_400_up"]


SHARES = st.integers(28, 31).flatmap(lambda days: st.builds(Share, st.integers(0, days), st.just(days)))
ENERGIES_WH = st.integers(0, 1_000_000)


def cost(before_wh, import_wh, share):
    """Micro-THB x Wh / kWh, so that nothing is rounded."""
    return sum(block.uthb_per_kwh * inside_wh for block, inside_wh in FLAT.in_blocks(before_wh, import_wh, share))


@given(ENERGIES_WH, ENERGIES_WH, SHARES)
def test_in_blocks__any_import_and_share__is_cut_without_a_rest(before_wh, import_wh, share):
    parts = FLAT.in_blocks(before_wh, import_wh, share)
    assert sum(inside_wh for _, inside_wh in parts) == import_wh
    assert all(inside_wh > 0 for _, inside_wh in parts)


@given(ENERGIES_WH, ENERGIES_WH, SHARES)
def test_in_blocks__a_share__is_rounded_by_less_than_a_wh_a_bound_and_against_the_taker(before_wh, import_wh, share):
    for block, inside_wh in FLAT.in_blocks(before_wh, import_wh, share):
        ends_wh = before_wh + import_wh if block.to_wh is None else Fraction(block.to_wh * share[0], share[1])
        exact_wh = min(before_wh + import_wh, ends_wh) - max(before_wh, Fraction(block.above_wh * share[0], share[1]))
        assert abs(inside_wh - max(exact_wh, 0)) < 1
    if share.covered_days:
        shorter = Share(share.covered_days - 1, share.month_days)
        assert cost(before_wh, import_wh, share) <= cost(before_wh, import_wh, shorter)


@given(ENERGIES_WH, ENERGIES_WH, st.integers(28, 31))
def test_in_blocks__a_month_that_is_covered__has_the_plans_bounds(before_wh, import_wh, days):
    ends_wh, bounds = before_wh + import_wh, (0, 150_000, 400_000, 2_000_000)
    expected = [max(0, min(ends_wh, to) - max(before_wh, above)) for above, to in pairwise(bounds)]
    parts = FLAT.in_blocks(before_wh, import_wh, Share(days, days))
    assert [inside_wh for _, inside_wh in parts] == [inside_wh for inside_wh in expected if inside_wh]


def test_in_blocks__a_bound_of_a_share__is_rounded_down():
    # 150 kWh x 2 / 31 are 9,677.4 Wh.
    assert [inside_wh for _, inside_wh in FLAT.in_blocks(0, 9_678, Share(2, 31))] == [9_677, 1]
    assert [inside_wh for _, inside_wh in FLAT.in_blocks(0, 9_677, Share(2, 31))] == [9_677]


def test_words__of_a_block__name_the_share_of_a_month_that_is_not_covered():
    assert [block.words(Share(31, 31)) for block in FLAT.blocks] == ["1 to 150 kWh", "151 to 400 kWh", "above 400 kWh"]
    assert [block.words(Share(2, 28)) for block in FLAT.blocks][::2] == [
        "1 to 150 kWh a month, 2 of 28 days",
        "above 400 kWh a month, 2 of 28 days",
    ]


def test_bill_assumptions__of_blocks__say_so_instead_of_one_flat_price():
    assert [told.partition(":")[0] for told in FLAT.assumptions] == ["flat-marginal"]
    assert [told.partition(":")[0] for told in FLAT.bill_assumptions] == ["blocks-by-time"]
    assert TOU.bill_assumptions == TOU.assumptions


def test_load_tariff__a_second_source_that_ends__parts_the_days(tmp_path):
    """Which rows hold is told by both ends: the days before and after are not charged together."""
    path = write(tmp_path, [*LEAST, "thailand,buyback,2.20,THB/kWh,2026-03-05,2026-03-09,s,2026,news"])
    spans = [(t.holds_from, t.holds_to) for t in (load_tariff(path, date(2026, 3, n)) for n in (4, 9, 10))]
    assert spans == [
        (date(2026, 1, 1), date(2026, 3, 4)),
        (date(2026, 3, 5), date(2026, 3, 9)),
        (date(2026, 3, 10), date(2026, 4, 30)),
    ]


def test_describe__flat_marginal__prints_prices_rows_and_assumptions():
    text = FLAT.describe()
    assert "tariff residential-1.2 on 2026-03-09 (one flat marginal price)" in text
    assert "retail 4.3190, buyback 2.2000 THB/kWh" in text
    assert "retail includes Ft 0.0972 and excludes VAT 7 %" in text
    assert "row: ft 0.0972 THB/kWh, 2026-01-01..2026-04-30 [secondary: not read on an ERC/MEA/PEA page]" in text
    assert "assumption: flat-marginal: every kWh costs the price of block 151-400 kWh/month" in text


def test_describe__time_of_use__prints_both_prices_and_that_holidays_are_ignored():
    text = TOU.describe()
    assert "retail 5.8954 on-peak, 2.7341 off-peak, buyback 2.2000 THB/kWh" in text
    assert "on-peak 09:00-22:00 on ISO weekdays 1, 2, 3, 4, 5" in text
    assert "assumption: holidays-ignored" in text
