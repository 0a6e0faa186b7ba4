"""The bench of the gateway in its smallest form: everything counts, to the watt-hour; no time is judged."""

import json

import pytest

from bench import metering


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    meters, homes, days = metering.QUICK
    months = metering.month(homes, days, tmp_path_factory.mktemp("month"), print)
    return metering.quarter_hour(meters, tmp_path_factory.mktemp("quarter"), print), months


def test_quarter_hour__quick__brings_every_reading(found):
    # `quarter_hour` itself fails if a reading is refused, a register differs or the minted energy does.
    laps, _ = found
    meters = metering.QUICK[0]
    assert [(f.name, f.readings) for f in laps] == [("500 to a request", meters), ("one to a request", meters)]
    assert all(f.transactions and f.gas for f in laps)


def test_month__quick__mints_what_is_retired_and_held(found):
    _, months = found
    _, homes, days = metering.QUICK
    assert months.readings == homes * days * 96
    assert months.minted_wh == months.retired_wh + months.held_wh
    assert months.retired_wh > 0
    assert months.held_wh > 0


def test_write__measured__brings_table_and_figures(found, tmp_path):
    metering.write(*found, tmp_path)
    text = (tmp_path / "metering.md").read_text("utf-8")
    assert all(title in text for title in metering.STAGES.values())
    runs = json.loads((tmp_path / "metering.json").read_text("utf-8"))["runs"]
    assert [run["name"] for run in runs] == ["500 to a request", "one to a request", "a month"]
    assert set(runs[0]["stages"]) == set(metering.STAGES)
