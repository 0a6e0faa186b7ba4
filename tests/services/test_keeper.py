"""The keeper on the real chain: what is due it does, once, whenever it is stopped and however many there are."""

from dataclasses import replace

import pytest

from busbar import errors, keeper
from busbar.chain import RESTING, Account, Call, Chain, Imports, NotMinedError
from busbar.devnet import dev_signer
from busbar.keeper import Keeper, batches, retirable, turn
from tests.market import ZONE, bid

MARKET_MAKER = 4
OTHER_KEEPER = dev_signer(8)


@pytest.fixture
def bot(market):
    """A keeper whose every transaction is mined at once."""
    return Keeper(market.chain, market.actors.keeper, [ZONE])


@pytest.fixture(autouse=True)
def pool_left_empty(market):
    """Snapshots do not hold what waits for a block: a test that leaves something there would haunt the next."""
    yield
    market.chain.node.request("anvil_dropAllTransactions")


def impatient(market):
    """The market through a process that makes no blocks and is gone before anybody does."""
    return Chain(market.devnet.url, market.chain.addresses, timeout_s=0)


class Interfering:
    """A signer during whose signing, after the simulation and before the broadcast, something else happens."""

    def __init__(self, signer, happens):
        self.signer = signer
        self.happens = happens

    @property
    def address(self):
        return self.signer.address

    def sign(self, transaction):
        self.happens()
        return self.signer.sign(transaction)


def trade(market):
    """A bid and an ask that meet, in the open epoch; gives the epoch."""
    market.give_energy(market.actors.producer, 1_000)
    market.sell(market.actors.producer, 300, 1_000)
    market.buy(market.actors.consumer, 400, 1_000)
    return market.epoch


def told(market, contract, name):
    """All events of a kind so far."""
    return market.chain.events([(contract, name)], 0, market.chain.head().number)


def owe_and_hold(market, participant, import_wh, energy_wh):
    """A participant with that much import outstanding and that much GRID in its account."""
    meter = market.meter(f"M-{participant.address[2:8]}", participant)
    market.submit(meter.read(import_wh=import_wh, export_wh=energy_wh))
    return meter


def calls(outcomes):
    return [outcome.call.label for outcome in outcomes]


# ------------------------------------------------------------------------------ clearing


def test_step__nothing_due__sends_nothing(market, bot):
    before = market.chain.head()
    assert bot.step() == []
    assert market.chain.head() == before


def test_step__epoch_still_open__leaves_it_open(market, bot):
    trade(market)
    assert bot.step() == []


def test_step__ended_epoch__clears_it_and_the_next_step_does_nothing(market, bot):
    epoch = trade(market)
    market.next_epoch()
    (outcome,) = bot.step()
    assert outcome.ok
    (event,) = told(market, "Trading", "EpochCleared")
    assert (event.args["epoch"], event.args["result"]["volumeWh"]) == (epoch, 1_000)
    assert bot.step() == []
    assert market.chain.zone(ZONE).cleared


def test_step__away_for_many_epochs__clears_the_one_that_has_orders(market, bot):
    epoch = trade(market)
    market.next_epoch(50)
    assert calls(bot.step()) == ["clear"]
    assert [event.args["epoch"] for event in told(market, "Trading", "EpochCleared")] == [epoch]
    assert bot.step() == []


def test_step__zones_of_its_own__leaves_others_to_others(market):
    trade(market)
    market.next_epoch()
    assert Keeper(market.chain, market.actors.keeper, [2]).step() == []
    assert calls(Keeper(market.chain, market.actors.keeper, [2, ZONE]).step()) == ["clear"]


def test_step__somebody_without_the_role__is_refused_and_harms_nothing(market):
    trade(market)
    market.next_epoch()
    (outcome,) = Keeper(market.chain, market.actors.outsider, [ZONE]).step()
    assert isinstance(outcome.error, errors.AccessManagedUnauthorized)
    assert calls(Keeper(market.chain, market.actors.keeper, [ZONE]).step()) == ["clear"]


# ------------------------------------------------------------------------------ retiring


def test_step__grid_and_import__retires_as_much_as_both_allow_and_only_once(market, bot):
    owe_and_hold(market, market.actors.producer, 300, 1_000)
    owe_and_hold(market, market.actors.consumer, 900, 250)
    (outcome,) = bot.step()
    assert outcome.call.label == "retire"
    retired = {e.args["account"]: e.args["currentWh"] for e in market.events(outcome, "Retired")}
    assert retired == {market.actors.producer.address: 300, market.actors.consumer.address: 250}
    assert bot.step() == []


