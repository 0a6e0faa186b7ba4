"""The seed of the state machines: random, told in the last lines of a run, and taken from `--hypothesis-seed` if named.

With it a run repeats exactly, examples, steps and all, whatever machine it runs on.
"""

import random
import sys
import time
from dataclasses import dataclass, field

import pytest


@dataclass
class Run:
    seed: int
    lines: list[str] = field(default_factory=list)


_runs = pytest.StashKey[Run]()


@pytest.fixture(scope="session")
def machine_run(pytestconfig):
    """The seed, and lines to be told at the end."""
    named = pytestconfig.getoption("--hypothesis-seed", default=None)
    seed = random.SystemRandom().randrange(10**9) if named in (None, "random") else int(named)
    pytestconfig.stash[_runs] = Run(seed)
    return pytestconfig.stash[_runs]


@pytest.fixture
def machine_seed(machine_run, request):
    """The seed; what ran is told when the test is over."""
    module = sys.modules["tests.machines.machine"]
    module.Stats.clear()
    started = time.perf_counter()
    yield machine_run.seed
    seconds = time.perf_counter() - started
    machine_run.lines.append(f"{request.node.name}: {module.Stats.told(seconds)}")


def pytest_terminal_summary(terminalreporter, config):
    run = config.stash.get(_runs, None)
    if run is not None:
        terminalreporter.write_sep("-", f"state machines: repeat with --hypothesis-seed={run.seed}")
        for line in run.lines:
            terminalreporter.write_line(line)
