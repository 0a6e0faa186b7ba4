"""Contract wallets (ERC-1271): asked only if they want to be, with bounded gas and answer, and unable to do harm."""

import pytest

from busbar import errors
from busbar.chain import Call, Chain
from busbar.signing import Bundle, CancelUpTo, SignedBundle
from tests.market import BAHT, ZONE, bid, is_refusal, reverts

YES, NO, OTHER_WORD, NO_WORD, REVERT, REVERT_MEGABYTES, RETURN_MEGABYTES, BURN_GAS, REENTER, SHORT_ANSWER = range(10)
WALLET_GAS = 100_000


@pytest.fixture
def wallet(market, actors):
    """A registered contract with money in the market, which has opted in; `say` tells it what to answer."""
    chain = Chain(market.devnet.url, market.chain.addresses, after_send=market.devnet.mine)
    address = market.deploy_helper(chain, "Wallet", chain.addresses["Trading"])
    return Wallet(market, chain, address)


class Wallet:
    def __init__(self, market, chain, address):
        self.market, self.chain, self.address = market, chain, address
        call = Call("Registry", "registerUser", (address, ZONE, bytes(32)))
        market.chain.send(market.actors.distributor, call)
        self.opt(True)

    def opt(self, enabled):
        return self.chain.send(self.market.actors.outsider, Call("Wallet", "opt", (enabled,)))

    def say(self, answer, again=b""):
        self.chain.send(self.market.actors.outsider, Call("Wallet", "say", (answer, again)))

    def bundle(self, signature=b"any bytes", nonce=0, tick=300):
        epoch = self.market.epoch
        return SignedBundle(Bundle(self.address, ZONE, nonce, epoch, epoch, (bid(tick, 100),)), signature)


@pytest.fixture
def funded(market, wallet, actors):
    """The same with 100 baht in its account, put there word by word: a contract cannot sign a permit."""
    trading = market.chain.addresses["Trading"]
    probe = {
        "from": actors.outsider.address,
        "to": trading,
        "data": market.chain._encode(Call("Trading", "accountsOf", ([wallet.address],))),
    }
    access = market.chain.node.request("eth_createAccessList", probe, "latest")["accessList"]
    (keys,) = (e["storageKeys"] for e in access if e["address"].lower() == trading.lower())
    for key in keys:
        word = int(market.chain.node.request("eth_getStorageAt", trading, key, "latest"), 16)
        if word >> 255 == 1:
            filled = "0x" + (word + 100 * BAHT // (5 * 10**6)).to_bytes(32, "big").hex()
            market.devnet.node.request("anvil_setStorageAt", trading, key, filled)
            return wallet
    raise AssertionError("no account word found")


def test_contract_wallet__answers_yes__enters(market, funded):
    funded.say(YES)
    outcome = market.relay(funded.bundle())
    assert not market.skipped(outcome)
    assert market.chain.accounts([funded.address])[0].order_count == 1


def test_contract_wallet__64_bytes_that_are_no_key_s__is_asked(market, funded):
    funded.say(YES)
    assert not market.skipped(market.relay(funded.bundle(signature=b"\x01" * 64)))


def test_contract_wallet__has_not_opted_in__is_not_asked(market, funded):
    funded.say(YES)
    outcome = funded.opt(False)
    (event,) = market.events(outcome)
    assert (event.name, event.args) == ("ContractWalletSet", {"account": funded.address, "enabled": False})
    ((_, _, reason),) = market.skipped(market.relay(funded.bundle()))
    assert is_refusal(reason, errors.BadSignature, account=funded.address)


@pytest.mark.parametrize(
    "answer",
    [NO, OTHER_WORD, NO_WORD, REVERT, REVERT_MEGABYTES, BURN_GAS, REENTER, SHORT_ANSWER],
)
def test_contract_wallet__does_not_say_yes__is_skipped_and_disturbs_nobody(market, actors, funded, answer):
    funded.say(answer, funded.bundle().pack())
    outcome = market.relay(funded.bundle(), market.signed_orders(actors.consumer, bid(300, 1_000)))
    ((account, _, reason),) = market.skipped(outcome)
    assert account == funded.address
    assert is_refusal(reason, errors.BadSignature, account=funded.address)
    (entered,) = market.events(outcome, "SignedOrderEntered")
    assert entered.args["account"] == actors.consumer.address
    assert market.chain.accounts([funded.address])[0].nonce == 0


def test_contract_wallet__returns_megabytes_after_yes__enters_and_costs_no_more_than_its_allowance(
    market, actors, funded
):
    funded.say(YES)
    plain = market.relay(funded.bundle(), market.signed_orders(actors.consumer, bid(300, 1_000))).gas_used
    funded.say(RETURN_MEGABYTES)
    outcome = market.relay(funded.bundle(nonce=1), market.signed_orders(actors.consumer, bid(300, 1_000), nonce=1))
    assert not market.skipped(outcome)
    assert outcome.gas_used <= plain + WALLET_GAS


def test_contract_wallet__burns_all_its_gas__costs_the_batch_no_more_than_its_allowance(market, actors, funded):
    good = market.signed_orders(actors.consumer, bid(300, 1_000))
    alone = market.relay(good).gas_used
    funded.say(BURN_GAS)
    outcome = market.relay(funded.bundle(), market.signed_orders(actors.consumer, bid(300, 1_000), nonce=1))
    assert len(market.events(outcome, "SignedOrderEntered")) == 1
    assert outcome.gas_used <= alone + WALLET_GAS + 30_000


def test_contract_wallet__cancel_up_to__takes_its_word(market, wallet):
    wallet.say(YES)
    market.chain.send(market.actors.outsider, Call("Trading", "cancelUpToFor", (wallet.address, 5, b"")))
    assert market.chain.accounts([wallet.address])[0].nonce == 6


def test_contract_wallet__cancel_up_to_and_it_says_no__reverts(market, wallet):
    wallet.say(NO)
    with reverts(errors.BadSignature, account=wallet.address):
        market.chain.send(market.actors.outsider, Call("Trading", "cancelUpToFor", (wallet.address, 5, b"")))


def test_contract_wallet__account_with_a_key_that_opted_in__its_key_counts_still(market, actors):
    market.chain.send(actors.consumer, Call("Trading", "setContractWallet", (True,)))
    assert not market.skipped(market.relay(market.signed_orders(actors.consumer, bid(300, 1_000))))
    with reverts(errors.BadSignature, account=actors.consumer.address):
        signature = market.signature(actors.producer, CancelUpTo(actors.consumer.address, 5))
        market.chain.send(actors.outsider, Call("Trading", "cancelUpToFor", (actors.consumer.address, 5, signature)))
