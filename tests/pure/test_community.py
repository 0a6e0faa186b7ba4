"""A community file is taken whole or refused in one line; what is taken adds up to the last Wh."""

import hashlib
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.community import Community, CommunityError, CommunityMeter, Registers, load_community

NEIGHBOURHOOD = Path(__file__).parents[2] / "data" / "neighbourhood" / "neighbourhood.csv"
BANGKOK = timezone(timedelta(hours=7))
HEADER = "meter_id,role,timestamp,consumption_wh,generation_wh"
# Two meters, two quarter-hours: rows 2 to 5 of the file.
GOOD = (
    HEADER,
    "P1,prosumer,2026-03-09T00:00:00+07:00,100,0",
    "P1,prosumer,2026-03-09T00:15:00+07:00,100,250",
    "C1,consumer,2026-03-09T00:00:00+07:00,300,0",
    "C1,consumer,2026-03-09T00:15:00+07:00,301,0",
)


def write(tmp_path, lines=GOOD, newline="\n"):
    path = tmp_path / "street.csv"
    path.write_bytes((newline.join(lines) + newline).encode())
    return path


def with_row(row, line):
    lines = list(GOOD)
    lines[row - 1] = line
    return lines


def a_community(series, interval_s=900, start=datetime(2026, 3, 9, tzinfo=BANGKOK)):
    consumption_wh, generation_wh = zip(*series, strict=True)
    meter = CommunityMeter("P1", "prosumer", consumption_wh, generation_wh)
    return Community("street", (meter,), start, interval_s, "0" * 64)


