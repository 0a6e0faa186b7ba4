"""deposit, depositWithPermit: bring tokens in, exactly."""

import pytest
from eth_abi import encode
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

from busbar import errors
from busbar.chain import Call
from busbar.units import GRID_WEI_PER_WH
from tests.market import BAHT, ENERGY, MONEY, reverts

MONEY_UNIT_WEI = 5 * 10**6
MAX_MONEY_UNITS = 2**75 - 1
MAX_ENERGY_UWH = 2**60 - 1


def test_deposit__not_registered__reverts(market, actors):
    with reverts(errors.NotRegistered, account=actors.outsider.address):
        deposit(market, actors.outsider, MONEY, BAHT)


def test_deposit__suspended__reverts(market, actors):
    give_baht(market, actors.consumer, BAHT)
    set_status(market, actors.consumer, 2)
    with reverts(errors.AccountSuspended, account=actors.consumer.address):
        deposit(market, actors.consumer, MONEY, BAHT)


@pytest.mark.parametrize(
    ("asset", "wei", "unit_wei"),
    [
        (ENERGY, 0, 10**9),
        (ENERGY, 1, 10**9),
        (ENERGY, 10**18 + 10**9 - 1, 10**9),
        (MONEY, 0, MONEY_UNIT_WEI),
        (MONEY, MONEY_UNIT_WEI - 1, MONEY_UNIT_WEI),
        (MONEY, BAHT + 1, MONEY_UNIT_WEI),
    ],
)
def test_deposit__nothing_or_no_whole_units__reverts(market, actors, asset, wei, unit_wei):
    with reverts(errors.InexactAmount, asset=asset, amountWei=wei, unitWei=unit_wei):
        deposit(market, actors.consumer, asset, wei)


def test_deposit__no_allowance__reverts(market, actors):
    give_baht(market, actors.consumer, BAHT, approve=False)
    trading = market.chain.addresses["Trading"]
    with reverts(errors.ERC20InsufficientAllowance, spender=trading, allowance=0, needed=BAHT):
        deposit(market, actors.consumer, MONEY, BAHT)


def test_deposit__more_than_the_wallet_holds__reverts(market, actors):
    give_baht(market, actors.consumer, BAHT)
    approve(market, actors.consumer, "BahtToken", 2 * BAHT)
    with reverts(errors.ERC20InsufficientBalance, sender=actors.consumer.address, balance=BAHT, needed=2 * BAHT):
        deposit(market, actors.consumer, MONEY, 2 * BAHT)


def test_deposit__money_beyond_the_market_wide_cap__reverts(market, actors):
    _, held = market.chain.view("Trading", "totals")
    room = MAX_MONEY_UNITS - held
    give_baht(market, actors.consumer, (room + 1) * MONEY_UNIT_WEI)
    with reverts(errors.MarketCapReached, asset=MONEY, totalUnits=MAX_MONEY_UNITS + 1, maximumUnits=MAX_MONEY_UNITS):
        deposit(market, actors.consumer, MONEY, (room + 1) * MONEY_UNIT_WEI)
    before = market.account(actors.consumer)
    deposit(market, actors.consumer, MONEY, room * MONEY_UNIT_WEI)
    after = market.account(actors.consumer)
    assert after.money_free_units == before.money_free_units + room
    assert after.energy_free_uwh == before.energy_free_uwh == 0
    with reverts(errors.MarketCapReached, asset=MONEY, totalUnits=MAX_MONEY_UNITS + 1):
        deposit(market, actors.consumer, MONEY, MONEY_UNIT_WEI)


def test_deposit__energy_beyond_the_market_wide_cap__reverts(market, actors):
    give_grid(market, actors.producer, (MAX_ENERGY_UWH + 1) * 10**9)
    with reverts(errors.MarketCapReached, asset=ENERGY, totalUnits=MAX_ENERGY_UWH + 1, maximumUnits=MAX_ENERGY_UWH):
        deposit(market, actors.producer, ENERGY, (MAX_ENERGY_UWH + 1) * 10**9)
    before = market.account(actors.producer)
    deposit(market, actors.producer, ENERGY, MAX_ENERGY_UWH * 10**9)
    after = market.account(actors.producer)
    assert after.energy_free_uwh == MAX_ENERGY_UWH
    assert (after.status, after.zone, after.nonce) == (before.status, before.zone, before.nonce)
    with reverts(errors.MarketCapReached, asset=ENERGY, totalUnits=MAX_ENERGY_UWH + 1):
        deposit(market, actors.producer, ENERGY, 10**9)


