"""The door under bad weather: what is stuck, too dear, lost or undone by a reorganisation is sent once in effect."""

import threading
import time
from contextlib import contextmanager

import pytest

from busbar import metrics
from busbar.chain import (
    Call,
    Chain,
    DryRun,
    FeeCapError,
    NonceTakenError,
    NotMinedError,
    OutOfFundsError,
    Policy,
    WrongChainError,
)
from busbar.devnet import Devnet, dev_signer
from busbar.errors import Remedy
from tests.market import BAHT, MONEY

GWEI = 10**9
PATIENCE_S = 30
SENDER, NEIGHBOUR = dev_signer(2), dev_signer(3)
"""Accounts that can pay for gas."""


@pytest.fixture(autouse=True)
def pool_left_empty(market):
    """Snapshots do not hold what waits for a block: a test that leaves something there would haunt the next."""
    yield
    market.chain.node.request("anvil_dropAllTransactions")
    base_fee(market, 0)


def base_fee(market, wei):
    """What a unit of gas costs in the next block."""
    market.chain.node.request("anvil_setNextBlockBaseFeePerGas", hex(wei))


def door(market, **policy):
    """A door of a process of its own, which makes no blocks."""
    timeout_s = policy.pop("timeout_s", PATIENCE_S)
    return Chain(market.devnet.url, market.chain.addresses, timeout_s=timeout_s, policy=Policy(**policy))


def included(market, signer):
    return int(market.chain.node.request("eth_getTransactionCount", signer.address, "latest"), 16)


def approve(wei):
    """Something anybody may send, and that shows how often it took effect."""
    return Call("BahtToken", "approve", (NEIGHBOUR.address, wei))


def allowed(market):
    return market.chain.view("BahtToken", "allowance", SENDER.address, NEIGHBOUR.address)


@contextmanager
def sending(chain, call, signer=SENDER):
    """Sends on a thread of its own, while the test makes the blocks; gives the outcomes."""
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.extend(chain.send_many([(signer, call)])))
    thread.start()
    try:
        yield outcomes
    finally:
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def waiting(market, signer=SENDER):
    """The transactions of an account that wait for a block."""
    pool = market.chain.node.request("txpool_content")
    found = [
        by_nonce for part in pool.values() for who, by_nonce in part.items() if who.lower() == signer.address.lower()
    ]
    return [transaction for by_nonce in found for transaction in by_nonce.values()]


def dear_blocks(market, count, wei):
    """Blocks in which a unit of gas costs so much."""
    for _ in range(count):
        base_fee(market, wei)
        market.devnet.mine()


# ------------------------------------------------------------------------------ replaced


def test_send__base_fee_rises_above_what_was_offered__is_replaced_and_included_once(market):
    dear_blocks(market, 1, GWEI)
    before = included(market, SENDER)
    with sending(door(market, replace_after_blocks=2), approve(7)) as outcomes:
        until(lambda: waiting(market))
        first = int(waiting(market)[0]["maxFeePerGas"], 16)
        dear_blocks(market, 2, 50 * GWEI)
        until(lambda: [int(t["maxFeePerGas"], 16) for t in waiting(market)] > [first])
        dear_blocks(market, 1, 50 * GWEI)
    assert outcomes[0].ok
    assert outcomes[0].block == market.chain.head().number
    assert included(market, SENDER) == before + 1
    assert allowed(market) == 7


def test_send__stuck_at_the_cap__is_not_offered_more_than_the_cap(market):
    dear_blocks(market, 1, GWEI)
    chain = door(market, replace_after_blocks=1, max_fee_wei=2 * GWEI, timeout_s=1)
    with sending(chain, approve(7)) as outcomes:
        until(lambda: waiting(market))
        dear_blocks(market, 3, 50 * GWEI)
    assert isinstance(outcomes[0].error, NotMinedError)
    # anvil drops what a block cannot take, so the pool is no witness of what was offered.
    assert [place.transaction["maxFeePerGas"] for place in chain._places.values()] == [2 * GWEI]
    assert allowed(market) == 0


def test_send__a_stopped_process_left_something_cheap__takes_its_place(market):
    """The nonce is the newest block's, so of the two only one can be included; the new one pays more."""
    dear_blocks(market, 1, GWEI)
    before = included(market, SENDER)
    door(market, timeout_s=0).send_many([(SENDER, approve(1))])
    restarted = door(market, replace_after_blocks=2, timeout_s=0)
    (refused,) = restarted.send_many([(SENDER, approve(2))])
    assert isinstance(refused.error, NonceTakenError)
    dear_blocks(market, 2, 50 * GWEI)
    (sent,) = restarted.send_many([(SENDER, approve(2))])
    assert isinstance(sent.error, NotMinedError)
    dear_blocks(market, 1, 50 * GWEI)
    assert included(market, SENDER) == before + 1
    assert allowed(market) == 2
    assert waiting(market) == []


def test_send__the_same_is_under_way_from_a_stopped_process__waits_for_it(market):
    before = included(market, SENDER)
    door(market, timeout_s=0).send_many([(SENDER, approve(5))])
    restarted = door(market)
    restarted.after_send = market.devnet.mine
    restarted.send(SENDER, approve(5))
    assert included(market, SENDER) == before + 1


