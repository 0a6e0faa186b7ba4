"""What anyone may bring, signed by another: cancels, withdrawals, deposits; and cancelling messages oneself."""

from dataclasses import replace

import pytest

from busbar import errors
from busbar.chain import Call, cancel_order_for_call, cancel_up_to_for_call, withdraw_for_call
from busbar.signing import CancelOrder, CancelUpTo, Withdraw
from busbar.units import Asset
from tests.market import BAHT, MONEY, ask, bid, is_refusal, reverts

ZERO = "0x" + "0" * 40


def send(market, call):
    """By somebody who is nobody here."""
    return market.chain.send(market.actors.outsider, call)


def relayed(market, call_of, participant, message):
    return send(market, call_of(message, market.signature(participant, message)))


def withdrawal(market, participant, **changes):
    values = {
        "account": participant.address,
        "asset": Asset.MONEY,
        "amount_wei": 3 * BAHT,
        "to": participant.address,
        "nonce": 0,
        "deadline": 2**63,
    }
    return Withdraw(**(values | changes))


# ---- cancelUpTo


def test_cancel_up_to__nonce_used_already__reverts(market, actors):
    market.chain.send(actors.consumer, Call("Trading", "cancelUpTo", (5,)))
    with reverts(errors.InvalidNonce, account=actors.consumer.address, nonce=5, lowest=6):
        market.chain.send(actors.consumer, Call("Trading", "cancelUpTo", (5,)))


def test_cancel_up_to__last_nonce_of_all__reverts(market, actors):
    with reverts(errors.InvalidNonce, nonce=2**32 - 1):
        market.chain.send(actors.consumer, Call("Trading", "cancelUpTo", (2**32 - 1,)))


def test_cancel_up_to__bundles_up_to_it__are_skipped_and_the_next_enters(market, actors):
    outcome = market.chain.send(actors.consumer, Call("Trading", "cancelUpTo", (5,)))
    (event,) = market.events(outcome)
    assert (event.name, event.args) == ("NonceUsed", {"account": actors.consumer.address, "nonce": 5})
    outcome = market.relay(*[market.signed_orders(actors.consumer, bid(300, 1_000), nonce=n) for n in (0, 5, 6)])
    assert [nonce for _, nonce, _ in market.skipped(outcome)] == [0, 5]
    assert all(is_refusal(reason, errors.InvalidNonce, lowest=6) for _, _, reason in market.skipped(outcome))
    assert market.account(actors.consumer).nonce == 7


def test_cancel_up_to_for__not_signed_by_the_account__reverts(market, actors):
    message = CancelUpTo(actors.consumer.address, 5)
    with reverts(errors.BadSignature, account=actors.consumer.address):
        relayed(market, cancel_up_to_for_call, actors.producer, message)


def test_cancel_up_to_for__another_nonce_than_signed__reverts(market, actors):
    signature = market.signature(actors.consumer, CancelUpTo(actors.consumer.address, 5))
    with reverts(errors.BadSignature):
        send(market, cancel_up_to_for_call(CancelUpTo(actors.consumer.address, 6), signature))


def test_cancel_up_to_for__signed__counts_once(market, actors):
    message = CancelUpTo(actors.consumer.address, 5)
    relayed(market, cancel_up_to_for_call, actors.consumer, message)
    assert market.account(actors.consumer).nonce == 6
    with reverts(errors.InvalidNonce, nonce=5, lowest=6):
        relayed(market, cancel_up_to_for_call, actors.consumer, message)


def test_cancel_up_to__suspended__counts(market, actors):
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.consumer.address, 2)))
    market.chain.send(actors.consumer, Call("Trading", "cancelUpTo", (5,)))
    assert market.account(actors.consumer).nonce == 6