P, C = "P1,prosumer,2026-03-09T", "C1,consumer,2026-03-09T"
MALFORMED = {
    "header misspelt": (
        with_row(1, HEADER.replace("timestamp", "time")),
        1,
        "timestamp",
        "header has 'time'",
    ),
    "header reordered": (
        with_row(1, "role,meter_id,timestamp,consumption_wh,generation_wh"),
        1,
        "meter_id",
        "header has 'role' here",
    ),
    "header short": (
        with_row(1, "meter_id,role,timestamp,consumption_wh"),
        1,
        "generation_wh",
        "header has ''",
    ),
    "header long": (with_row(1, HEADER + ",note"), 1, "6", "one too many: the row has 6"),
    "semicolons": (with_row(1, HEADER.replace(",", ";")), 1, "meter_id", "header has 'meter_id;role"),
    "header only": ([HEADER], 1, None, "no rows after the header"),
    "field missing": (with_row(3, P + "00:15:00+07:00,100"), 3, "generation_wh", "is missing: the row has 4"),
    "field too many": (with_row(3, P + "00:15:00+07:00,100,250,1"), 3, "6", "one too many: the row has 6"),
    "id empty": (
        with_row(4, ",consumer,2026-03-09T00:00:00+07:00,300,0"),
        4,
        "meter_id",
        "'' is not 1 to 31",
    ),
    "id too long": (with_row(4, "C" * 32 + GOOD[3][2:]), 4, "meter_id", "is not 1 to 31 printable ASCII"),
    "id with a space": (with_row(4, "C 1" + GOOD[3][2:]), 4, "meter_id", "'C 1' is not 1 to 31"),
    "id not ASCII": (with_row(4, "Cé" + GOOD[3][2:]), 4, "meter_id", "'Cé' is not 1 to 31"),
    "id with a line break": (with_row(4, '"C\n1"' + GOOD[3][2:]), 5, "meter_id", "'C\\n1' is not 1 to 31"),
    "role unknown": (
        with_row(4, "C1,utility,2026-03-09T00:00:00+07:00,300,0"),
        4,
        "role",
        "'utility' is neither",
    ),
    "role capital": (
        with_row(4, "C1,Consumer,2026-03-09T00:00:00+07:00,300,0"),
        4,
        "role",
        "'Consumer' is neither",
    ),
    "role changes": (
        with_row(3, "P1,consumer,2026-03-09T00:15:00+07:00,100,0"),
        3,
        "role",
        "'consumer', but P1 is a prosumer in row 2",
    ),
    "timestamp no time": (
        with_row(3, P + "soon,1,0"),
        3,
        "timestamp",
        "'2026-03-09Tsoon' is not an ISO 8601",
    ),
    "timestamp naive": (with_row(3, P + "00:15:00,100,250"), 3, "timestamp", "has no UTC offset"),
    "timestamp fraction": (
        with_row(3, P + "00:15:00.5+07:00,1,0"),
        3,
        "timestamp",
        "is not in whole seconds",
    ),
    "timestamp other offset": (
        with_row(3, P + "01:15:00+08:00,100,250"),
        3,
        "timestamp",
        "another UTC offset than row 2",
    ),
    "timestamp ancient": (
        with_row(3, "P1,prosumer,1969-03-09T00:15:00+07:00,100,250"),
        3,
        "timestamp",
        "outside the years 1971 to 2199",
    ),
    "energy empty": (with_row(3, P + "00:15:00+07:00,,250"), 3, "consumption_wh", "'' is not a whole number"),
    "energy negative": (with_row(3, P + "00:15:00+07:00,-1,250"), 3, "consumption_wh", "'-1' is not a whole"),
    "energy fraction": (
        with_row(3, P + "00:15:00+07:00,100,2.5"),
        3,
        "generation_wh",
        "'2.5' is not a whole",
    ),
    "energy exponent": (with_row(3, P + "00:15:00+07:00,1e3,0"), 3, "consumption_wh", "'1e3' is not a whole"),
    "energy underscore": (
        with_row(3, P + "00:15:00+07:00,1_0,0"),
        3,
        "consumption_wh",
        "'1_0' is not a whole",
    ),
    "energy Thai digits": (
        with_row(3, P + "00:15:00+07:00,๑๒,0"),
        3,
        "consumption_wh",
        "'๑๒' is not a whole",
    ),
    "energy 2**40": (
        with_row(3, P + f"00:15:00+07:00,0,{2**40}"),
        3,
        "generation_wh",
        "more than 1099511627775 Wh",
    ),
    "energy endless": (with_row(3, P + "00:15:00+07:00,0," + "9" * 9000), 3, "generation_wh", "is more than"),
    "consumer generates": (with_row(5, C + "00:15:00+07:00,301,7"), 5, "generation_wh", "C1 is a consumer"),
    "row twice": (
        [*GOOD, GOOD[1]],
        6,
        "timestamp",
        "P1 has 2026-03-09T00:00:00+07:00 already, in row 2",
    ),
    "last interval missing": (
        list(GOOD[:4]),
        4,
        "timestamp",
        "C1 has no row for 2026-03-09T00:15:00+07:00",
    ),
    "first interval missing": (
        [*GOOD[:3], GOOD[4]],
        4,
        "timestamp",
        "C1 has no row for 2026-03-09T00:00:00+07:00",
    ),
    "interval missing for all": (
        [*GOOD, P + "00:45:00+07:00,1,0", C + "00:45:00+07:00,1,0"],
        5,
        "timestamp",
        "C1 has no row for 2026-03-09T00:30:00+07:00",
    ),
    "off the grid": (
        [*GOOD, P + "00:37:00+07:00,1,0", C + "00:37:00+07:00,1,0"],
        6,
        "timestamp",
        "2026-03-09T00:37:00+07:00 is not a multiple of 900 s after midnight",
    ),
    "interval too short": (
        [HEADER, P + "00:00:00+07:00,1,0", P + "00:00:30+07:00,1,0"],
        3,
        "timestamp",
        "intervals are 30 s long",
    ),
    "interval does not divide a day": (
        [HEADER, P + "00:00:00+07:00,1,0", P + "00:07:00+07:00,1,0"],
        3,
        "timestamp",
        "intervals are 420 s long",
    ),
    "quote never closed": (with_row(3, '"P1' + GOOD[2][2:]), 5, None, "is not valid CSV"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_load_community__file_is_malformed__names_file_row_column_and_reason(tmp_path, case):
    lines, row, column, reason = MALFORMED[case]
    path = write(tmp_path, lines)
    with pytest.raises(CommunityError) as caught:
        load_community(path)
    error = caught.value
    assert (error.file, error.row, error.column) == (str(path), row, column)
    assert reason in error.reason
    where = f"{path}, row {row}" + (f", column {column}" if column else "")
    assert str(error) == f"{where}: {error.reason}"
    assert len(str(error).splitlines()) == 1
    assert len(error.reason) < 200


def test_load_community__file_is_empty__refuses_row_1(tmp_path):
    path = tmp_path / "empty.csv"
    path.touch()
    with pytest.raises(CommunityError, match=r"empty\.csv, row 1: the file is empty"):
        load_community(path)


def test_load_community__file_is_absent__says_so(tmp_path):
    with pytest.raises(CommunityError, match="cannot be read: No such file"):
        load_community(tmp_path / "nowhere.csv")


def test_load_community__not_utf_8__names_the_row(tmp_path):
    path = tmp_path / "street.csv"
    path.write_bytes("\n".join(GOOD).replace("C1", "Cé", 1).encode("latin-1"))
    with pytest.raises(CommunityError, match="row 4: is not UTF-8 text"):
        load_community(path)


def test_load_community__timestamp_wrong_by_decades__is_refused(tmp_path):
    lines = with_row(3, "P1,prosumer,2126-03-09T00:15:00+07:00,100,250")
    with pytest.raises(CommunityError, match="no row for"):
        load_community(write(tmp_path, lines))


def test_load_community__rows_in_any_order__gives_the_same_community(tmp_path):
    straight = load_community(write(tmp_path))
    turned = load_community(write(tmp_path, [HEADER, *reversed(GOOD[1:])]))
    assert turned.meters == straight.meters
    assert turned.start == straight.start == datetime(2026, 3, 9, tzinfo=BANGKOK)
    assert [meter.meter_id for meter in straight.meters] == ["C1", "P1"]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_load_community__byte_order_mark_crlf_and_blank_lines__are_tolerated(tmp_path, mark, newline):
    path = write(tmp_path, [*GOOD[:3], "", *GOOD[3:], ""], newline)
    path.write_bytes(mark + path.read_bytes())
    community = load_community(path)
    assert community.meter("P1").generation_wh == (0, 250)
    assert community.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert community.name == "street"


def test_load_community__limits_of_the_format__are_accepted(tmp_path):
    longest = "!" + "~" * 30
    row = f"{longest},prosumer,2026-03-09T00:00:00Z,{2**40 - 1},0"
    community = load_community(write(tmp_path, [HEADER, row]), name="one")
    assert community.meter(longest).consumption_wh == (2**40 - 1,)
    assert (community.name, community.interval_s) == ("one", 900)


def test_load_community__hourly_file__derives_the_interval(tmp_path):
    rows = [f"P1,prosumer,2026-03-09T{hour:02}:00:00+07:00,{hour},0" for hour in range(24)]
    community = load_community(write(tmp_path, [HEADER, *rows]))
    assert community.interval_s == 3600
    assert community.intervals(date(2026, 3, 9)) == range(24)


def test_load_community__shipped_week__adds_up():
    community = load_community(NEIGHBOURHOOD)
    assert (len(community.meters), community.interval_count, community.interval_s) == (21, 672, 900)
    assert sum(meter.role == "prosumer" for meter in community.meters) == 14
    assert community.start == datetime(2026, 3, 9, tzinfo=BANGKOK)
    assert community.end == datetime(2026, 3, 16, tzinfo=BANGKOK)
    assert community.sha256 == hashlib.sha256(NEIGHBOURHOOD.read_bytes()).hexdigest()
    saturday = community.intervals(date(2026, 3, 14))
    assert sum(community.import_wh(meter, i) for meter in community.meters for i in saturday) == 455_052
    assert sum(community.export_wh(meter, i) for meter in community.meters for i in saturday) == 264_139


def test_surplus_intervals__shipped_week__counts_net_surplus_and_any_export_apart():
    community = load_community(NEIGHBOURHOOD)
    days = community.available_days()
    assert [community.surplus_intervals(day) for day in days] == [0, 9, 4, 6, 12, 32, 32]
    assert [community.export_intervals(day) for day in days] == [48, 48, 48, 50, 50, 50, 51]


def test_meter__unknown_id__raises(tmp_path):
    with pytest.raises(CommunityError, match="no meter 'P9'"):
        load_community(write(tmp_path)).meter("P9")


@pytest.mark.parametrize(
    ("day", "days"),
    [(date(2026, 3, 8), 1), (date(2026, 3, 16), 1), (date(2026, 3, 15), 2), (date(2026, 3, 8), 3)],
)
def test_intervals__day_is_not_held__lists_the_days_that_are(day, days):
    community = load_community(NEIGHBOURHOOD)
    with pytest.raises(CommunityError, match=r"not available; available: 2026-03-09 to 2026-03-15 \(7 days\)"):
        community.intervals(day, days)


def test_intervals__no_days__raises():
    with pytest.raises(CommunityError, match="take at least 1"):
        load_community(NEIGHBOURHOOD).intervals(date(2026, 3, 9), 0)


def test_intervals__file_begins_and_ends_inside_a_day__offers_complete_days_only():
    community = a_community([(1, 0)] * (24 + 24 + 23), 3600, datetime(2026, 3, 9, 1, tzinfo=BANGKOK))
    assert community.available_days() == (date(2026, 3, 10), date(2026, 3, 11))
    assert community.intervals(date(2026, 3, 10)) == range(23, 47)
    with pytest.raises(CommunityError, match=r"available: 2026-03-10 to 2026-03-11 \(2 days\)"):
        community.intervals(date(2026, 3, 9))


def test_intervals__no_complete_day__says_so(tmp_path):
    with pytest.raises(CommunityError, match="available: no complete day"):
        load_community(write(tmp_path)).intervals(date(2026, 3, 9))


def test_intervals__several_days__are_consecutive_and_begin_at_midnight():
    community = load_community(NEIGHBOURHOOD)
    two_days = community.intervals(date(2026, 3, 10), 2)
    assert two_days == range(96, 288)
    assert community.start_of(two_days[0]) == datetime(2026, 3, 10, tzinfo=BANGKOK)
    assert community.end_of(two_days[-1]) == datetime(2026, 3, 12, tzinfo=BANGKOK)


@pytest.mark.parametrize("i", [-1, 672])
def test_import_wh__no_such_interval__raises_instead_of_counting_from_the_end(i):
    community = load_community(NEIGHBOURHOOD)
    for question in (community.import_wh, community.export_wh):
        with pytest.raises(IndexError, match="intervals 0 to 671"):
            question(community.meters[0], i)
    for question in (community.start_of, community.end_of):
        with pytest.raises(IndexError, match="intervals 0 to 671"):
            question(i)


whs = st.integers(min_value=0, max_value=2**40 - 1)
weeks = st.lists(st.tuples(whs, whs), min_size=1, max_size=40)


@given(weeks)
def test_import_and_export__any_interval__net_to_consumption_minus_generation_and_one_is_zero(series):
    community = a_community(series)
    for i, (consumption_wh, generation_wh) in enumerate(series):
        import_wh = community.import_wh(community.meters[0], i)
        export_wh = community.export_wh(community.meters[0], i)
        assert import_wh - export_wh == consumption_wh - generation_wh
        assert min(import_wh, export_wh) == 0


@given(weeks, st.one_of(st.none(), st.builds(Registers, whs, whs)))
def test_registers__any_series_and_start__differ_by_the_interval_energies(series, initial):
    community = a_community(series)
    (meter,) = community.meters
    shown = community.registers(meter, initial)
    before = community.initial_registers(meter) if initial is None else initial
    assert len(shown) == len(series)
    for i, after in enumerate(shown):
        assert after.import_wh - before.import_wh == community.import_wh(meter, i)
        assert after.export_wh - before.export_wh == community.export_wh(meter, i)
        before = after


def test_initial_registers__shipped_meters__are_never_zero_and_never_alike():
    community = load_community(NEIGHBOURHOOD)
    initial = [community.initial_registers(meter) for meter in community.meters]
    assert len(set(initial)) == len(initial)
    assert all(1_000_000 <= r.import_wh < 50_000_000 for r in initial)
    assert all(1_000_000 <= r.export_wh < 20_000_000 for r in initial)


@given(weeks, st.sampled_from([60, 900, 3600]))
def test_rated_power__any_series__covers_the_largest_interval_in_whole_steps(series, interval_s):
    community = a_community(series, interval_s)
    (meter,) = community.meters
    for rated_w, energy_wh in (
        (community.rated_import_w(meter), community.import_wh),
        (community.rated_export_w(meter), community.export_wh),
    ):
        largest_wh = max(energy_wh(meter, i) for i in range(len(series)))
        assert rated_w * interval_s * 100 >= largest_wh * 3600 * 125
        assert (rated_w - 100) * interval_s * 100 < largest_wh * 3600 * 125 or rated_w == 1000
        assert rated_w % 100 == 0
        assert rated_w >= 1000
