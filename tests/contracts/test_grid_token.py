"""GRID: minting by role, the PSP22 surface, burning and permits."""

import pytest
from eth_account import Account as EthAccount

from busbar import errors
from busbar.chain import Call
from tests.market import reverts

ZERO = "0x" + "00" * 20
KWH = 10**18
METER = b"m-1".ljust(32, b"\0")
MAX = 2**256 - 1


@pytest.fixture
def grid(market, actors):
    """The producer holds 10 GRID in its wallet."""
    market.mint_to_wallet(actors.producer, 10_000)
    return market


def send(market, sender, function, *args):
    return market.chain.send(sender, Call("GridToken", function, args))


def balance(market, participant):
    return market.token_balance("GridToken", participant.address)


def allowance(market, owner, spender):
    return market.chain.view("GridToken", "allowance", owner.address, spender.address)


def supply(market):
    return market.chain.view("GridToken", "totalSupply")


def permit(market, owner, spender, value, deadline, *, nonce=0, token="GridToken", name="Busbar Grid Energy"):  # noqa: S107
    """The arguments of `permit`, signed by its owner."""
    domain = {
        "name": name,
        "version": "1",
        "chainId": market.chain.chain_id,
        "verifyingContract": market.chain.addresses[token],
    }
    fields = [("owner", "address"), ("spender", "address"), ("value", "uint256"), ("nonce", "uint256")]
    types = {"Permit": [{"name": n, "type": t} for n, t in [*fields, ("deadline", "uint256")]]}
    message = {
        "owner": owner.address,
        "spender": spender.address,
        "value": value,
        "nonce": nonce,
        "deadline": deadline,
    }
    signed = EthAccount.sign_typed_data(owner.account.key, domain, types, message)
    r, s = signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")
    return (owner.address, spender.address, value, deadline, signed.v, r, s)


# --------------------------------------------------------------------------- mint


@pytest.mark.parametrize("role", ["regulator", "distributor", "minter", "issuer", "producer", "outsider"])
def test_mint__without_the_token_minters_role__reverts(market, role):
    sender = getattr(market.actors, role)
    with reverts(errors.AccessManagedUnauthorized, caller=sender.address):
        send(market, sender, "mint", sender.address, KWH, METER)


def test_mint__to_the_zero_address__reverts(grid, actors):
    with reverts(errors.ERC20InvalidReceiver, receiver=ZERO):
        send(grid, actors.minter, "mint", ZERO, KWH, METER)


def test_mint__by_a_plain_minter__creates_grid_and_names_the_meter(grid, actors):
    before = supply(grid)
    outcome = send(grid, actors.minter, "mint", actors.consumer.address, 3 * KWH, METER)
    (minted,) = grid.events(outcome, "Minted")
    assert minted.args == {"to": actors.consumer.address, "amount": 3 * KWH, "meterId": METER}
    (transfer,) = grid.events(outcome, "Transfer")
    assert transfer.args == {"from": ZERO, "to": actors.consumer.address, "value": 3 * KWH}
    assert balance(grid, actors.consumer) == 3 * KWH
    assert supply(grid) == before + 3 * KWH


def test_mint__role_withdrawn__reverts(grid, actors):
    grid.chain.send(actors.regulator, Call("Authority", "revokeRole", (8, actors.minter.address)))
    with reverts(errors.AccessManagedUnauthorized, caller=actors.minter.address):
        send(grid, actors.minter, "mint", actors.minter.address, KWH, METER)


def test_token__as_deployed__is_grid_with_18_decimals(market):
    assert market.chain.view("GridToken", "name") == "Busbar Grid Energy"
    assert market.chain.view("GridToken", "symbol") == "GRID"
    assert market.chain.view("GridToken", "decimals") == 18


# ----------------------------------------------------------------------- transfer


def test_transfer__more_than_held__reverts(grid, actors):
    with reverts(
        errors.ERC20InsufficientBalance, sender=actors.producer.address, balance=10 * KWH, needed=10 * KWH + 1
    ):
        send(grid, actors.producer, "transfer", actors.consumer.address, 10 * KWH + 1)


def test_transfer__with_data_and_more_than_held__reverts(grid, actors):
    with reverts(
        errors.ERC20InsufficientBalance, sender=actors.producer.address, balance=10 * KWH, needed=10 * KWH + 1
    ):
        send(grid, actors.producer, "transfer", actors.consumer.address, 10 * KWH + 1, b"why")