def test_deposit__number_so_large_that_sums_would_overflow__reverts(market, actors):
    wei = (2**256 - 1) // 10**9 * 10**9
    with pytest.raises(errors.BusbarError) as caught:
        deposit(market, actors.producer, ENERGY, wei)
    assert isinstance(caught.value, errors.MarketCapReached)


def test_deposit__token_with_a_fee_on_transfer__reverts(market, actors):
    chain = market.another_trading("FeeToken")
    chain.send(actors.consumer, Call("FeeToken", "mint", (actors.consumer.address, BAHT)))
    chain.send(actors.consumer, Call("FeeToken", "approve", (chain.addresses["Trading"], BAHT)))
    received = BAHT - BAHT // 100
    with reverts(errors.UnexpectedAmountReceived, asset=MONEY, expectedWei=BAHT, receivedWei=received):
        chain.send(actors.consumer, Call("Trading", "deposit", (MONEY, BAHT)))
    assert chain.view("Trading", "totals") == (0, 0)


def test_deposit__token_calls_back_deposit__reverts(market, actors):
    chain = reentrant_market(market, actors)
    arm(chain, actors, "deposit(uint8,uint256)", ["uint8", "uint256"], [MONEY, BAHT])
    with reverts(errors.ReentrancyGuardReentrantCall):
        chain.send(actors.consumer, Call("Trading", "deposit", (MONEY, BAHT)))


def test_deposit__token_calls_back_withdraw__reverts(market, actors):
    chain = reentrant_market(market, actors)
    token = chain.addresses["ReentrantToken"]
    arm(chain, actors, "withdraw(uint8,uint256,address)", ["uint8", "uint256", "address"], [MONEY, BAHT, token])
    with reverts(errors.ReentrancyGuardReentrantCall):
        chain.send(actors.consumer, Call("Trading", "deposit", (MONEY, BAHT)))


def test_deposit__token_that_is_a_participant_calls_back_an_order__leaves_sound_books(market, actors):
    chain = reentrant_market(market, actors)
    token = chain.addresses["ReentrantToken"]
    arm(chain, actors, "createBuyOrder(uint16,uint32)", ["uint16", "uint32"], [100, 1_000])
    data = keccak(text="deposit(uint8,uint256)")[:4] + encode(["uint8", "uint256"], [MONEY, 5 * BAHT])
    chain.send(actors.outsider, Call("ReentrantToken", "run", (chain.addresses["Trading"], data)))
    account = chain.accounts([token])[0]
    locked = 1_000 * 10**6 * 2 * 100
    assert (account.money_escrow_units, account.money_free_units) == (locked, 5 * BAHT // MONEY_UNIT_WEI - locked)
    assert chain.view("Trading", "totals") == (0, 5 * BAHT // MONEY_UNIT_WEI)


def test_deposit__token_calls_back_settle__leaves_sound_books(market, actors):
    chain = reentrant_market(market, actors)
    chain.send(actors.consumer, Call("Trading", "deposit", (MONEY, BAHT)))
    chain.send(actors.consumer, Call("Trading", "createBuyOrder", (10, 1_000)))
    market.next_epoch()
    arm(chain, actors, "settle(address[])", ["address[]"], [[actors.consumer.address]])
    chain.send(actors.consumer, Call("Trading", "deposit", (MONEY, BAHT)))
    assert chain.accounts([actors.consumer.address])[0].money_free_units == 2 * BAHT // MONEY_UNIT_WEI


def test_deposit__money__is_free_to_the_unit(market, actors):
    wei = 123 * BAHT + MONEY_UNIT_WEI
    give_baht(market, actors.consumer, wei)
    check_deposit(market, actors.consumer, MONEY, wei, lambda: deposit(market, actors.consumer, MONEY, wei))


def test_deposit__energy__is_free_to_the_unit(market, actors):
    wei = 7 * GRID_WEI_PER_WH + 10**9
    give_grid(market, actors.producer, wei)
    check_deposit(market, actors.producer, ENERGY, wei, lambda: deposit(market, actors.producer, ENERGY, wei))


def test_deposit__paused_zone__is_taken(market, actors):
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (1, True)))
    give_baht(market, actors.consumer, BAHT)
    check_deposit(market, actors.consumer, MONEY, BAHT, lambda: deposit(market, actors.consumer, MONEY, BAHT))