def test_send__the_node_forgets_it__is_offered_again(market):
    with sending(door(market, replace_after_blocks=2), approve(9)) as outcomes:
        until(lambda: waiting(market))
        market.chain.node.request("anvil_dropAllTransactions")
        for _ in range(2):
            market.devnet.mine()
        until(lambda: waiting(market))
        market.devnet.mine()
    assert outcomes[0].ok
    assert allowed(market) == 9


# ------------------------------------------------------------------------- too dear, dry


def test_send__base_fee_above_the_cap__says_so_and_sends_nothing(market):
    dear_blocks(market, 1, 10 * GWEI)
    with pytest.raises(FeeCapError, match=r"max_fee_wei is 1000000000: wait, or allow more"):
        door(market, max_fee_wei=GWEI).send(SENDER, approve(1))
    assert waiting(market) == []


def test_send__account_cannot_pay__is_an_alert_that_names_the_cause(market, actors):
    dear_blocks(market, 1, GWEI)
    pauper = dev_signer(60)
    (outcome,) = door(market, timeout_s=0).send_many([(pauper, approve(1))])
    assert type(outcome.error) is OutOfFundsError
    assert outcome.error.remedy is Remedy.ALERT
    assert waiting(market, pauper) == []


def test_send__dry_run__simulates_and_sends_nothing(market, actors):
    before, head = included(market, SENDER), market.chain.head()
    chain = door(market, dry_run=True)
    good, bad = chain.send_many(
        [(SENDER, approve(1)), (SENDER, Call("Trading", "withdraw", (MONEY, BAHT, SENDER.address)))]
    )
    assert type(good.error) is DryRun
    assert "BahtToken.approve would be sent" in str(good.error)
    assert type(bad.error) is not DryRun
    assert (included(market, SENDER), market.chain.head(), waiting(market)) == (before, head, [])


# -------------------------------------------------------------------------- reorganised


def test_send__with_confirmations__waits_until_the_receipt_lies_deep_enough(market):
    with sending(door(market, confirmations=2), approve(3)) as outcomes:
        until(lambda: waiting(market))
        for _ in range(2):
            market.devnet.mine()
        time.sleep(0.2)
        assert outcomes == []
        market.devnet.mine()
    assert outcomes[0].ok
    assert outcomes[0].block == market.chain.head().number - 2


def test_send__its_block_is_reorganised_away__notices_and_sends_it_again():
    """On a chain of its own: anvil keeps no snapshots across a reorganisation."""
    lost = metrics.RECEIPTS_LOST._value.get()
    with Devnet() as devnet:
        chain = Chain(devnet.url, after_send=devnet.mine)
        chain.deploy(SENDER, "Authority", [SENDER.address])
        devnet.mine()
        patient = Chain(devnet.url, chain.addresses, timeout_s=PATIENCE_S, policy=Policy(confirmations=3))
        call = Call("Authority", "grantRole", (4, NEIGHBOUR.address, 0))
        with sending(patient, call) as outcomes:
            until(lambda: devnet.node.request("txpool_status")["pending"] == "0x1")
            devnet.mine()
            mined = int(devnet.node.request("eth_blockNumber"), 16)
            # What is asked for a moment later has been seen in its block.
            time.sleep(0.3)
            devnet.node.request("anvil_reorg", 1, [])
            until(lambda: devnet.node.request("txpool_status")["pending"] == "0x1")
            for _ in range(4):
                devnet.mine()
        assert outcomes[0].ok
        assert outcomes[0].block > mined
        assert chain.view("Authority", "hasRole", 4, NEIGHBOUR.address)[0]
    assert metrics.RECEIPTS_LOST._value.get() == lost + 1


def test_head__a_block_seen_before_is_gone__is_counted():
    with Devnet() as devnet:
        chain = Chain(devnet.url, after_send=devnet.mine)
        devnet.mine()
        chain.deploy(SENDER, "Authority", [SENDER.address])
        chain.head()
        before = metrics.REORGS._value.get()
        chain.head()
        assert metrics.REORGS._value.get() == before
        devnet.node.request("anvil_reorg", 1, [])
        chain.head()
        assert metrics.REORGS._value.get() == before + 1


# ------------------------------------------------------------------------- another chain


@pytest.fixture
def moved():
    """A door whose node is replaced by one of another chain, at the same address."""
    with Devnet() as first:
        chain = Chain(first.url)
        port = first.port
        chain.after_send = first.mine
        chain.deploy(SENDER, "Authority", [SENDER.address])
    with Devnet(port=port, chain_id=7_777):
        yield chain


def test_head__the_node_now_serves_another_chain__stops(moved):
    with pytest.raises(WrongChainError, match="serves chain 7777, not 31337") as caught:
        moved.head()
    assert caught.value.remedy is Remedy.STOP


def test_send__the_node_now_serves_another_chain__sends_nothing(moved):
    with pytest.raises(WrongChainError):
        moved.send(SENDER, Call("Authority", "grantRole", (4, NEIGHBOUR.address, 0)))
    assert moved.node.request("txpool_status") == {"pending": "0x0", "queued": "0x0"}