def test_transfer__with_data_to_the_zero_address__reverts(grid, actors):
    with reverts(errors.ERC20InvalidReceiver, receiver=ZERO):
        send(grid, actors.producer, "transfer", ZERO, 1, b"why")


def test_transfer__plain__moves_and_says_nothing_of_data(grid, actors):
    assert grid.returned(actors.producer, "GridToken", "transfer", actors.consumer.address, KWH) is True
    outcome = send(grid, actors.producer, "transfer", actors.consumer.address, KWH)
    assert [e.name for e in grid.events(outcome)] == ["Transfer"]
    assert (balance(grid, actors.producer), balance(grid, actors.consumer)) == (9 * KWH, KWH)


def test_transfer__with_data__moves_and_hands_the_data_on(grid, actors):
    args = (actors.consumer.address, KWH, b"meter 7, March")
    assert grid.returned(actors.producer, "GridToken", "transfer", *args) is True
    outcome = send(grid, actors.producer, "transfer", *args)
    assert [e.name for e in grid.events(outcome)] == ["Transfer", "TransferData"]
    told = grid.events(outcome)[1].args
    assert told == {
        "from": actors.producer.address,
        "to": actors.consumer.address,
        "value": KWH,
        "data": b"meter 7, March",
    }
    assert (balance(grid, actors.producer), balance(grid, actors.consumer)) == (9 * KWH, KWH)


def test_transfer__with_empty_data__is_a_plain_one(grid, actors):
    outcome = send(grid, actors.producer, "transfer", actors.consumer.address, KWH, b"")
    assert [e.name for e in grid.events(outcome)] == ["Transfer"]


# ------------------------------------------------------------------- transferFrom


@pytest.mark.parametrize("data", [(), (b"why",)])
def test_transfer_from__beyond_the_allowance__reverts(grid, actors, data):
    send(grid, actors.producer, "approve", actors.keeper.address, KWH)
    with reverts(errors.ERC20InsufficientAllowance, spender=actors.keeper.address, allowance=KWH, needed=KWH + 1):
        send(grid, actors.keeper, "transferFrom", actors.producer.address, actors.consumer.address, KWH + 1, *data)


@pytest.mark.parametrize("data", [(), (b"why",)])
def test_transfer_from__beyond_the_balance__reverts(grid, actors, data):
    send(grid, actors.producer, "approve", actors.keeper.address, MAX)
    with reverts(errors.ERC20InsufficientBalance, balance=10 * KWH, needed=11 * KWH):
        send(grid, actors.keeper, "transferFrom", actors.producer.address, actors.consumer.address, 11 * KWH, *data)


def test_transfer_from__with_data__spends_the_allowance_once(grid, actors):
    send(grid, actors.producer, "approve", actors.keeper.address, 3 * KWH)
    args = (actors.producer.address, actors.consumer.address, 2 * KWH, b"why")
    assert grid.returned(actors.keeper, "GridToken", "transferFrom", *args) is True
    outcome = send(grid, actors.keeper, "transferFrom", *args)
    assert [e.name for e in grid.events(outcome)] == ["Transfer", "TransferData"]
    told = grid.events(outcome, "TransferData")[0].args
    assert told == {
        "from": actors.producer.address,
        "to": actors.consumer.address,
        "value": 2 * KWH,
        "data": b"why",
    }
    assert allowance(grid, actors.producer, actors.keeper) == KWH
    assert (balance(grid, actors.producer), balance(grid, actors.consumer)) == (8 * KWH, 2 * KWH)


# --------------------------------------------------------------------- allowances


def test_increase_allowance__beyond_what_fits__reverts(grid, actors):
    send(grid, actors.producer, "approve", actors.keeper.address, MAX)
    with pytest.raises(errors.BusbarError, match="panicked with code 0x11"):
        send(grid, actors.producer, "increaseAllowance", actors.keeper.address, 1)


@pytest.mark.parametrize("function", ["increaseAllowance", "decreaseAllowance"])
def test_change_allowance__zero_address__reverts(grid, actors, function):
    with reverts(errors.ERC20InvalidSpender, spender=ZERO):
        send(grid, actors.producer, function, ZERO, 0)


def test_increase_allowance__twice__adds_up(grid, actors):
    assert grid.returned(actors.producer, "GridToken", "increaseAllowance", actors.keeper.address, 5) is True
    for total in (5, 10):
        outcome = send(grid, actors.producer, "increaseAllowance", actors.keeper.address, 5)
        (event,) = grid.events(outcome, "Approval")
        assert event.args == {
            "owner": actors.producer.address,
            "spender": actors.keeper.address,
            "value": total,
        }
        assert allowance(grid, actors.producer, actors.keeper) == total


