"""Trading's constructor: what it refuses, and a market with other money than baht."""

import pytest
from web3.constants import ADDRESS_ZERO

from busbar import errors
from busbar.chain import Call
from busbar.units import Money
from tests.market import DAY, ENERGY, MONEY, ZONE, reverts


@pytest.mark.parametrize("argument", ["grid", "quote"])
def test_deployment__token_without_address__reverts(market, argument):
    with reverts(errors.ZeroAddress):
        market.another_trading(**{argument: ADDRESS_ZERO})


@pytest.mark.parametrize(
    "tick_wei",
    [
        pytest.param(0, id="nothing"),
        pytest.param(10**4, id="a satang of a token of 6 decimals"),
        pytest.param(10**9, id="half a tick is not whole"),
        pytest.param(10**16 + 1, id="a wei too much"),
        pytest.param(2**256 - 1, id="the largest number"),
    ],
)
def test_deployment__tick_without_exact_units__reverts(market, tick_wei):
    with reverts(errors.TickNotRepresentable, tickWei=tick_wei):
        market.another_trading(tick_wei=tick_wei)


def test_deployment__genesis_in_the_future__reverts(market):
    tomorrow = DAY + 86_400
    with reverts(errors.InvalidEpochs, genesis=tomorrow, epochSeconds=900):
        market.another_trading(genesis=tomorrow)


def test_deployment__epochs_of_no_length__reverts(market):
    with reverts(errors.InvalidEpochs, genesis=DAY, epochSeconds=0):
        market.another_trading(epoch_seconds=0)


@pytest.mark.parametrize("epoch_seconds", [1, 13])
def test_deployment__epoch_numbers_outgrow_their_bits_within_ten_years__reverts(market, epoch_seconds):
    # Past 2**27 a bid would stand in the book with nothing locked.
    with reverts(errors.InvalidEpochs, genesis=0, epochSeconds=epoch_seconds):
        market.another_trading(genesis=0, epoch_seconds=epoch_seconds)
    with reverts(errors.InvalidEpochs, genesis=DAY, epochSeconds=1):
        market.another_trading(epoch_seconds=1)


def test_deployment__shortest_epochs_that_last_ten_years__are_taken(market):
    seconds = -(-3650 * 86_400 // 2**27)
    chain = market.another_trading(epoch_seconds=seconds)
    assert chain.view("Trading", "epochSeconds") == seconds


@pytest.mark.parametrize("cutoff_s", [900, 901, 2**256 - 1])
def test_deployment__cancelling_closed_all_the_time__reverts(market, cutoff_s):
    with reverts(errors.InvalidCancelCutoff, cutoffSeconds=cutoff_s, epochSeconds=900):
        market.another_trading(cancel_cutoff_s=cutoff_s)


def test_deployment__smallest_tick__keeps_a_money_unit_of_one_wei(market):
    chain = market.another_trading(tick_wei=2 * 10**9)
    assert chain.view("Trading", "moneyUnitWei") == 1


def test_deployment__parameters__are_readable(market):
    chain = market.another_trading(epoch_seconds=60, cancel_cutoff_s=15)
    names = ("genesis", "epochSeconds", "tickWei", "moneyUnitWei", "cancelCutoffSeconds", "gridToken", "quoteToken")
    at = chain.addresses
    told = chain.read([Call("Trading", name) for name in names])
    assert told[:5] == [DAY, 60, 10**16, 5 * 10**6, 15]
    assert [address.lower() for address in told[5:]] == [at["GridToken"].lower(), at["BahtToken"].lower()]
    assert chain.view("Trading", "authority").lower() == at["Authority"].lower()


def test_deployment__wrapped_ether_and_a_tick_of_its_own__trades_at_the_exact_wei(market, actors):
    tick_wei = 2 * 10**12  # 2e-6 ether, so a money unit is 1,000 wei
    chain = market.another_trading("WrappedEther", tick_wei=tick_wei)
    trading = chain.addresses["Trading"]
    ether = 10**16
    for signer, call in [
        (actors.consumer, Call("WrappedEther", "approve", (trading, ether))),
        (actors.producer, Call("GridToken", "approve", (trading, 10**18))),
    ]:
        chain.send(signer, call)
    market.devnet.node.request("anvil_setBalance", actors.consumer.address, hex(10**18))
    wrap = {"to": chain.addresses["WrappedEther"], "value": ether, "gas": 100_000, "data": "0x"}
    chain.broadcast([(actors.consumer, wrap)])
    market.mint_to_wallet(actors.producer, 1_000)

    # Its fallback takes the request for a permit and gives none: the standing allowance counts.
    nothing = (0, 27, bytes(32), bytes(32))
    chain.send(actors.consumer, Call("Trading", "depositWithPermit", (MONEY, ether, *nothing)))
    chain.send(actors.producer, Call("Trading", "deposit", (ENERGY, 10**18)))
    chain.send(actors.consumer, Call("Trading", "createBuyOrder", (101, 1_000)))
    chain.send(actors.producer, Call("Trading", "createSellOrder", (100, 1_000)))
    market.next_epoch()
    chain.send(actors.regulator, Call("Trading", "matchOrders", (ZONE,)))

    cost = 1_000 * tick_wei * 201 // 2 // 1_000
    assert chain.results(ZONE, [0])[0].price2 == 201
    seller, buyer = chain.accounts([actors.producer.address, actors.consumer.address])
    assert (seller.energy_free_uwh, buyer.energy_free_uwh) == (0, 10**9)
    money = Money(tick_wei)
    assert money.to_wei(seller.money_free_units) == cost
    assert money.to_wei(buyer.money_free_units) == ether - cost
    chain.send(actors.producer, Call("Trading", "withdraw", (MONEY, cost, actors.producer.address)))
    assert chain.view("WrappedEther", "balanceOf", actors.producer.address) == cost
