"""withdraw: takes free balance out, in every state of the market."""

import pytest
from eth_abi import encode
from eth_utils.crypto import keccak
from web3.constants import ADDRESS_ZERO

from busbar import errors
from busbar.chain import Call
from busbar.units import GRID_WEI_PER_WH
from tests.market import BAHT, ENERGY, MONEY, ZONE, reverts

MONEY_UNIT_WEI = 5 * 10**6
FUNDED_UNITS = 1_000 * BAHT // MONEY_UNIT_WEI


def test_withdraw__to_zero__reverts(market, actors):
    with reverts(errors.ZeroAddress):
        market.withdraw(actors.consumer, MONEY, BAHT, ADDRESS_ZERO)


@pytest.mark.parametrize(
    ("asset", "wei", "unit_wei"),
    [(ENERGY, 0, 10**9), (ENERGY, 10**9 - 1, 10**9), (MONEY, 0, MONEY_UNIT_WEI), (MONEY, BAHT + 1, MONEY_UNIT_WEI)],
)
def test_withdraw__nothing_or_no_whole_units__reverts(market, actors, asset, wei, unit_wei):
    with reverts(errors.InexactAmount, asset=asset, amountWei=wei, unitWei=unit_wei):
        market.withdraw(actors.consumer, asset, wei)


@pytest.mark.parametrize("asset", [ENERGY, MONEY])
def test_withdraw__not_registered__reverts(market, actors, asset):
    unit = MONEY_UNIT_WEI if asset == MONEY else 10**9
    with reverts(errors.InsufficientFree, account=actors.outsider.address, asset=asset, freeUnits=0, neededUnits=1):
        market.withdraw(actors.outsider, asset, unit)


def test_withdraw__a_unit_more_than_free__reverts(market, actors):
    with reverts(errors.InsufficientFree, asset=MONEY, freeUnits=FUNDED_UNITS, neededUnits=FUNDED_UNITS + 1):
        market.withdraw(actors.consumer, MONEY, 1_000 * BAHT + MONEY_UNIT_WEI)


def test_withdraw__money_locked_in_a_bid__reverts(market, actors):
    market.buy(actors.consumer, 1_000, 10_000)
    free = FUNDED_UNITS - 10_000 * 10**6 * 2 * 1_000
    with reverts(errors.InsufficientFree, asset=MONEY, freeUnits=free, neededUnits=free + 1):
        market.withdraw(actors.consumer, MONEY, (free + 1) * MONEY_UNIT_WEI)
    market.withdraw(actors.consumer, MONEY, free * MONEY_UNIT_WEI)
    assert market.account(actors.consumer).money_free_units == 0


def test_withdraw__energy_locked_in_an_ask__reverts(market, actors):
    market.give_energy(actors.producer, 1_000)
    market.sell(actors.producer, 1, 900)
    with reverts(errors.InsufficientFree, asset=ENERGY, freeUnits=100 * 10**6, neededUnits=100 * 10**6 + 1):
        market.withdraw(actors.producer, ENERGY, 100 * GRID_WEI_PER_WH + 10**9)
    market.withdraw(actors.producer, ENERGY, 100 * GRID_WEI_PER_WH)
    assert market.account(actors.producer).energy_free_uwh == 0


def test_withdraw__token_calls_back_withdraw__reverts(market, actors):
    chain = market.another_trading("ReentrantToken")
    trading, token = chain.addresses["Trading"], chain.addresses["ReentrantToken"]
    # Another participant's money is there to be stolen.
    chain.send(actors.consumer, Call("ReentrantToken", "mint", (actors.consumer.address, BAHT)))
    chain.send(actors.consumer, Call("ReentrantToken", "approve", (trading, BAHT)))
    chain.send(actors.consumer, Call("Trading", "deposit", (MONEY, BAHT)))
    chain.send(actors.regulator, Call("Trading", "setAccount", (token, 1, ZONE)))
    chain.send(actors.outsider, Call("ReentrantToken", "mint", (token, BAHT)))
    for target, signature, values in [
        (token, "approve(address,uint256)", (trading, BAHT)),
        (trading, "deposit(uint8,uint256)", (MONEY, BAHT)),
    ]:
        chain.send(actors.outsider, Call("ReentrantToken", "run", (target, _encoded(signature, values))))
    again = _encoded("withdraw(uint8,uint256,address)", (MONEY, BAHT, token))
    chain.send(actors.outsider, Call("ReentrantToken", "arm", (trading, again)))
    with reverts(errors.ReentrancyGuardReentrantCall):
        chain.send(actors.outsider, Call("ReentrantToken", "run", (trading, again)))
    assert chain.view("ReentrantToken", "balanceOf", trading) == 2 * BAHT