def test_cancel_up_to__at_the_edge_of_its_field__leaves_the_rest_of_the_word(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    before = market.account(actors.consumer)
    market.chain.send(actors.consumer, Call("Trading", "cancelUpTo", (2**32 - 2,)))
    assert market.account(actors.consumer) == replace(before, nonce=2**32 - 1)


# ---- cancelOrderFor


@pytest.fixture
def placed(market, actors):
    """Two orders of the consumer, and the message that cancels the second."""
    market.enter(actors.consumer, bid(300, 1_000), bid(301, 1_100))
    return CancelOrder(actors.consumer.address, market.epoch, 1, bid(301, 1_100))


def test_cancel_order_for__not_signed_by_the_owner__reverts(market, actors, placed):
    with reverts(errors.BadSignature, account=actors.consumer.address):
        relayed(market, cancel_order_for_call, actors.producer, placed)


@pytest.mark.parametrize("order", [bid(302, 1_100), bid(301, 1_200), ask(301, 1_100)])
def test_cancel_order_for__another_order_stands_there__reverts(market, actors, placed, order):
    with reverts(errors.OtherOrder, order=placed.order.pack(), signedOrder=order.pack()):
        relayed(market, cancel_order_for_call, actors.consumer, replace(placed, order=order))


def test_cancel_order_for__another_order_than_signed__reverts(market, actors, placed):
    signature = market.signature(actors.consumer, placed)
    with reverts(errors.BadSignature):
        send(market, cancel_order_for_call(replace(placed, index=0, order=bid(300, 1_000)), signature))


def test_cancel_order_for__again__reverts(market, actors, placed):
    relayed(market, cancel_order_for_call, actors.consumer, placed)
    with reverts(errors.OrderNotOpen, orderId=market.order_id(actors.consumer, 1)):
        relayed(market, cancel_order_for_call, actors.consumer, placed)


def test_cancel_order_for__epoch_over__reverts(market, actors, placed):
    order = market.order_id(actors.consumer, 1)
    market.next_epoch()
    with reverts(errors.OrderNotOpen, orderId=order):
        relayed(market, cancel_order_for_call, actors.consumer, placed)


def test_cancel_order_for__signed__frees_the_escrow_and_uses_no_nonce(market, actors, placed):
    outcome = relayed(market, cancel_order_for_call, actors.consumer, placed)
    (event,) = market.events(outcome)
    assert (event.name, event.args["account"], event.args["index"]) == ("OrderCancelled", actors.consumer.address, 1)
    account = market.account(actors.consumer)
    assert (account.nonce, account.money_escrow_units) == (0, 1_000 * 10**6 * 2 * 300)
    assert market.chain.book(1) == ({300: 1_000}, {})


# ---- withdrawFor


def test_withdraw_for__not_signed_by_the_owner__reverts(market, actors):
    with reverts(errors.BadSignature, account=actors.consumer.address):
        relayed(market, withdraw_for_call, actors.producer, withdrawal(market, actors.consumer))


@pytest.mark.parametrize(
    "changes",
    [
        {"amount_wei": 4 * BAHT},
        {"asset": Asset.ENERGY},
        {"nonce": 1},
        {"deadline": 2**63 + 1},
        {"to": "0x" + "11" * 20},
    ],
)
def test_withdraw_for__another_one_than_signed__reverts(market, actors, changes):
    message = withdrawal(market, actors.consumer)
    with reverts(errors.BadSignature):
        send(market, withdraw_for_call(replace(message, **changes), market.signature(actors.consumer, message)))


def test_withdraw_for__deadline_passed__reverts(market, actors):
    deadline = market.chain.head().timestamp
    with reverts(errors.DeadlinePassed, deadline=deadline):
        relayed(market, withdraw_for_call, actors.consumer, withdrawal(market, actors.consumer, deadline=deadline))


def test_withdraw_for__again__reverts(market, actors):
    message = withdrawal(market, actors.consumer)
    relayed(market, withdraw_for_call, actors.consumer, message)
    with reverts(errors.InvalidNonce, nonce=0, lowest=1):
        relayed(market, withdraw_for_call, actors.consumer, message)


def test_withdraw_for__after_cancel_up_to__reverts(market, actors):
    market.chain.send(actors.consumer, Call("Trading", "cancelUpTo", (0,)))
    with reverts(errors.InvalidNonce, nonce=0, lowest=1):
        relayed(market, withdraw_for_call, actors.consumer, withdrawal(market, actors.consumer))


def test_withdraw_for__more_than_free__reverts(market, actors):
    with reverts(errors.InsufficientFree, account=actors.consumer.address):
        relayed(
            market, withdraw_for_call, actors.consumer, withdrawal(market, actors.consumer, amount_wei=1_001 * BAHT)
        )
    assert market.account(actors.consumer).nonce == 0


def test_withdraw_for__to_the_zero_address__reverts(market, actors):
    with reverts(errors.ZeroAddress):
        relayed(market, withdraw_for_call, actors.consumer, withdrawal(market, actors.consumer, to=ZERO))


def test_withdraw_for__to_another_wallet__pays_it(market, actors):
    before = market.token_balance("BahtToken", actors.outsider.address)
    message = withdrawal(market, actors.consumer, to=actors.outsider.address, nonce=3)
    outcome = relayed(market, withdraw_for_call, actors.consumer, message)
    assert [e.name for e in market.events(outcome) if e.contract == "Trading"] == ["NonceUsed", "Withdrawn"]
    assert market.token_balance("BahtToken", actors.outsider.address) == before + 3 * BAHT
    assert market.account(actors.consumer).nonce == 4


def test_withdraw_for__suspended_and_paused__pays(market, actors):
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.consumer.address, 2)))
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (1, True)))
    relayed(market, withdraw_for_call, actors.consumer, withdrawal(market, actors.consumer))
    assert market.token_balance("BahtToken", actors.consumer.address) == 3 * BAHT


