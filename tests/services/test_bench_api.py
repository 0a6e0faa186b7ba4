"""The bench of the API in its smallest form: every endpoint answers, every order enters; no time is judged."""

import json

import pytest

from bench import api
from tests.requires import needs_program


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    needs_program("wrk", apt="wrk")
    return api.measure(api.QUICK, tmp_path_factory.mktemp("api"), print)


def test_measure__quick__every_endpoint_answers_and_nothing_is_refused(found):
    reads, _ = found
    assert {"book", "balance", "status", "mix of all", api.BUSY} <= {read.name for read in reads}
    assert all(read.requests > 0 and read.refused == 0 for read in reads)


def test_measure__quick__every_order_enters(found):
    # `measure` itself fails if an order does not enter, or index and contracts differ afterwards.
    assert [(run.per_message, run.together, run.orders) for run in found[1]] == [(2, 1, 80), (2, 10, 80)]


def test_write__measured__brings_table_and_figures(found, tmp_path):
    reads, posted = found
    api.write(reads, posted, tmp_path)
    text = (tmp_path / "api.md").read_text("utf-8")
    assert all(f"| {read.name} |" in text for read in reads)
    told = json.loads((tmp_path / "api.json").read_text("utf-8"))
    assert [len(told["reads"]), len(told["orders"])] == [len(reads), len(posted)]
