"""Faults on purpose, in short; `make chaos` is the long form, with every kind many times over."""

from tests.chaos import FAULTS, run, schedule

PLAN = {
    3: "kill_9_all",
    4: "connection_reset",
    5: "reorganisation",
    6: "two_keepers_two_gateways",
    7: "node_restarted",
    8: "bots_out_of_funds",
    9: "connection_half_open",
    10: "node_of_another_chain",
}
"""One fault of each family: processes, connections, node, chain, accounts."""


def test_market__faults_of_every_family__ends_as_undisturbed_to_the_unit(tmp_path):
    restarts = run(tmp_path, seed=3, intervals=12, days=1, plan=PLAN)
    # The three that were killed, and whoever met another chain; each has stopped and come back.
    assert sum(restarts.values()) > 3


def test_schedule__a_long_run__has_every_fault_and_the_same_for_the_same_seed():
    plan = schedule(7, 200, 3)
    assert set(plan.values()) == set(FAULTS)
    assert plan == schedule(7, 200, 3)
    assert plan != schedule(8, 200, 3)