# ---- depositWithPermitFor


@pytest.fixture
def baht(market, actors):
    """Five baht in the consumer's wallet."""
    wei = 5 * BAHT
    market.chain.send(actors.issuer, Call("BahtToken", "issue", (actors.consumer.address, wei, bytes(32))))
    return wei


def test_deposit_with_permit_for__standing_allowance_and_no_permit__reverts(market, actors, baht):
    market.chain.send(actors.consumer, Call("BahtToken", "approve", (market.chain.addresses["Trading"], baht)))
    with reverts(errors.ERC2612InvalidSigner):
        _, deadline, v, r, s = market.permit(actors.producer, MONEY, baht)
        send(market, Call("Trading", "depositWithPermitFor", (actors.consumer.address, MONEY, baht, deadline, v, r, s)))


def test_deposit_with_permit_for__again__reverts(market, actors, baht):
    call = market.permit_deposit_call(actors.consumer, MONEY, baht)
    send(market, call)
    market.chain.send(actors.consumer, Call("BahtToken", "approve", (market.chain.addresses["Trading"], baht)))
    with reverts(errors.ERC2612InvalidSigner):
        send(market, call)


def test_deposit_with_permit_for__expired__reverts(market, actors, baht):
    permit = market.permit(actors.consumer, MONEY, baht, deadline=1)
    with reverts(errors.ERC2612ExpiredSignature, deadline=1):
        send(market, Call("Trading", "depositWithPermitFor", (actors.consumer.address, MONEY, *permit)))


def test_deposit_with_permit_for__permit_used_by_a_stranger_before__reverts_and_another_permit_deposits(
    market, actors, baht
):
    call = market.permit_deposit_call(actors.consumer, MONEY, baht)
    account, _, *permit = call.args
    stolen = Call("BahtToken", "permit", (account, market.chain.addresses["Trading"], *permit))
    send(market, stolen)
    with reverts(errors.ERC2612InvalidSigner):
        send(market, call)
    send(market, market.permit_deposit_call(actors.consumer, MONEY, baht))
    assert market.token_balance("BahtToken", actors.consumer.address) == 0


def test_deposit_with_permit_for__not_registered__reverts(market, actors):
    with reverts(errors.NotRegistered, account=actors.outsider.address):
        send(market, market.permit_deposit_call(actors.outsider, MONEY, BAHT))


@pytest.mark.parametrize("asset", [0, 1])
def test_deposit_with_permit_for__permitted__is_the_owner_s(market, actors, baht, asset):
    market.mint_to_wallet(actors.consumer, 5_000)
    before = market.account(actors.consumer)
    outcome = send(market, market.permit_deposit_call(actors.consumer, asset, baht))
    (event,) = market.events(outcome, "Deposited")
    assert event.args == {"account": actors.consumer.address, "asset": asset, "amountWei": baht}
    account = market.account(actors.consumer)
    gained = (account.energy_free_uwh - before.energy_free_uwh, account.money_free_units - before.money_free_units)
    assert gained == ((5 * 10**9, 0), (0, baht // (5 * 10**6)))[asset]
