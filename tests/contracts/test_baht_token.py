"""bTHB: issued and redeemed by the settlement bank, an ERC-20 with permit otherwise."""

import pytest
from eth_account import Account as EthAccount

from busbar import errors
from busbar.chain import Call
from tests.market import BAHT, reverts

ZERO = "0x" + "00" * 20
REF = b"payment 4711".ljust(32, b"\0")


def send(market, sender, function, *args):
    return market.chain.send(sender, Call("BahtToken", function, args))


def balance(market, participant):
    return market.token_balance("BahtToken", participant.address)


def supply(market):
    return market.chain.view("BahtToken", "totalSupply")


@pytest.mark.parametrize("role", ["regulator", "distributor", "minter", "keeper", "producer", "outsider"])
@pytest.mark.parametrize("function", ["issue", "redeem"])
def test_issue_and_redeem__without_the_issuers_role__reverts(market, role, function):
    sender = getattr(market.actors, role)
    with reverts(errors.AccessManagedUnauthorized, caller=sender.address):
        send(market, sender, function, sender.address, 1, REF)


# -------------------------------------------------------------------------- issue


def test_issue__to_the_zero_address__reverts(market, actors):
    with reverts(errors.ERC20InvalidReceiver, receiver=ZERO):
        send(market, actors.issuer, "issue", ZERO, 1, REF)


def test_issue__by_the_issuer__creates_baht(market, actors):
    before = supply(market)
    outcome = send(market, actors.issuer, "issue", actors.outsider.address, 7 * BAHT, REF)
    assert [e.name for e in market.events(outcome)] == ["Transfer", "Issued"]
    transfer, issued = market.events(outcome)
    assert transfer.args == {"from": ZERO, "to": actors.outsider.address, "value": 7 * BAHT}
    assert issued.args == {"to": actors.outsider.address, "amount": 7 * BAHT, "ref": REF}
    assert balance(market, actors.outsider) == 7 * BAHT
    assert supply(market) == before + 7 * BAHT


def test_issue__role_withdrawn__reverts(market, actors):
    market.chain.send(actors.regulator, Call("Authority", "revokeRole", (5, actors.issuer.address)))
    with reverts(errors.AccessManagedUnauthorized, caller=actors.issuer.address):
        send(market, actors.issuer, "issue", actors.issuer.address, 1, REF)


# ------------------------------------------------------------------------- redeem


def test_redeem__without_allowance__reverts_and_takes_nothing(market, actors):
    send(market, actors.issuer, "issue", actors.consumer.address, 7 * BAHT, REF)
    with reverts(errors.ERC20InsufficientAllowance, spender=actors.issuer.address, allowance=0, needed=BAHT):
        send(market, actors.issuer, "redeem", actors.consumer.address, BAHT, REF)
    assert balance(market, actors.consumer) == 7 * BAHT


def test_redeem__more_than_allowed__reverts(market, actors):
    send(market, actors.issuer, "issue", actors.consumer.address, 7 * BAHT, REF)
    send(market, actors.consumer, "approve", actors.issuer.address, BAHT)
    with reverts(errors.ERC20InsufficientAllowance, allowance=BAHT, needed=BAHT + 1):
        send(market, actors.issuer, "redeem", actors.consumer.address, BAHT + 1, REF)


def test_redeem__more_than_held__reverts(market, actors):
    send(market, actors.consumer, "approve", actors.issuer.address, BAHT)
    with reverts(errors.ERC20InsufficientBalance, sender=actors.consumer.address, balance=0, needed=BAHT):
        send(market, actors.issuer, "redeem", actors.consumer.address, BAHT, REF)


def test_redeem__of_the_markets_holdings__reverts(market, actors):
    trading = market.chain.addresses["Trading"]
    with reverts(errors.ERC20InsufficientAllowance, spender=actors.issuer.address, allowance=0):
        send(market, actors.issuer, "redeem", trading, 1, REF)


def test_redeem__within_the_allowance__destroys_baht(market, actors):
    send(market, actors.issuer, "issue", actors.consumer.address, 7 * BAHT, REF)
    send(market, actors.consumer, "approve", actors.issuer.address, 5 * BAHT)
    before = supply(market)
    outcome = send(market, actors.issuer, "redeem", actors.consumer.address, 3 * BAHT, REF)
    assert [e.name for e in market.events(outcome)] == ["Transfer", "Redeemed"]
    transfer, redeemed = market.events(outcome)
    assert transfer.args == {"from": actors.consumer.address, "to": ZERO, "value": 3 * BAHT}
    assert redeemed.args == {"from": actors.consumer.address, "amount": 3 * BAHT, "ref": REF}
    assert balance(market, actors.consumer) == 4 * BAHT
    assert supply(market) == before - 3 * BAHT
    left = market.chain.view("BahtToken", "allowance", actors.consumer.address, actors.issuer.address)
    assert left == 2 * BAHT


def test_redeem__the_issuers_own_balance__needs_no_allowance(market, actors):
    send(market, actors.issuer, "issue", actors.issuer.address, 7 * BAHT, REF)
    outcome = send(market, actors.issuer, "redeem", actors.issuer.address, 7 * BAHT, REF)
    assert market.events(outcome, "Redeemed")[0].args["from"] == actors.issuer.address
    assert balance(market, actors.issuer) == 0


# ------------------------------------------------------------------------- permit


def test_permit__signed_by_its_owner__sets_the_allowance_once(market, actors):
    owner, spender = actors.consumer, actors.issuer
    deadline = market.chain.head().timestamp + 60
    domain = {
        "name": "Busbar Baht",
        "version": "1",
        "chainId": market.chain.chain_id,
        "verifyingContract": market.chain.addresses["BahtToken"],
    }
    fields = [("owner", "address"), ("spender", "address"), ("value", "uint256"), ("nonce", "uint256")]
    types = {"Permit": [{"name": n, "type": t} for n, t in [*fields, ("deadline", "uint256")]]}
    message = {"owner": owner.address, "spender": spender.address, "value": 9, "nonce": 0, "deadline": deadline}
    signed = EthAccount.sign_typed_data(owner.account.key, domain, types, message)
    halves = [half.to_bytes(32, "big") for half in (signed.r, signed.s)]
    args = (owner.address, spender.address, 9, deadline, signed.v, *halves)
    send(market, actors.outsider, "permit", *args)
    assert market.chain.view("BahtToken", "allowance", owner.address, spender.address) == 9
    with reverts(errors.ERC2612InvalidSigner, owner=owner.address):
        send(market, actors.outsider, "permit", *args)


def test_token__as_deployed__is_baht_with_18_decimals(market):
    assert market.chain.view("BahtToken", "name") == "Busbar Baht"
    assert market.chain.view("BahtToken", "symbol") == "bTHB"
    assert market.chain.view("BahtToken", "decimals") == 18
