"""Chainlink's own KeeperRegistry 1.2, unmodified, drives our upkeep: clears, times out, retires."""

import pytest
from eth_abi import encode

from busbar import errors
from busbar.chain import Call, Chain
from busbar.devnet import dev_signer
from tests import chainlink
from tests.contracts.test_oracle_client import TIMEOUT_BLOCKS, request, status, to_block
from tests.contracts.test_submit_readings import world
from tests.market import ENERGY, ZONE, reverts

CLEAR, TIME_OUT, RETIRE = 0, 1, 2
PENDING, TIMED_OUT = 1, 3
NOBODY = "0x" + "00" * 20
LINK = 10**18
GAS_PRICE_WEI, LINK_PRICE_WEI = 10**9, 5 * 10**15
PERFORM_GAS = 2_000_000
CONFIG = (200_000_000, 0, 1, 6_500_000, 90_000, 2, 0, 5_000_000, GAS_PRICE_WEI, LINK_PRICE_WEI, NOBODY, NOBODY)
"""20 % premium, a turn a block, no flat fee; the last two are a transcoder and a registrar, which we need not."""


class Registry:
    """A KeeperRegistry that looks after a market, with two keepers who take turns, as it demands."""

    def __init__(self, market) -> None:
        self.market = market
        # Chainlink's names must not stand beside ours: it has a Registry and an Operator, too.
        self.chain = Chain(market.devnet.url, market.chain.addresses, after_send=market.devnet.mine)
        self.owner, *self.keepers = [dev_signer(i) for i in (50, 51, 52)]
        owner = self.owner
        link, _, _ = self.chain.deploy(owner, "LinkToken", [])
        self.chain.send(owner, Call("LinkToken", "grantMintAndBurnRoles", (owner.address,)))
        self.chain.send(owner, Call("LinkToken", "mint", (owner.address, 1_000 * LINK)))
        link_feed, _, _ = self.chain.deploy(owner, "MockV3Aggregator", [18, LINK_PRICE_WEI])
        gas_feed, _, _ = self.chain.deploy(owner, "MockV3Aggregator", [0, GAS_PRICE_WEI])
        registry, _, _ = self.chain.deploy(owner, "KeeperRegistry1_2", [link, link_feed, gas_feed, CONFIG])
        addresses = [keeper.address for keeper in self.keepers]
        self._send("setKeepers", addresses, addresses)
        target = market.chain.addresses["OracleClient"]
        outcome = self._send("registerUpkeep", target, PERFORM_GAS, owner.address, b"")
        (registered,) = [e for e in self.chain.decode_logs(outcome.logs) if e.name == "UpkeepRegistered"]
        self.upkeep = registered.args["id"]
        funded = (registry, 100 * LINK, encode(["uint256"], [self.upkeep]))
        self.chain.send(owner, Call("LinkToken", "transferAndCall", funded))

    def _send(self, function, *args):
        return self.chain.send(self.owner, Call("KeeperRegistry1_2", function, args))

    def check(self):
        """What a keeper's node simulates before its turn: the performData."""
        call = Call("KeeperRegistry1_2", "checkUpkeep", (self.upkeep, self.keepers[0].address))
        return self.chain.read([call], sender=NOBODY)[0][0]

    def perform(self, data):
        """The next keeper performs; gives whether the upkeep succeeded, and the outcome."""
        keeper = self.keepers[0]
        outcome = self.chain.send(keeper, Call("KeeperRegistry1_2", "performUpkeep", (self.upkeep, data)))
        self.keepers.reverse()
        (performed,) = [e for e in self.chain.decode_logs(outcome.logs) if e.name == "UpkeepPerformed"]
        assert performed.args["from"] == keeper.address
        return performed.args["success"], outcome


@pytest.fixture
def registry(market):
    with chainlink.known_to_the_client():
        yield Registry(market)


def payload(kind, types, *values):
    return encode(["uint8", "bytes"], [kind, encode(types, values)])


def a_traded_epoch(market, actors):
    """An epoch with trade that nobody has cleared."""
    market.give_energy(actors.producer, 2_000)
    market.next_epoch()
    market.sell(actors.producer, 300, 1_000)
    market.buy(actors.consumer, 320, 1_000)
    return market.next_epoch() - 1


def an_old_request(market, actors):
    asked = request(market, actors.producer)
    to_block(market, market.chain.head().number + TIMEOUT_BLOCKS + 2)
    return asked


def something_to_retire(market, actors):
    meter = market.meter("m-1", actors.producer)
    market.give_energy(actors.producer, 400)
    market.pass_time(60)
    market.submit(meter.read(import_wh=300))


def owed(market, participant):
    return market.chain.imports([participant.address])[0].outstanding_wh


# -------------------------------------------------------------------------- performed


