"""Gateway, keeper and agents as the processes an operator runs: killed at any moment, nothing is lost or doubled."""

import os
import signal

import pytest
from structlog.testing import capture_logs

from busbar import service
from busbar.chain import ChainUnreachableError, WrongChainError
from busbar.devnet import Devnet
from tests.communities import House, write_community
from tests.market import DAY
from tests.operators import HOUSEHOLDS, KEEPER, METERS, UTILITY, Operator, judge, undisturbed_replay

HOUSES = (
    House("ROOF", (310, 280, 260, 0, 0, 90, 300, 700, 650, 400), (0, 0, 900, 2_400, 3_100, 1_500, 800, 120, 0, 0)),
    House("BAKERY", (900, 1_300, 700, 350, 40, 30, 20, 10, 0, 75)),
    House("CINEMA", (20, 30, 20, 60, 800, 950, 40, 1_200, 1_900, 1_100)),
)


@pytest.fixture
def community(tmp_path):
    return write_community(tmp_path / "street.csv", *HOUSES)


@pytest.fixture
def operator(tmp_path, community):
    with Devnet(timestamp=DAY) as devnet, Operator(devnet, tmp_path, community) as operator:
        yield operator


@pytest.fixture
def undisturbed(tmp_path, community):
    """The same day with nobody killed."""
    return undisturbed_replay(community, tmp_path / "undisturbed")


def test_bots__killed_at_any_moment__lose_and_double_nothing(operator, undisturbed):
    # Enrolling is killed with the first registrations under way, goes on, and has nothing to do the third time.
    operator.enrol()
    operator.until(operator.pending)
    operator.kill("enrol")
    for expected in ("going on with it", " 0 transactions"):
        operator.enrol()
        enrolling = operator.running["enrol"]
        operator.make_blocks_until(lambda enrolling=enrolling: enrolling.poll() is not None)
        assert enrolling.returncode == 0
        assert expected in operator.said("enrol")
    del operator.running["enrol"]
    operator.open()
    assert operator.chain.calendar.epoch_at(operator.enrolment.chain_start) == 96

    for name in ("meters", "keeper", "agents"):
        operator.start(name)
    operator.to_interval(1)
    operator.finish()

    # Each is killed between its sending and the receipt.
    operator.to_interval(2)
    operator.kill_between_sending_and_receipt("meters", METERS)
    operator.finish()
    operator.to_interval(3)
    # The utility bids without waiting for readings; everybody else only after them.
    operator.until(lambda: operator.sent_by(METERS) and operator.sent_by(UTILITY))
    operator.devnet.mine()
    operator.kill_between_sending_and_receipt("agents", *HOUSEHOLDS)
    operator.finish()
    operator.to_interval(4)
    operator.kill_between_sending_and_receipt("keeper", KEEPER)
    operator.finish()

    # All three at once, whatever they are at.
    operator.to_interval(5)
    operator.until(operator.pending)
    for name in ("meters", "keeper", "agents"):
        operator.kill(name)
    operator.devnet.mine()
    for name in ("agents", "keeper", "meters"):
        operator.start(name)
    operator.finish()

    # Nobody keeps the market for an epoch: the next orders clear it themselves.
    operator.kill("keeper")
    operator.to_interval(6)
    operator.make_blocks_until(lambda: not operator.agents.step() and not operator.pending())
    operator.to_interval(7)
    operator.start("keeper")
    operator.finish()

    # Asked to stop, they stop in order, and go on later as if nothing had been.
    assert [operator.stop(name) for name in ("meters", "keeper", "agents")] == [0, 0, 0]
    operator.to_interval(8)

    # Two of each, whoever comes first.
    for name in ("meters", "keeper", "agents"):
        operator.start(name)
    operator.start("meters 2", "--account", "dev:8")
    operator.start("keeper 2", "--account", "dev:9")
    operator.start("agents 2")
    operator.finish()
    operator.to_interval(9)
    operator.finish()
    operator.to_interval(10)
    operator.finish()
    operator.to_interval(11)
    operator.finish()
    assert {name: operator.stop(name) for name in list(operator.running)} == {
        f"{name}{number}": 0 for name in ("meters", "keeper", "agents") for number in ("", " 2")
    }

    judge(operator, undisturbed)


# ----------------------------------------------------------------------- the loop they all run


@pytest.fixture
def handlers():
    """Puts back what the loop does to signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Steps:
    """A bot's steps, each as told; after the last the bot is asked to stop."""

    def __init__(self, *steps, stop=signal.SIGTERM):
        self.steps = list(steps)
        self.stop = stop
        self.taken = 0

    def __call__(self):
        self.taken += 1
        if self.taken == len(self.steps):
            os.kill(os.getpid(), self.stop)
        if isinstance(problem := self.steps[self.taken - 1], Exception):
            raise problem
        return []


AWAY = ChainUnreachableError("no node answers")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run__told_to_stop__finishes_the_step_under_way_and_returns(handlers, number):
    step = Steps(None, None, None, stop=number)
    with capture_logs() as logged:
        service.run(step, pause_s=0)
    assert step.taken == 3
    assert [entry["event"] for entry in logged] == ["stopped"]


def test_run__node_does_not_answer__waits_longer_each_time_and_goes_on(handlers, monkeypatch):
    monkeypatch.setattr(service, "LONGEST_WAIT_S", 0.001)
    step = Steps(AWAY, AWAY, AWAY, None)
    with capture_logs() as logged:
        service.run(step, pause_s=0)
    assert [entry["event"] for entry in logged] == ["waiting to try again"] * 3 + ["stopped"]
    assert step.taken == 4


def test_run__once__takes_a_single_step(handlers):
    step = Steps(None, None)
    service.run(step, pause_s=0, once=True)
    assert step.taken == 1


def test_run__once_and_no_node__says_so(handlers):
    with pytest.raises(ChainUnreachableError):
        service.run(Steps(AWAY, None), pause_s=0, once=True)


def test_run__what_waiting_would_not_mend__ends_the_process(handlers):
    step = Steps(WrongChainError("another chain"), None)
    with pytest.raises(WrongChainError):
        service.run(step, pause_s=0)
    assert step.taken == 1