def test_withdraw__free_money__moves_to_the_unit(market, actors):
    wei = BAHT + MONEY_UNIT_WEI
    _check(market, actors.consumer, MONEY, wei, actors.consumer.address)


def test_withdraw__free_energy__moves_to_the_unit(market, actors):
    market.give_energy(actors.producer, 5)
    _check(market, actors.producer, ENERGY, GRID_WEI_PER_WH + 10**9, actors.producer.address)


def test_withdraw__to_another_address__arrives_there(market, actors):
    _check(market, actors.consumer, MONEY, BAHT, actors.outsider.address)


def test_withdraw__suspended__moves(market, actors):
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.consumer.address, 2)))
    _check(market, actors.consumer, MONEY, 1_000 * BAHT, actors.consumer.address)


def test_withdraw__paused__moves(market, actors):
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (ZONE, True)))
    _check(market, actors.consumer, MONEY, 1_000 * BAHT, actors.consumer.address)


def test_withdraw__role_of_everybody_gone__moves(market, actors):
    market.chain.send(actors.regulator, Call("Authority", "setTargetClosed", (market.chain.addresses["Trading"], True)))
    market.buy(actors.consumer, 300, 1_000)
    market.next_epoch()
    _check(market, actors.consumer, MONEY, 1_000 * BAHT, actors.consumer.address)


def test_withdraw__nobody_has_cleared_the_ended_epoch__clears_it_and_moves_the_proceeds(market, actors):
    market.give_energy(actors.producer, 1_000)
    market.sell(actors.producer, 200, 1_000)
    market.buy(actors.consumer, 300, 1_000)
    ended = market.epoch
    market.next_epoch()
    assert market.chain.clearing_due(ZONE) == ended
    earned = 1_000 * 10**6 * 500 * MONEY_UNIT_WEI
    outcome = _check(market, actors.producer, MONEY, 1_000 * BAHT + earned, actors.producer.address)
    (cleared,) = market.events(outcome, "EpochCleared")
    assert (cleared.args["zone"], cleared.args["epoch"], cleared.args["result"]["volumeWh"]) == (ZONE, ended, 1_000)
    assert market.chain.zone(ZONE).cleared
    assert market.chain.clearing_due(ZONE) is None
    outcome = _check(market, actors.consumer, ENERGY, 1_000 * GRID_WEI_PER_WH, actors.consumer.address)
    assert market.events(outcome, "EpochCleared") == []


def test_withdraw__without_orders_in_the_ended_epoch__leaves_it_to_others(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    market.next_epoch()
    outcome = _check(market, actors.other_consumer, MONEY, BAHT, actors.other_consumer.address)
    assert market.events(outcome, "EpochCleared") == []
    assert not market.chain.zone(ZONE).cleared


def test_withdraw__escrow_of_an_epoch_without_trade__moves_before_anybody_clears(market, actors):
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (ZONE, False)))
    market.buy(actors.consumer, 300, 1_000)
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.consumer.address, 2)))
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (ZONE, True)))
    market.next_epoch()
    _check(market, actors.consumer, MONEY, 1_000 * BAHT, actors.consumer.address)


def _check(market, who, asset, wei, to):
    """Event, free balance, totals and both token balances of a withdrawal."""
    token, unit = ("GridToken", 10**9) if asset == ENERGY else ("BahtToken", MONEY_UNIT_WEI)
    trading = market.chain.addresses["Trading"]
    before, totals = market.account(who), market.chain.view("Trading", "totals")
    wallet, held = market.token_balance(token, to), market.token_balance(token, trading)
    outcome = market.withdraw(who, asset, wei, to)
    (event,) = market.events(outcome, "Withdrawn")
    assert event.args == {"account": who.address, "asset": asset, "to": to, "amountWei": wei}
    after = market.account(who)
    energy, money = (wei // unit, 0) if asset == ENERGY else (0, wei // unit)
    assert after.energy_free_uwh == before.energy_free_uwh - energy
    assert after.money_free_units == before.money_free_units - money
    assert (after.status, after.zone, after.nonce) == (before.status, before.zone, before.nonce)
    assert market.chain.view("Trading", "totals") == (totals[0] - energy, totals[1] - money)
    assert market.token_balance(token, to) == wallet + wei
    assert market.token_balance(token, trading) == held - wei
    return outcome


def _encoded(signature, values):
    types = signature[signature.index("(") + 1 : -1].split(",")
    return keccak(text=signature)[:4] + encode(types, values)
