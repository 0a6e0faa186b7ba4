"""One chain and one deployed market a session; every test starts from the same state and leaves no trace."""

import pytest

from busbar.devnet import Devnet
from tests.communities import shipped_day
from tests.days import indexed_day
from tests.market import DAY, Market


@pytest.fixture(scope="session")
def deployed(tmp_path_factory):
    """The market as deployed, shared by all tests: use `market`, which puts everything back."""
    with Devnet(timestamp=DAY + 60) as devnet:
        yield Market(devnet, tmp_path_factory.mktemp("deployment"))


@pytest.fixture
def market(deployed):
    """The deployed market, with everything a test does undone afterwards."""
    state = deployed.devnet.snapshot()
    yield deployed
    deployed.devnet.restore(state)


@pytest.fixture
def actors(market):
    """Accounts by role."""
    return market.actors


@pytest.fixture(scope="session")
def street_day(tmp_path_factory):
    """Three roofs and two buildings in eight intervals of a Saturday, replayed, indexed and archived."""
    folder = tmp_path_factory.mktemp("street")
    return indexed_day(shipped_day(folder / "street.csv", ("H01", "H05", "H10", "B018", "B038")), folder)