def test_step__bought_a_moment_ago__is_retired_in_the_same_step(market, bot):
    owe_and_hold(market, market.actors.consumer, 1_000, 0)
    trade(market)
    market.next_epoch()
    assert calls(bot.step()) == ["clear", "retire"]
    assert market.chain.imports([market.actors.consumer.address])[0].outstanding_wh == 0
    assert bot.step() == []


def test_step__auto_retire_off__leaves_the_account_alone(market, bot):
    owe_and_hold(market, market.actors.producer, 300, 1_000)
    market.chain.send(market.actors.producer, Call("Metering", "setAutoRetire", (False,)))
    assert bot.step() == []
    market.chain.send(market.actors.producer, Call("Metering", "setAutoRetire", (True,)))
    assert calls(bot.step()) == ["retire"]


def test_step__more_accounts_than_a_batch__takes_several_transactions(market, bot, monkeypatch):
    monkeypatch.setattr(keeper, "RETIRE_BATCH", 2)
    for participant in market.actors.participants[:3]:
        owe_and_hold(market, participant, 200, 200)
    assert calls(bot.step()) == ["retire", "retire"]
    assert bot.step() == []


@pytest.mark.parametrize(
    ("free_uwh", "outstanding_wh", "auto", "due"),
    [
        (1_000_000, 1, True, True),
        (999_999, 1, True, False),
        (10**12, 0, True, False),
        (10**12, 500, False, False),
    ],
    ids=["a Wh of each", "less than a Wh of GRID", "nothing owed", "wants to do it itself"],
)
def test_retirable__what_stands_on_chain__decides(free_uwh, outstanding_wh, auto, due):
    account = Account("0x1", 1, 1, 0, 0, 0, free_uwh, 0, 0, 0)
    imports = Imports("0x1", 0, 0, outstanding_wh, 7, auto)
    assert retirable([account], [imports]) == (("0x1",) if due else ())


# ---------------------------------------------------------------------- expired requests


def test_step__requests_older_than_100_blocks__are_given_up_once(market, bot):
    ask = Call("OracleClient", "requestEnergyData", (1, b"ft".ljust(32, b"\0")))
    for participant in (market.actors.producer, market.actors.consumer):
        market.chain.send(participant, ask)
    first = told(market, "OracleClient", "EnergyDataRequested")[0].block
    market.chain.node.request("anvil_mine", hex(first + 100 - market.chain.head().number))
    assert bot.step() == []
    market.devnet.mine()
    assert calls(bot.step()) == ["time out"]
    # The second request was a block younger.
    assert calls(bot.step()) == ["time out"]
    assert bot.step() == []
    assert len(told(market, "OracleClient", "RequestTimedOut")) == 2


# ------------------------------------------------------------------------- idle accounts


def test_step__idle_account_and_quiet_block__is_settled_once_if_asked(market, bot):
    trade(market)
    market.next_epoch()
    market.clear()
    market.next_epoch(2)
    assert bot.step() == []
    tidy = Keeper(market.chain, market.actors.keeper, [ZONE], settle_idle=True)
    before = market.account(market.actors.consumer)
    assert calls(tidy.step()) == ["settle"]
    assert market.chain.orders(market.actors.consumer.address) == []
    assert market.account(market.actors.consumer) == before
    assert tidy.step() == []
    assert Keeper(market.chain, market.actors.keeper, [ZONE], settle_idle=True).step() == []


def test_step__account_that_acted_an_epoch_ago__is_left_to_settle_by_itself(market):
    trade(market)
    market.next_epoch()
    tidy = Keeper(market.chain, market.actors.keeper, [ZONE], settle_idle=True)
    assert calls(tidy.step()) == ["clear"]
    assert tidy.step() == []


# ------------------------------------------------------------------------------- standing orders


def standing(order, life=4):
    return replace(order, life=life)


def test_step__standing_orders_of_an_ended_epoch__are_rolled_once(market, bot):
    market.enter(market.actors.consumer, standing(bid(300, 1_000)), bid(200, 500))
    market.enter(market.actors.other_consumer, standing(bid(301, 1_000)))
    assert bot.step() == []
    epoch = market.next_epoch()
    assert calls(bot.step()) == ["clear", "roll"]
    assert market.chain.book(ZONE) == ({300: 1_000, 301: 1_000}, {})
    assert {event.args["epoch"] for event in told(market, "Trading", "OrdersRolled")} == {epoch}
    assert bot.step() == []


