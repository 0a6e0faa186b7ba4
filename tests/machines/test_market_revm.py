"""The state machine in volume: the real contracts in an EVM inside this process.

The seed is random and told in the last lines of a run. `--hypothesis-seed=N` runs the same again; a failure tells the
seed that fails at once. BUSBAR_MACHINE_EXAMPLES sets how many sequences of 60 steps are run: 240 unless told otherwise,
under a minute on a free core; 10,000 take an hour.
"""

import os
from functools import cache

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from busbar.chain import load_artifact
from tests.machines.machine import MarketMachine, Stats
from tests.machines.worlds import OUR_CONTRACTS, RevmWorld

EXAMPLES = int(os.environ.get("BUSBAR_MACHINE_EXAMPLES", "240"))

# From its tenth example on Hypothesis spends six of seven on mutants of the one before, which here are its copies but
# for a value. So it is started anew, with the next seed, before it comes to that; the first example is always empty.
BATCH = 9
SETTINGS = settings(
    max_examples=BATCH,
    stateful_step_count=60,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@cache
def deployed(cancel_cutoff: int) -> RevmWorld:
    return RevmWorld(cancel_cutoff)


class RevmMachine(MarketMachine):
    """One market after the other in the same EVM: whatever a run did is taken back in the end."""

    cancel_cutoff = 0

    def __init__(self) -> None:
        world = deployed(self.cancel_cutoff)
        self._before = world.rolled_back()
        self._before.__enter__()
        try:
            super().__init__(world, self.cancel_cutoff)
        except BaseException:
            self._before.__exit__(None, None, None)
            raise

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self._before.__exit__(None, None, None)


class CutoffMachine(RevmMachine):
    cancel_cutoff = 60


def run(machine: type[RevmMachine], examples: int, first_seed: int, chosen: settings = SETTINGS) -> None:
    for number in range(-(-examples // (BATCH - 1))):
        try:
            run_state_machine_as_test(seed(first_seed + number)(machine), settings=chosen)
        except BaseException as problem:
            problem.add_note(f"Fails at once with --hypothesis-seed={first_seed + number}")
            raise


# A failure is made smaller for as long as it takes.
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("machine", "share"), [(RevmMachine, 5), (CutoffMachine, 1)])
def test_market__any_sequence_of_verbs__agrees_with_the_model_and_keeps_every_invariant(machine, share, machine_seed):
    run(machine, max(1, EXAMPLES * share // 6), machine_seed)


CALLED_BY_CONTRACTS = {"setAccount", "credit", "openMeter", "closeMeter"}
"""Verbs for other contracts: the machine tries them as a trespasser, and sees them done inside others."""
TO_REPLACE_THE_AUTHORITY = {"setAuthority"}
"""The Authority's own; tests/contracts/test_permissions.py calls it."""


def test_machine__in_one_run__does_every_verb_and_comes_to_every_state():
    Stats.clear()
    run(RevmMachine, 8 * (BATCH - 1), 4_711)
    verbs = {
        entry["name"]
        for contract in OUR_CONTRACTS
        for entry in load_artifact(contract)["abi"]
        if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure")
    }
    assert verbs - CALLED_BY_CONTRACTS - TO_REPLACE_THE_AUTHORITY - set(Stats.done) == set()
    assert Stats.done["matchOrders"] > 2
    assert min(Stats.traded, Stats.rationed, Stats.accepted, Stats.parked) > 25
    assert len(Stats.skipped) > 5, "reasons to skip a reading; the long runs come to all nine"
    assert len(Stats.refused) > 40


def test_seed__named_twice__runs_the_same_steps_twice():
    told = []
    for _ in range(2):
        Stats.clear()
        run(RevmMachine, BATCH - 1, 4_711)
        told.append((Stats.told(1), dict(Stats.done), dict(Stats.refused)))
    assert told[0] == told[1]