def test_deposit__orders_waiting_to_be_settled__leaves_them_to_settle(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    market.next_epoch()
    give_baht(market, actors.consumer, BAHT)
    check_deposit(market, actors.consumer, MONEY, BAHT, lambda: deposit(market, actors.consumer, MONEY, BAHT))
    market.settle(actors.consumer)
    assert market.account(actors.consumer).money_free_units == 1_001 * BAHT // MONEY_UNIT_WEI


def test_deposit__tokens_sent_without_it__are_a_donation_and_nobodys(market, actors):
    totals = market.chain.view("Trading", "totals")
    give_baht(market, actors.consumer, BAHT)
    trading = market.chain.addresses["Trading"]
    market.chain.send(actors.consumer, Call("BahtToken", "transfer", (trading, BAHT)))
    assert market.chain.view("Trading", "totals") == totals
    assert market.account(actors.consumer).money_free_units == 1_000 * BAHT // MONEY_UNIT_WEI


# ------------------------------------------------------------------ with permit


def test_deposit_with_permit__expired_and_no_allowance__reverts(market, actors):
    give_baht(market, actors.consumer, BAHT, approve=False)
    permit = sign_permit(market, actors.consumer, "BahtToken", BAHT, deadline=market.chain.head().timestamp - 1)
    with reverts(errors.ERC20InsufficientAllowance, allowance=0, needed=BAHT):
        deposit_with_permit(market, actors.consumer, MONEY, BAHT, permit)


def test_deposit_with_permit__for_another_amount__reverts(market, actors):
    give_baht(market, actors.consumer, BAHT, approve=False)
    permit = sign_permit(market, actors.consumer, "BahtToken", BAHT // 2)
    with reverts(errors.ERC20InsufficientAllowance, allowance=0, needed=BAHT):
        deposit_with_permit(market, actors.consumer, MONEY, BAHT, permit)


def test_deposit_with_permit__of_somebody_else__reverts(market, actors):
    give_baht(market, actors.consumer, BAHT, approve=False)
    permit = sign_permit(market, actors.consumer, "BahtToken", BAHT)
    with reverts(errors.ERC20InsufficientAllowance, allowance=0, needed=BAHT):
        deposit_with_permit(market, actors.other_consumer, MONEY, BAHT, permit)


@pytest.mark.parametrize("status", ["not registered", "suspended"])
def test_deposit_with_permit__not_active__reverts(market, actors, status):
    who = actors.outsider if status == "not registered" else actors.consumer
    error = errors.NotRegistered if status == "not registered" else errors.AccountSuspended
    if status == "suspended":
        set_status(market, who, 2)
    give_baht(market, who, BAHT, approve=False)
    permit = sign_permit(market, who, "BahtToken", BAHT)
    with reverts(error, account=who.address):
        deposit_with_permit(market, who, MONEY, BAHT, permit)


def test_deposit_with_permit__inexact__reverts(market, actors):
    permit = sign_permit(market, actors.consumer, "BahtToken", BAHT + 1)
    with reverts(errors.InexactAmount, asset=MONEY, amountWei=BAHT + 1, unitWei=MONEY_UNIT_WEI):
        deposit_with_permit(market, actors.consumer, MONEY, BAHT + 1, permit)


def test_deposit_with_permit__token_calls_back__reverts(market, actors):
    chain = reentrant_market(market, actors)
    arm(chain, actors, "deposit(uint8,uint256)", ["uint8", "uint256"], [MONEY, BAHT])
    nothing = (0, 27, bytes(32), bytes(32))
    with reverts(errors.ReentrancyGuardReentrantCall):
        chain.send(actors.consumer, Call("Trading", "depositWithPermit", (MONEY, BAHT, *nothing)))


def test_deposit_with_permit__expired_but_allowance_stands__is_taken(market, actors):
    give_baht(market, actors.consumer, BAHT)
    permit = sign_permit(market, actors.consumer, "BahtToken", BAHT, deadline=market.chain.head().timestamp - 1)
    check_deposit(
        market, actors.consumer, MONEY, BAHT, lambda: deposit_with_permit(market, actors.consumer, MONEY, BAHT, permit)
    )


def test_deposit_with_permit__used_by_somebody_else_already__is_taken(market, actors):
    give_baht(market, actors.consumer, BAHT, approve=False)
    permit = sign_permit(market, actors.consumer, "BahtToken", BAHT)
    trading = market.chain.addresses["Trading"]
    market.chain.send(actors.outsider, Call("BahtToken", "permit", (actors.consumer.address, trading, BAHT, *permit)))
    check_deposit(
        market, actors.consumer, MONEY, BAHT, lambda: deposit_with_permit(market, actors.consumer, MONEY, BAHT, permit)
    )


def test_deposit_with_permit__money__is_taken(market, actors):
    give_baht(market, actors.consumer, BAHT, approve=False)
    permit = sign_permit(market, actors.consumer, "BahtToken", BAHT)
    check_deposit(
        market, actors.consumer, MONEY, BAHT, lambda: deposit_with_permit(market, actors.consumer, MONEY, BAHT, permit)
    )


def test_deposit_with_permit__energy__is_taken(market, actors):
    wei = 5 * GRID_WEI_PER_WH
    market.mint_to_wallet(actors.producer, 5)
    permit = sign_permit(market, actors.producer, "GridToken", wei)
    check_deposit(
        market, actors.producer, ENERGY, wei, lambda: deposit_with_permit(market, actors.producer, ENERGY, wei, permit)
    )


# --------------------------------------------------------------------- helpers


def deposit(market, who, asset, wei):
    return market.chain.send(who, Call("Trading", "deposit", (asset, wei)))


def deposit_with_permit(market, who, asset, wei, permit):
    return market.chain.send(who, Call("Trading", "depositWithPermit", (asset, wei, *permit)))


def approve(market, who, token, wei):
    market.chain.send(who, Call(token, "approve", (market.chain.addresses["Trading"], wei)))


def give_baht(market, who, wei, *, approve=True):
    market.chain.send(market.actors.issuer, Call("BahtToken", "issue", (who.address, wei, bytes(32))))
    if approve:
        market.chain.send(who, Call("BahtToken", "approve", (market.chain.addresses["Trading"], wei)))


def give_grid(market, who, wei):
    market.mint_to_wallet(who, 1)  # gives the minter its role
    if wei > GRID_WEI_PER_WH:
        more = wei - GRID_WEI_PER_WH
        market.chain.send(market.actors.minter, Call("GridToken", "mint", (who.address, more, bytes(32))))
    market.chain.send(who, Call("GridToken", "approve", (market.chain.addresses["Trading"], wei)))


def set_status(market, who, status):
    market.chain.send(market.actors.distributor, Call("Registry", "setStatus", (who.address, status)))


def check_deposit(market, who, asset, wei, act):
    """Event, free balance, totals and both token balances of a deposit that is taken."""
    token, unit = ("GridToken", 10**9) if asset == ENERGY else ("BahtToken", MONEY_UNIT_WEI)
    trading = market.chain.addresses["Trading"]
    account, totals = market.account(who), market.chain.view("Trading", "totals")
    wallet, held = market.token_balance(token, who.address), market.token_balance(token, trading)
    outcome = act()
    (event,) = market.events(outcome, "Deposited")
    assert event.args == {"account": who.address, "asset": asset, "amountWei": wei}
    after = market.account(who)
    energy, money = (wei // unit, 0) if asset == ENERGY else (0, wei // unit)
    assert after.energy_free_uwh == account.energy_free_uwh + energy
    assert after.money_free_units == account.money_free_units + money
    assert (after.energy_escrow_uwh, after.money_escrow_units) == (0, 0)
    assert market.chain.view("Trading", "totals") == (totals[0] + energy, totals[1] + money)
    assert market.token_balance(token, who.address) == wallet - wei
    assert market.token_balance(token, trading) == held + wei


def sign_permit(market, who, token, wei, deadline=2**255):
    """(deadline, v, r, s) of an ERC-2612 permit for Trading."""
    chain = market.chain
    data = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Permit": [
                {"name": "owner", "type": "address"},
                {"name": "spender", "type": "address"},
                {"name": "value", "type": "uint256"},
                {"name": "nonce", "type": "uint256"},
                {"name": "deadline", "type": "uint256"},
            ],
        },
        "primaryType": "Permit",
        "domain": {
            "name": chain.view(token, "name"),
            "version": "1",
            "chainId": chain.chain_id,
            "verifyingContract": chain.addresses[token],
        },
        "message": {
            "owner": who.address,
            "spender": chain.addresses["Trading"],
            "value": wei,
            "nonce": chain.view(token, "nonces", who.address),
            "deadline": deadline,
        },
    }
    signed = who.account.sign_message(encode_typed_data(full_message=data))
    return deadline, signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")


def reentrant_market(market, actors):
    """A market whose money calls back; the token itself is a participant, and the consumer holds some of it."""
    chain = market.another_trading("ReentrantToken")
    token, trading = chain.addresses["ReentrantToken"], chain.addresses["Trading"]
    chain.send(actors.regulator, Call("Trading", "setAccount", (token, 1, 1)))
    for who in (actors.consumer.address, token):
        chain.send(actors.outsider, Call("ReentrantToken", "mint", (who, 10 * BAHT)))
    chain.send(actors.consumer, Call("ReentrantToken", "approve", (trading, 10 * BAHT)))
    data = keccak(text="approve(address,uint256)")[:4] + encode(["address", "uint256"], [trading, 10 * BAHT])
    chain.send(actors.outsider, Call("ReentrantToken", "run", (token, data)))
    return chain


def arm(chain, actors, signature, types, values):
    data = keccak(text=signature)[:4] + encode(types, values)
    chain.send(actors.outsider, Call("ReentrantToken", "arm", (chain.addresses["Trading"], data)))