def test_decrease_allowance__below_zero__reverts(grid, actors):
    send(grid, actors.producer, "approve", actors.keeper.address, 5)
    with reverts(errors.AllowanceBelowZero, spender=actors.keeper.address, allowance=5, subtracted=6):
        send(grid, actors.producer, "decreaseAllowance", actors.keeper.address, 6)
    assert allowance(grid, actors.producer, actors.keeper) == 5


def test_decrease_allowance__to_zero__takes_it_all_away(grid, actors):
    send(grid, actors.producer, "approve", actors.keeper.address, 5)
    assert grid.returned(actors.producer, "GridToken", "decreaseAllowance", actors.keeper.address, 5) is True
    outcome = send(grid, actors.producer, "decreaseAllowance", actors.keeper.address, 5)
    assert grid.events(outcome, "Approval")[0].args["value"] == 0
    assert allowance(grid, actors.producer, actors.keeper) == 0


# --------------------------------------------------------------------------- burn


def test_burn__more_than_held__reverts(grid, actors):
    with reverts(errors.ERC20InsufficientBalance, balance=10 * KWH, needed=11 * KWH):
        send(grid, actors.producer, "burn", 11 * KWH)


def test_burn__own_grid__lowers_balance_and_supply(grid, actors):
    before = supply(grid)
    outcome = send(grid, actors.producer, "burn", 4 * KWH)
    (event,) = grid.events(outcome, "Transfer")
    assert event.args == {"from": actors.producer.address, "to": ZERO, "value": 4 * KWH}
    assert balance(grid, actors.producer) == 6 * KWH
    assert supply(grid) == before - 4 * KWH


@pytest.mark.parametrize("role", ["regulator", "minter", "distributor", "outsider"])
def test_burn_from__without_allowance__reverts_for_any_role(grid, role):
    sender = getattr(grid.actors, role)
    with reverts(errors.ERC20InsufficientAllowance, spender=sender.address, allowance=0, needed=1):
        send(grid, sender, "burnFrom", grid.actors.producer.address, 1)


def test_burn_from__within_the_allowance__spends_it(grid, actors):
    before = supply(grid)
    send(grid, actors.producer, "approve", actors.keeper.address, 3 * KWH)
    outcome = send(grid, actors.keeper, "burnFrom", actors.producer.address, 2 * KWH)
    (event,) = grid.events(outcome, "Transfer")
    assert event.args == {"from": actors.producer.address, "to": ZERO, "value": 2 * KWH}
    assert allowance(grid, actors.producer, actors.keeper) == KWH
    assert balance(grid, actors.producer) == 8 * KWH
    assert supply(grid) == before - 2 * KWH


# ------------------------------------------------------------------------- permit


def test_permit__deadline_passed__reverts(grid, actors):
    deadline = grid.chain.head().timestamp - 1
    with reverts(errors.ERC2612ExpiredSignature, deadline=deadline):
        send(grid, actors.keeper, "permit", *permit(grid, actors.producer, actors.keeper, 5, deadline))


def test_permit__value_tampered_with__reverts(grid, actors):
    args = list(permit(grid, actors.producer, actors.keeper, 5, MAX))
    args[2] = 6
    with reverts(errors.ERC2612InvalidSigner, owner=actors.producer.address):
        send(grid, actors.keeper, "permit", *args)


def test_permit__of_the_other_token__reverts(grid, actors):
    args = permit(grid, actors.producer, actors.keeper, 5, MAX, token="BahtToken", name="Busbar Baht")
    with reverts(errors.ERC2612InvalidSigner, owner=actors.producer.address):
        send(grid, actors.keeper, "permit", *args)


def test_permit__used_twice__reverts(grid, actors):
    args = permit(grid, actors.producer, actors.keeper, 5, MAX)
    send(grid, actors.keeper, "permit", *args)
    with reverts(errors.ERC2612InvalidSigner, owner=actors.producer.address):
        send(grid, actors.keeper, "permit", *args)


def test_permit__signed_by_its_owner__anyone_may_send_it(grid, actors):
    args = permit(grid, actors.producer, actors.keeper, 5, grid.chain.head().timestamp + 60)
    outcome = send(grid, actors.outsider, "permit", *args)
    (event,) = grid.events(outcome, "Approval")
    assert event.args == {"owner": actors.producer.address, "spender": actors.keeper.address, "value": 5}
    assert allowance(grid, actors.producer, actors.keeper) == 5
    assert grid.chain.view("GridToken", "nonces", actors.producer.address) == 1