def test_keeper_registry__nothing_to_do__says_so(registry):
    with reverts(errors.UnknownRevert) as caught:
        registry.check()
    assert caught.value.data[:4].hex() == "865676e3"  # UpkeepNotNeeded()


def test_keeper_registry__first_epoch_ever__is_cleared(market, actors, registry):
    epoch = a_traded_epoch(market, actors)
    data = registry.check()
    assert data == payload(CLEAR, ["uint8"], 1)
    done, outcome = registry.perform(data)
    assert done
    assert outcome.gas_used < PERFORM_GAS
    assert market.chain.results(ZONE, [epoch])[0].volume_wh == 1_000


def test_keeper_registry__old_request__is_timed_out(market, actors, registry):
    asked = an_old_request(market, actors)
    data = registry.check()
    assert data == payload(TIME_OUT, ["bytes32[]"], [asked])
    assert registry.perform(data)[0]
    assert status(market, asked) == TIMED_OUT


def test_keeper_registry__import_and_grid_in_the_account__are_retired(market, actors, registry):
    something_to_retire(market, actors)
    data = registry.check()
    assert data == payload(RETIRE, ["address[]"], [actors.producer.address])
    assert registry.perform(data)[0]
    assert (owed(market, actors.producer), market.free_wh(actors.producer)) == (0, 100)


def test_keeper_registry__all_three_due__are_done_one_after_the_other_by_both_keepers(market, actors, registry):
    something_to_retire(market, actors)
    asked = an_old_request(market, actors)
    epoch = a_traded_epoch(market, actors)
    kinds = []
    for _ in range(3):
        data = registry.check()
        kinds.append(data[31])
        assert registry.perform(data)[0]
    assert kinds == [CLEAR, TIME_OUT, RETIRE]
    assert market.chain.results(ZONE, [epoch])[0].traded
    assert (status(market, asked), owed(market, actors.producer)) == (TIMED_OUT, 0)
    with reverts(errors.UnknownRevert):
        registry.check()


# ------------------------------------------------------------------- late, or tampered


def changes_nothing(market, registry, data):
    """Performed all the same, and paid for by the upkeep, it fails and leaves the market as it was."""
    before = world(market)
    assert not registry.perform(data)[0]
    assert world(market) == before


def test_keeper_registry__cleared_by_somebody_else_since__changes_nothing(market, actors, registry):
    a_traded_epoch(market, actors)
    data = registry.check()
    market.clear()
    changes_nothing(market, registry, data)


def test_keeper_registry__performed_twice__changes_nothing_the_second_time(market, actors, registry):
    something_to_retire(market, actors)
    data = registry.check()
    assert registry.perform(data)[0]
    changes_nothing(market, registry, data)


def test_keeper_registry__epochs_late__clears_the_epoch_that_had_orders(market, actors, registry):
    epoch = a_traded_epoch(market, actors)
    data = registry.check()
    market.next_epoch(5)
    assert registry.perform(data)[0]
    assert market.chain.results(ZONE, [epoch])[0].traded


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        payload(3, ["uint8"], 1),
        payload(255, ["uint8"], 1),
        payload(CLEAR, ["uint8"], 9),
        payload(CLEAR, ["uint256"], 2**255),
        payload(TIME_OUT, ["bytes32[]"], []),
        payload(TIME_OUT, ["bytes32[]"], [b"\x07" * 32]),
        payload(RETIRE, ["address[]"], []),
        payload(RETIRE, ["address[]"], [NOBODY]),
        encode(["uint8", "bytes"], [RETIRE, b"\xff" * 64]),
    ],
)
def test_keeper_registry__tampered_perform_data__changes_nothing(market, actors, registry, data):
    something_to_retire(market, actors)
    changes_nothing(market, registry, data)


def test_keeper_registry__young_request_slipped_in__times_out_neither(market, actors, registry):
    old = an_old_request(market, actors)
    young = request(market, actors.consumer)
    changes_nothing(market, registry, payload(TIME_OUT, ["bytes32[]"], [old, young]))
    assert (status(market, old), status(market, young)) == (PENDING, PENDING)


def test_keeper_registry__account_that_wants_no_keeper__is_not_retired(market, actors, registry):
    something_to_retire(market, actors)
    market.chain.send(actors.producer, Call("Metering", "setAutoRetire", (False,)))
    changes_nothing(market, registry, payload(RETIRE, ["address[]"], [actors.producer.address]))
    assert owed(market, actors.producer) == 300


def test_keeper_registry__account_that_only_withdraws_since__is_passed_over(market, actors, registry):
    something_to_retire(market, actors)
    data = registry.check()
    market.withdraw(actors.producer, ENERGY, 400 * 10**15)
    changes_nothing(market, registry, data)