def test_step__away_while_standing_orders_waited__rolls_into_the_open_epoch_only(market, bot):
    market.enter(market.actors.consumer, standing(bid(300, 1_000), life=9))
    market.next_epoch(5)
    assert calls(bot.step()) == ["clear", "roll"]
    (entry,) = market.chain.orders(market.actors.consumer.address)
    assert entry.order == standing(bid(300, 1_000), life=4)


def test_step__standing_orders_switched_off__leaves_them(market):
    market.enter(market.actors.consumer, standing(bid(300, 1_000)))
    market.next_epoch()
    assert calls(Keeper(market.chain, market.actors.keeper, [ZONE], roll=False).step()) == ["clear"]
    assert market.account(market.actors.consumer).standing == RESTING


@pytest.mark.parametrize("why", ["suspended", "paused", "another zone", "expired"])
def test_step__standing_orders_that_may_not_enter__are_not_tried(market, why):
    market.enter(market.actors.consumer, standing(bid(300, 1_000), life=1))
    if why == "suspended":
        market.chain.send(market.actors.distributor, Call("Registry", "setStatus", (market.actors.consumer.address, 2)))
    if why == "paused":
        market.chain.send(market.actors.regulator, Call("Trading", "setPaused", (ZONE, True)))
    market.next_epoch(2 if why == "expired" else 1)
    zones = [2] if why == "another zone" else [ZONE]
    assert "roll" not in calls(Keeper(market.chain, market.actors.keeper, zones).step())


def test_step__standing_orders_beyond_the_cap__are_tried_once_an_epoch(market, bot):
    market.enter(market.actors.consumer, standing(bid(300, 1_000)), standing(bid(301, 1_000)))
    market.next_epoch()
    market.chain.send(market.actors.regulator, Call("Trading", "setOrderCap", (ZONE, 1)))
    market.enter(market.actors.third_consumer, bid(100, 100), bid(100, 100))
    assert calls(bot.step()) == ["roll"]
    assert len(told(market, "Trading", "RollSkipped")) == 1
    assert bot.step() == []
    market.chain.send(market.actors.regulator, Call("Trading", "setOrderCap", (ZONE, 0)))
    market.next_epoch()
    assert calls(bot.step()) == ["clear", "roll"]


def test_step__two_keepers_one_after_the_other__roll_once(market):
    market.enter(market.actors.consumer, standing(bid(300, 1_000)))
    market.next_epoch()
    for outcomes in (["clear", "roll"], []):
        assert calls(Keeper(market.chain, market.actors.keeper, [ZONE]).step()) == outcomes
    assert market.chain.book(ZONE) == ({300: 1_000}, {})


def test_batches__many_accounts__fill_a_transaction_and_no_more():
    roll = [(str(i), orders) for i, orders in enumerate((100, 100, 100, 100, 100, 1, 99, 100))]
    assert batches(roll) == [["0", "1"], ["2", "3"], ["4", "5", "6"], ["7"]]
    assert batches([]) == []


# ------------------------------------------------------------------------------- turns


def test_turn__every_epoch__puts_somebody_else_first():
    keepers = ["0xC", "0xA", "0xB"]
    places = {epoch: [turn(keeper, keepers, epoch) for keeper in sorted(keepers)] for epoch in range(3)}
    assert places == {0: [0, 1, 2], 1: [2, 0, 1], 2: [1, 2, 0]}
    assert turn("0xD", keepers, 1) == 0
    assert turn("0xD", [], 1) == 0


@pytest.fixture
def three(market):
    """Three keepers that know of each other, in turn for the epoch after the open one."""
    others = [OTHER_KEEPER, dev_signer(9)]
    for who in others:
        market.chain.send(market.actors.regulator, Call("Authority", "grantRole", (MARKET_MAKER, who.address, 0)))
    everybody = [market.actors.keeper, *others]
    addresses = [who.address for who in everybody]
    in_turn = sorted(everybody, key=lambda who: turn(who.address, addresses, market.epoch + 1))
    return [Keeper(impatient(market), who, [ZONE], keepers=addresses) for who in in_turn]


def sent(outcomes):
    return [outcome.call.label for outcome in outcomes if outcome.tx_hash]


def test_step__three_keepers_in_one_block__the_first_alone_sends(market, three):
    trade(market)
    market.next_epoch()
    assert [sent(one.step()) for one in three] == [["clear"], [], []]
    market.devnet.mine()
    assert [sent(one.step()) for one in three] == [[], [], []]


