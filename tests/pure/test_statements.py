"""Months, what GRID covers, and the lines of a bill."""

from datetime import date, datetime

import pytest

from busbar import tools
from busbar.statements import (
    BANGKOK,
    Lot,
    Month,
    StatementError,
    Tariffs,
    Trade,
    grid_lines,
    market_lines,
    share_of,
    uncovered,
)
from busbar.tariff import SMALL_PLAN, TOU_PLAN, Share

FILE = tools.project_root() / "data" / "tariffs" / "thailand.csv"
MARCH = Month(2026, 3)
WHOLE = Share(31, 31)


def lot(day, hour, energy_wh):
    """Import of the quarter-hour that starts then, in March 2026."""
    start = int(datetime(2026, 3, day, hour, tzinfo=BANGKOK).timestamp())
    return Lot(start + 900, energy_wh, energy_wh, f"0x{day}{hour}"), energy_wh


def row(number, import_wh=0, retired_wh=0, period=0):
    place = {"block": number, "log_index": 0, "seq": 0, "tx_hash": "0x"}
    return place | {"interval_end": number, "period": period, "import_wh": import_wh, "retired_wh": retired_wh}


def left(*rows):
    return [lot.left_wh for _, lot in uncovered(rows)]


@pytest.mark.parametrize(("text", "last"), [("2026-02", 28), ("2028-02", 29), ("2026-12", 31), ("2026-04", 30)])
def test_month__its_days__are_the_calendars(text, last):
    month = Month.parse(text)
    assert (str(month), month.first.day, month.last.day) == (text, 1, last)
    assert month.end - month.start == last * 86_400


@pytest.mark.parametrize("text", ["2026", "2026-00", "2026-13", "2026-3", "", "9999-12", "2026-03-01", "٢٠٢٦-٠٣"])
def test_month__no_month__is_refused(text):
    with pytest.raises(StatementError, match="is no month"):
        Month.parse(text)


def test_uncovered__oldest_import__is_covered_first():
    assert left(row(1, 100), row(2, 50), row(3, retired_wh=120)) == [0, 30]


def test_uncovered__another_periods_import__is_left_alone():
    assert left(row(1, 100), row(2, 50, period=1), row(3, retired_wh=50, period=1)) == [100, 0]


def test_uncovered__parked_import__counts_only_once_released():
    assert left(row(1, 100), row(2, 70), row(2, -70)) == [100]
    assert left(row(1, 100), row(2, 70), row(2, -70), row(3, 70)) == [100, 70]


def energies(lines):
    """What is charged for energy, by what the lines say before their comma."""
    return [(one.item.partition(", ")[2], one.quantity_wh, one.amount_uthb) for one in lines if "Energy" in one.item]


