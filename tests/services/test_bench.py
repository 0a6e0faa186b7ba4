"""The gas bench in its smallest profile: that it measures what its table names, and tells changes."""

import json

import pytest

from bench import gas
from busbar import tools


@pytest.fixture(scope="module")
def figures():
    """What the smallest profile measures."""
    return gas.measure(gas.QUICK)


def test_measure__smallest_profile__gives_every_figure_of_the_table(figures):
    assert list(figures) == [row.key for row in gas.rows(gas.QUICK)]
    for row in gas.rows(gas.QUICK):
        assert figures[row.key]["steady"] > 21_000
        assert figures[row.key]["count"] == row.count


def test_write__measured__brings_snapshot_table_and_plots(figures, tmp_path):
    gas.write(gas.QUICK, figures, tmp_path)
    assert json.loads((tmp_path / "gas.json").read_text("utf-8"))["figures"] == figures
    assert (tmp_path / "gas.json").read_text("utf-8") == gas.snapshot(figures)
    table = (tmp_path / "gas.md").read_text("utf-8")
    assert all(row.title in table for row in gas.rows(gas.QUICK))
    for plot in ("clear_by_orders.svg", "clear_by_ticks.svg"):
        assert (tmp_path / plot).read_text("utf-8").startswith("<svg")


def test_differences__nothing_changed__are_none(figures):
    assert gas.differences({"figures": figures}, figures, whole=True) == []


def test_differences__one_gas_more__are_told(figures):
    dearer = {**figures, "order/buy": {**figures["order/buy"], "steady": figures["order/buy"]["steady"] + 1}}
    (line,) = gas.differences({"figures": figures}, dearer, whole=True)
    assert line.startswith("order/buy steady: ")
    assert line.endswith("(+1)")


def test_differences__figure_not_committed_yet__is_told(figures):
    older = {key: value for key, value in figures.items() if key != "order/buy"}
    assert all(line.startswith("order/buy ") for line in gas.differences({"figures": older}, figures, whole=True))
    assert gas.differences({"figures": older}, figures, whole=True)


def test_differences__part_measured__are_of_that_part_only(figures):
    part = {"order/buy": figures["order/buy"]}
    assert gas.differences({"figures": figures}, part, whole=False) == []
    assert gas.differences({"figures": figures}, part, whole=True)


@pytest.mark.parametrize(("over", "text"), [(0, "PASS"), (1, "over by 1"), (10, "over by 1"), (11, "over by 2")])
def test_verdict__target_for_each_of_ten__is_judged_on_the_whole_call(over, text):
    assert gas.verdict({"steady": 1_000 + over, "target": 100, "count": 10}) == text


def test_committed_snapshot__has_every_figure_of_the_whole_table():
    path = tools.project_root() / "bench" / "results" / "gas.json"
    committed = json.loads(path.read_text("utf-8"))["figures"]
    assert sorted(committed) == sorted(row.key for row in gas.rows(gas.WHOLE))