def test_step__the_first_in_turn_is_away__the_second_sends_in_the_same_block(market, three):
    trade(market)
    market.next_epoch()
    assert [sent(one.step()) for one in three[1:]] == [["clear"], []]


def test_step__the_first_two_are_away__the_third_waits_a_block_and_clears(market, three):
    epoch = trade(market)
    market.next_epoch()
    assert three[2].step() == []
    market.devnet.mine()
    assert sent(three[2].step()) == ["clear"]
    market.devnet.mine()
    assert [event.args["epoch"] for event in told(market, "Trading", "EpochCleared")] == [epoch]


def test_step__three_keepers_that_cannot_see_the_pool__waste_one_transaction_at_most(market, three):
    trade(market)
    market.next_epoch()
    for one in three:
        one.chain.refusal_in_pool = lambda *_: None
    assert [sent(one.step()) for one in three] == [["clear"], ["clear"], []]


def test_step__retiring__is_left_to_the_first_in_turn(market, three):
    owe_and_hold(market, market.actors.producer, 300, 1_000)
    market.next_epoch()
    assert [sent(one.step()) for one in three] == [["retire"], [], []]


# --------------------------------------------------------------- stopped, started, doubled


def test_step__stopped_before_the_receipt_and_started_again__clears_once(market):
    epoch = trade(market)
    market.next_epoch()
    (lost,) = Keeper(impatient(market), market.actors.keeper, [ZONE]).step()
    assert isinstance(lost.error, NotMinedError)
    # The first process is gone. The second knows nothing of it and tries the same.
    (again,) = Keeper(impatient(market), market.actors.keeper, [ZONE]).step()
    assert not again.ok
    market.devnet.mine()
    assert [event.args["epoch"] for event in told(market, "Trading", "EpochCleared")] == [epoch]
    assert Keeper(market.chain, market.actors.keeper, [ZONE]).step() == []


def test_step__stopped_while_retiring_and_started_again__burns_once(market):
    owe_and_hold(market, market.actors.producer, 300, 1_000)
    for _ in range(3):
        Keeper(impatient(market), market.actors.keeper, [ZONE]).step()
    market.devnet.mine()
    assert len(told(market, "Metering", "Retired")) == 1
    assert market.free_wh(market.actors.producer) == 700
    assert Keeper(market.chain, market.actors.keeper, [ZONE]).step() == []


def test_step__node_loses_what_was_sent__sends_it_again(market):
    trade(market)
    market.next_epoch()
    Keeper(impatient(market), market.actors.keeper, [ZONE]).step()
    market.chain.node.request("anvil_dropAllTransactions")
    (outcome,) = Keeper(market.chain, market.actors.keeper, [ZONE]).step()
    assert outcome.ok


def test_step__two_keepers_in_one_block__clear_once(market):
    market.chain.send(market.actors.regulator, Call("Authority", "grantRole", (MARKET_MAKER, OTHER_KEEPER.address, 0)))
    trade(market)
    market.next_epoch()
    sent = []
    # Both have looked and simulated before either sends.
    first = Interfering(market.actors.keeper, lambda: sent.extend(Keeper(impatient(market), OTHER_KEEPER).step()))
    sent += Keeper(impatient(market), first).step()
    market.devnet.mine()
    receipts = [market.chain.node.request("eth_getTransactionReceipt", outcome.tx_hash) for outcome in sent]
    assert sorted(int(receipt["status"], 16) for receipt in receipts) == [0, 1]
    assert len(told(market, "Trading", "EpochCleared")) == 1
    for who in (market.actors.keeper, OTHER_KEEPER):
        assert Keeper(market.chain, who, [ZONE]).step() == []


def test_step__another_keeper_comes_first__finds_nothing_to_clear_and_goes_on(market, bot):
    """The other one clears between this one's look and its sending; there is GRID to retire all the same."""
    market.chain.send(market.actors.regulator, Call("Authority", "grantRole", (MARKET_MAKER, OTHER_KEEPER.address, 0)))
    owe_and_hold(market, market.actors.third_consumer, 300, 300)
    trade(market)
    market.next_epoch()
    ended = bot.ended(market.chain.head())
    market.clear(by=OTHER_KEEPER)
    bot.ended = lambda _: ended
    cleared, retired = bot.step()
    assert isinstance(cleared.error, errors.NothingToClear)
    assert retired.ok
    assert len(told(market, "Trading", "EpochCleared")) == 1


def test_step__participants_did_the_clearing_themselves__leaves_nothing_to_do(market, bot):
    trade(market)
    market.next_epoch()
    market.settle(market.actors.producer)
    assert bot.step() == []