def test_grid_lines__within_the_first_block__are_energy_ft_service_and_vat():
    lines = grid_lines([lot(3, 8, 1_001), lot(4, 20, 999)], MARCH, Tariffs(FILE), 900, WHOLE, service=True)
    amounts = {line.item: line.amount_uthb for line in lines}
    assert amounts == {
        "Energy charge, 1 to 150 kWh": 2 * 3_248_400,
        "Ft": 2 * 97_200,
        "Service charge": 24_620_000,
        "VAT 7 %": -(-(2 * 3_345_600 + 24_620_000) * 7 // 100),
    }
    assert lines[0].transactions == ["0x38", "0x420"]
    sources = ["energy_kwh_1_150 3.2484 ", "ft 0.0972 ", "service 24.62 ", "vat 7 "]
    assert all(line.source.startswith(source) for line, source in zip(lines, sources, strict=True))
    assert (lines[0].first_day, lines[0].last_day) == (date(2026, 3, 1), date(2026, 3, 31))


def test_grid_lines__beyond_the_first_block__fill_them_in_order_of_time():
    lots = [lot(9, 8, 400_000), lot(3, 8, 149_000), lot(4, 8, 2_000)]
    lines = grid_lines(lots, MARCH, Tariffs(FILE), 900, WHOLE, service=False)
    assert energies(lines) == [
        ("1 to 150 kWh", 150_000, 150 * 3_248_400),
        ("151 to 400 kWh", 250_000, 250 * 4_221_800),
        ("above 400 kWh", 151_000, 151 * 4_421_700),
    ]
    assert [line.transactions for line in lines[:3]] == [["0x38", "0x48"], ["0x48", "0x98"], ["0x98"]]
    assert (lines[3].item, lines[3].quantity_wh, lines[3].amount_uthb) == ("Ft", 551_000, 551 * 97_200)
    assert lines[3].transactions == ["0x38", "0x48", "0x98"]


def test_grid_lines__of_one_wh_beyond_a_block__charge_it_in_the_next():
    lines = grid_lines([lot(3, 8, 150_000), lot(3, 9, 1)], MARCH, Tariffs(FILE), 900, WHOLE, service=False)
    # A Wh at 4.2218 THB/kWh is 4,221.8 micro-THB.
    assert energies(lines) == [("1 to 150 kWh", 150_000, 150 * 3_248_400), ("151 to 400 kWh", 1, 4_222)]


def test_grid_lines__of_two_meters_in_one_interval__share_its_place():
    first, second = lot(3, 8, 149_000), lot(3, 8, 2_000)
    second[0].tx_hash = "0xsecond"
    lines = grid_lines([second, first], MARCH, Tariffs(FILE), 900, WHOLE, service=False)
    assert [one.transactions for one in lines[:2]] == [["0xsecond", "0x38"]] * 2


def test_grid_lines__of_the_small_plan__have_its_seven_blocks():
    lines = grid_lines([lot(3, 8, 500_000)], MARCH, Tariffs(FILE, SMALL_PLAN), 900, WHOLE, service=False)
    # 15 + 10 + 10 + 65 + 50 + 250 + 100 kWh, each at its price of the file.
    prices = (2_348_800, 2_988_200, 3_240_500, 3_623_700, 3_717_100, 4_221_800, 4_421_700)
    energy_kwh = (15, 10, 10, 65, 50, 250, 100)
    assert [(wh, uthb) for _, wh, uthb in energies(lines)] == [
        (kwh * 1_000, kwh * price) for kwh, price in zip(energy_kwh, prices, strict=True)
    ]


def changed_within_march(folder):
    """From the 16th on the blocks are cut elsewhere, and every price is another."""
    new = {"1_150": ("1_50,2", "51_200,3"), "151_400": ("201_500,5",), "401_up": ("501_up,6",)}
    text = FILE.read_text(encoding="utf-8")
    for item, followers in new.items():
        old = next(row for row in text.splitlines() if row.startswith(f"residential-1.2,energy_kwh_{item},"))
        rows = [old.replace("2015-11-01,,", "2015-11-01,2026-03-15,")]
        rows += [f"residential-1.2,energy_kwh_{row},THB/kWh,2026-03-16,,s,2026,draft" for row in followers]
        text = text.replace(old, "\n".join(rows))
    path = folder / "changed.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_grid_lines__of_a_change_within_the_month__price_each_wh_by_its_day(tmp_path):
    lots = [lot(15, 8, 40_000), lot(16, 8, 20_000), lot(17, 8, 150_000)]
    lines = grid_lines(lots, MARCH, Tariffs(changed_within_march(tmp_path)), 900, WHOLE, service=True)
    assert [
        (one.item, one.first_day.day, one.last_day.day, one.quantity_wh, one.amount_uthb) for one in lines[:-2]
    ] == [
        ("Energy charge, 1 to 150 kWh", 1, 15, 40_000, 40 * 3_248_400),
        ("Ft", 1, 15, 40_000, 40 * 97_200),
        # 40 kWh came before: 10 more are in the new first block.
        ("Energy charge, 1 to 50 kWh", 16, 31, 10_000, 10 * 2_000_000),
        ("Energy charge, 51 to 200 kWh", 16, 31, 150_000, 150 * 3_000_000),
        ("Energy charge, 201 to 500 kWh", 16, 31, 10_000, 10 * 5_000_000),
        ("Ft", 16, 31, 170_000, 170 * 97_200),
    ]


def test_grid_lines__of_a_line__are_rounded_up_once():
    lines = grid_lines([lot(3, 8, 1), lot(3, 9, 1), lot(3, 10, 1)], MARCH, Tariffs(FILE), 900, WHOLE, service=False)
    # 3 Wh at 3.2484 THB/kWh are 9,745.2 micro-THB.
    assert lines[0].amount_uthb == 9_746


def test_grid_lines__of_one_day_of_31__cut_the_blocks_for_that_share():
    lots = [lot(14, 8, 4_000), lot(14, 9, 10_000)]
    lines = grid_lines(lots, MARCH, Tariffs(FILE), 900, Share(1, 31), service=True)
    # 150 and 400 kWh / 31 are 4,838.7 and 12,903.2 Wh: rounded down, so that what is left of a Wh is charged dearer.
    assert energies(lines) == [
        ("1 to 150 kWh a month, 1 of 31 days", 4_838, -(-4_838 * 32_484 // 10)),
        ("151 to 400 kWh a month, 1 of 31 days", 8_065, -(-8_065 * 42_218 // 10)),
        ("above 400 kWh a month, 1 of 31 days", 1_097, -(-1_097 * 44_217 // 10)),
    ]
    assert [line.item for line in lines[3:]] == ["Ft", "Service charge", "VAT 7 %"]
    assert (lines[4].amount_uthb, lines[4].first_day.day, lines[4].last_day.day) == (24_620_000, 1, 31)


def test_grid_lines__by_time_of_use_of_one_day__are_those_of_a_month():
    lots, tariffs = [lot(4, 9, 1_000_000), lot(4, 8, 1_000_000)], Tariffs(FILE, TOU_PLAN)
    one_day, whole = (grid_lines(lots, MARCH, tariffs, 900, share, service=True) for share in (Share(1, 31), WHOLE))
    assert one_day == whole


def at(*when):
    """The end, at this time of March 2026, of an interval."""
    return int(datetime(2026, 3, *when, tzinfo=BANGKOK).timestamp())


@pytest.mark.parametrize(
    ("ends", "covered_days"),
    [
        ([], 0),
        ([at(14, 0, 15)], 1),
        ([at(14, 0, 15), at(15)], 1),  # midnight is the day before's
        ([at(15, 0, 15), at(14, 23)], 2),
        ([at(2, 12), at(30, 12), at(7, 12)], 29),  # days without a reading between two with one count
        ([at(1, 0, 15), MARCH.end], 31),
        ([at(1, 0, 5)], 1),  # begun in February
    ],
)
def test_share_of__any_readings__is_from_the_first_day_to_the_last(ends, covered_days):
    assert share_of(MARCH, ends, 900) == (covered_days, 31)


def test_share_of__a_month__has_its_own_number_of_days():
    assert [share_of(Month(2026, month), [], 900) for month in (2, 4, 12)] == [(0, 28), (0, 30), (0, 31)]


def test_grid_lines__by_time_of_use__part_on_peak_from_off_peak():
    # The 4th is a Wednesday, the 7th a Saturday.
    lots = [lot(4, 9, 1_000), lot(4, 8, 1_000), lot(7, 12, 1_000)]
    lines = grid_lines(lots, MARCH, Tariffs(FILE, TOU_PLAN), 900, WHOLE, service=False)
    shown = {line.item: (line.quantity_wh, line.amount_uthb) for line in lines if line.quantity_wh}
    assert shown["Energy charge, on-peak"] == (1_000, 5_798_200)
    assert shown["Energy charge, off-peak"] == (2_000, 2 * 2_636_900)
    assert {line.source.split()[0] for line in lines if "Energy" in line.item} == {"energy_on_peak", "energy_off_peak"}
    assert shown["Ft, off-peak"] == (2_000, 2 * 97_200)


def test_grid_lines__without_import_or_meter__are_none():
    assert grid_lines([], MARCH, Tariffs(FILE), 900, WHOLE, service=False) == []


def test_market_lines__paid_is_rounded_up_and_earned_down():
    trades = [
        Trade(
            epoch=1,
            start=MARCH.start,
            order_id=1,
            side=side,
            limit_tick=300,
            price2=600,
            energy_uwh=1,
            money_wei=10**12 + 1,
            order_tx="0xa",
            clear_tx="0xb",
        )
        for side in ("buy", "sell")
    ]
    assert [(line.item, line.amount_uthb) for line in market_lines(trades, MARCH)] == [
        ("Bought from neighbours", 2),
        ("Sold to neighbours", -1),
    ]
