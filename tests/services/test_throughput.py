"""The bench of the relay in its smallest form: everything enters and settles to the unit; no time is judged."""

import json

import pytest

from bench import throughput


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    orders, shapes = throughput.QUICK
    return throughput.measure(orders, shapes, tmp_path_factory.mktemp("throughput"), print)


def test_measure__quick__enters_and_settles_every_order(found):
    # `measure` itself fails if a bundle does not enter or a balance is not the reference's.
    assert [(f.participants, f.per_message, f.orders, f.messages) for f in found] == [
        (300, 1, 300, 300),
        (60, 1, 300, 300),
        (60, 5, 300, 60),
    ]
    assert all(f.traded_wh > 0 and f.transactions > 0 for f in found)


def test_measure__several_to_a_message__take_less_gas_each(found):
    _, one, five = (f.gas for f in found)
    assert five < one


def test_write__measured__brings_table_and_figures(found, tmp_path):
    throughput.write(found, tmp_path)
    text = (tmp_path / "throughput.md").read_text("utf-8")
    assert all(title in text for title in throughput.STAGES.values())
    runs = json.loads((tmp_path / "throughput.json").read_text("utf-8"))["runs"]
    assert [run["per_message"] for run in runs] == [1, 1, 5]
    assert set(runs[0]["stages"]) == set(throughput.STAGES)
