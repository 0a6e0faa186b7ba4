"""Errands: whose goes when, what an outbox keeps of them, and whose permit it is."""

import json

import pytest

from busbar import permits
from busbar.devnet import dev_signer
from busbar.errands import (
    MOST,
    Errand,
    Kind,
    SignedMessage,
    cancelling,
    message_of,
    parse,
    turn,
    withdrawing,
)
from busbar.orders import Order, Side
from busbar.permits import Permit, TokenDomain
from busbar.signing import CancelOrder, CancelUpTo, InvalidMessage, Withdraw
from busbar.units import Asset

TRADING = "0x" + "77" * 20
DOMAIN = TokenDomain("Busbar Baht", "1", 31337, "0x" + "88" * 20)


def account(who):
    return f"0x{who:040x}"


def withdraw(who, nonce=0):
    return Withdraw(account(who), Asset.MONEY, 10**18, account(who), nonce, 2**40)


def permit(who, nonce=0):
    return Permit(account(who), Asset.MONEY, TRADING, 10**18, nonce, 2**40)


def cancel(who, index=0):
    return CancelOrder(account(who), 5, index, Order(Side.BID, 300, 1_000))


def errand(message):
    signed = SignedMessage(message, bytes(64))
    return Errand(signed.key, signed, 3)


def kinds(errands):
    return [(int(errand.account, 16), errand.kind.value) for errand in errands]


def test_turn__many_of_one__one_of_each_account_goes():
    crowd = [errand(cancel(1, index)) for index in range(5)] + [errand(cancel(2))]
    assert kinds(turn(crowd, {}, {})) == [(1, "cancel-order"), (2, "cancel-order")]


def test_turn__withdrawal_came_first__the_cancel_of_its_account_goes_before_it():
    crowd = [errand(withdraw(1)), errand(permit(1)), errand(cancel(1))]
    for expected in ("cancel-order", "deposit", "withdraw"):
        (going,) = turn(crowd, {}, {})
        assert going.kind.value == expected
        crowd.remove(going)


def test_turn__higher_nonce_came_first__the_lower_one_goes_first():
    crowd = [errand(withdraw(1, 7)), errand(withdraw(1, 5))]
    assert [going.nonce for going in turn(crowd, {}, {})] == [5]


def test_turn__orders_of_a_lower_nonce_wait__the_withdrawal_waits_for_them():
    crowd = [errand(withdraw(1, 7)), errand(withdraw(2, 7))]
    assert kinds(turn(crowd, {account(1): 6, account(2): 8}, {})) == [(2, "withdraw")]


def test_turn__more_accounts_than_a_pass_takes__those_who_came_first_go():
    crowd = [errand(withdraw(who)) for who in range(1, MOST + 3)]
    assert turn(crowd, {}, {}) == crowd[:MOST]


def test_turn__tried_in_vain__goes_behind_what_was_not():
    crowd = [errand(withdraw(who)) for who in range(1, MOST + 3)]
    failures = {going.key: 1 + number % 2 for number, going in enumerate(crowd[:MOST])}
    assert turn(crowd, {}, failures) == [*crowd[MOST:], *crowd[:MOST:2], *crowd[1:MOST:2]][:MOST]


def test_withdrawing__several_of_an_account__is_the_lowest_nonce():
    crowd = [errand(withdraw(1, 7)), errand(withdraw(1, 5)), errand(cancel(2))]
    assert withdrawing(crowd) == {account(1): 5}


def test_cancelling__of_messages__is_up_to_which_nonce():
    assert cancelling([errand(CancelUpTo(account(1), 9)), errand(withdraw(2))]) == {account(1): 9}


@pytest.mark.parametrize("message", [cancel(1), CancelUpTo(account(1), 9), withdraw(1), permit(1)])
def test_parse__what_an_outbox_keeps__is_the_errand(message):
    written = errand(message)
    assert parse(written.key, json.loads(written.signed.body(3))) == written


def test_key__other_token__is_another_errand():
    of_energy = Permit(account(1), Asset.ENERGY, TRADING, 10**18, 0, 2**40)
    assert errand(of_energy).key != errand(permit(1)).key


@pytest.mark.parametrize("change", [{"asset": "hope"}, {"amountWei": None}, {"to": "0x1"}, {"nonce": 2**32}])
def test_message_of__field_that_is_none_of_ours__is_refused(change):
    with pytest.raises(InvalidMessage):
        message_of(Kind.WITHDRAW, withdraw(1).fields() | change)


def test_permit__signed_by_its_owner__is_told_from_anothers():
    owner, other = dev_signer(20), dev_signer(21)
    mine = Permit(owner.address, Asset.MONEY, TRADING, 10**18, 0, 2**40)
    by_owner, by_other = (permits.sign(mine, DOMAIN, bytes(who.account.key)) for who in (owner, other))
    assert permits.is_by_owner(mine, DOMAIN, by_owner)
    assert not permits.is_by_owner(mine, DOMAIN, by_other)
    assert not permits.is_by_owner(mine, DOMAIN, by_owner[:63])


def test_permit__amount_beyond_256_bits__is_refused():
    with pytest.raises(InvalidMessage, match="value"):
        Permit(account(1), Asset.MONEY, TRADING, 2**256, 0, 2**40)
