"""The same machine, smaller, on a real node through the shipped client: what an EVM in this process may not show.

Every transaction is signed, simulated, broadcast and mined; views are read with the client's own decoding. Some dozens
of steps; the volume is in test_market_revm.py. The seed is the run's, see conftest.py.
"""

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machines.machine import MarketMachine
from tests.machines.worlds import AnvilWorld

# The first example is the empty one. A failure is told as it came: making it smaller would take a node an hour.
SETTINGS = settings(
    max_examples=3,
    stateful_step_count=20,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
)


@pytest.fixture
def world(deployed, tmp_path):
    """A market of its own on the session's node, which is as before in the end."""
    state = deployed.devnet.snapshot()
    yield AnvilWorld(deployed.devnet, tmp_path)
    deployed.devnet.restore(state)


def test_market__any_sequence_of_verbs_on_a_node__agrees_with_the_model_and_keeps_every_invariant(world, machine_seed):
    class AnvilMachine(MarketMachine):
        """One market after the other on the same node: whatever a run did is taken back in the end."""

        def __init__(self) -> None:
            self._before = world.rolled_back()
            self._before.__enter__()
            super().__init__(world)

        def teardown(self) -> None:
            try:
                super().teardown()
            finally:
                self._before.__exit__(None, None, None)

    run_state_machine_as_test(seed(machine_seed)(AnvilMachine), settings=SETTINGS)
