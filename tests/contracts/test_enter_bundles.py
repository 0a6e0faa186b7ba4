"""enterBundles: signed orders of many participants in one call; whoever may not enter is skipped with the reason."""

from dataclasses import replace

import pytest

from busbar import errors
from busbar.chain import Call, KeySigner
from busbar.devnet import dev_signer
from busbar.signing import MAX_BATCH_BYTES, EnteredBundle, SignedBundle, TradingDomain
from busbar.units import MAX_ORDERS
from tests.market import BAHT, ENERGY, MONEY, ZONE, ask, bid, is_refusal, reverts

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
FUNDED_UNITS = 1_000 * BAHT // (5 * 10**6)
UNITS_OF_A_BID = 1_000 * 10**6 * 2 * 300


def raw(market, data, zone=ZONE):
    return market.chain.send(market.actors.outsider, Call("Trading", "enterBundles", (zone, data)))


def skips(market, outcome):
    """The one bundle that was skipped: its reason."""
    assert not market.events(outcome, "SignedOrderEntered")
    assert not market.events(outcome, "BundleEntered")
    ((_, _, reason),) = market.skipped(outcome)
    return reason


def key_of(participant):
    return bytes(participant.account.key)


# ---- refused as a whole


def test_enter_bundles__batch_too_large__reverts(market, actors):
    signed = market.signed_orders(actors.consumer, bid(300, 1_000)).pack()
    batch = signed * (MAX_BATCH_BYTES // len(signed) + 1)
    with reverts(errors.BatchTooLarge, size=len(batch), maximum=MAX_BATCH_BYTES):
        raw(market, batch)


def test_enter_bundles__zone_never_opened__reverts(market):
    with reverts(errors.UnknownZone, zone=9):
        raw(market, b"", zone=9)


def test_enter_bundles__zone_paused__reverts(market, actors):
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (ZONE, True)))
    with reverts(errors.ZonePaused, zone=ZONE):
        market.relay(market.signed_orders(actors.consumer, bid(300, 1_000)))


@pytest.mark.parametrize("kept", [1, 32, 33, 38, 102])
def test_enter_bundles__bundle_cut_off__reverts(market, actors, kept):
    signed = market.signed_orders(actors.consumer, bid(300, 1_000)).pack()
    with reverts(errors.MalformedBatch, offset=len(signed)):
        raw(market, signed + signed[:kept])


def test_enter_bundles__length_of_a_signature_cut_off__reverts(market, actors):
    bundle = market.bundle(actors.consumer, bid(300, 1_000))
    with reverts(errors.MalformedBatch, offset=0):
        raw(market, bundle.pack(b"1" * 10)[:40])


# ---- skipped, in the order in which it is checked


def test_enter_bundles__not_registered__is_skipped(market, actors):
    outcome = market.relay(market.signed_orders(actors.outsider, bid(300, 1_000)))
    assert is_refusal(skips(market, outcome), errors.NotRegistered, account=actors.outsider.address)


def test_enter_bundles__suspended__is_skipped(market, actors):
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.consumer.address, 2)))
    outcome = market.relay(market.signed_orders(actors.consumer, bid(300, 1_000)))
    assert is_refusal(skips(market, outcome), errors.AccountSuspended, account=actors.consumer.address)


def test_enter_bundles__relayed_for_another_zone__is_skipped(market, actors):
    market.chain.send(actors.regulator, Call("Trading", "openZone", (2, 0)))
    outcome = market.relay(market.signed_orders(actors.consumer, bid(300, 1_000), zone=2), zone=2)
    assert is_refusal(skips(market, outcome), errors.OtherZone, accountZone=ZONE, zone=2)


def test_enter_bundles__signed_for_another_zone__is_skipped(market, actors):
    outcome = market.relay(market.signed_orders(actors.consumer, bid(300, 1_000), zone=2))
    assert is_refusal(skips(market, outcome), errors.BadSignature, account=actors.consumer.address)


@pytest.mark.parametrize(("first", "last"), [(-2, -1), (1, 2), (1, -1)])
def test_enter_bundles__signed_for_other_epochs__is_skipped(market, actors, first, last):
    market.to_epoch(5)
    epochs = (5 + first, 5 + last)
    outcome = market.relay(market.signed_orders(actors.consumer, bid(300, 1_000), epochs=epochs))
    values = {"epoch": 5, "firstEpoch": epochs[0], "lastEpoch": epochs[1]}
    assert is_refusal(skips(market, outcome), errors.OutsideEpochs, **values)


def test_enter_bundles__nonce_used__is_skipped(market, actors):
    market.relay(market.signed_orders(actors.consumer, bid(300, 1_000), nonce=4))
    outcome = market.relay(market.signed_orders(actors.consumer, bid(301, 1_000), nonce=4))
    assert is_refusal(skips(market, outcome), errors.InvalidNonce, nonce=4, lowest=5)


def test_enter_bundles__last_nonce_of_all__is_skipped(market, actors):
    signed = market.signed_orders(actors.consumer, bid(300, 1_000)).pack()
    outcome = raw(market, signed[:20] + b"\xff" * 4 + signed[24:])
    assert is_refusal(skips(market, outcome), errors.InvalidNonce, nonce=2**32 - 1, lowest=0)


def test_enter_bundles__no_order__is_skipped(market, actors):
    signed = market.signed_orders(actors.consumer, bid(300, 1_000)).pack()
    outcome = raw(market, signed[:32] + b"\x00" + signed[39:])
    assert is_refusal(skips(market, outcome), errors.NoOrders)


def test_enter_bundles__bundle_of_101__is_skipped(market, actors):
    packed = market.signed_orders(actors.consumer, *[bid(1, 100)] * 100).pack()
    outcome = raw(market, packed[:32] + bytes([101]) + packed[33:39] + packed[33:])
    assert is_refusal(skips(market, outcome), errors.TooManyOrders, count=101)


def test_enter_bundles__one_beyond_100_of_the_epoch__is_skipped(market, actors):
    market.relay(market.signed_orders(actors.consumer, *[bid(1, 100)] * 100))
    outcome = market.relay(market.signed_orders(actors.consumer, bid(1, 100), nonce=1))
    assert is_refusal(skips(market, outcome), errors.TooManyOrders, count=101)


@pytest.mark.parametrize(
    ("order", "error", "values"),
    [
        (0 << 24 | 1_000, errors.InvalidTick, {"tick": 0}),
        (300 << 24 | 99, errors.InvalidQuantity, {"quantityWh": 99}),
        (300 << 24 | 10_000_001, errors.InvalidQuantity, {"quantityWh": 10_000_001}),
        (97 << 35 | 300 << 24 | 1_000, errors.InvalidLife, {"life": 97}),
        (1 << 47 | 300 << 24 | 1_000, errors.InvalidOrder, {"order": 1 << 47 | 300 << 24 | 1_000}),
    ],
)
def test_enter_bundles__order_not_valid__is_skipped(market, actors, order, error, values):
    packed = market.signed_orders(actors.consumer, bid(300, 1_000)).pack()
    outcome = raw(market, packed[:33] + order.to_bytes(6, "big") + packed[39:])
    assert is_refusal(skips(market, outcome), error, **values)


def test_enter_bundles__more_money_than_free__is_skipped(market, actors):
    outcome = market.relay(market.signed_orders(actors.consumer, bid(1023, 10_000_000)))
    needed = 10_000_000 * 10**6 * 2 * 1023
    values = {"asset": MONEY, "freeUnits": FUNDED_UNITS, "neededUnits": needed}
    assert is_refusal(skips(market, outcome), errors.InsufficientFree, **values)


def test_enter_bundles__energy_not_there__is_skipped(market, actors):
    outcome = market.relay(market.signed_orders(actors.consumer, ask(300, 1_000)))
    assert is_refusal(skips(market, outcome), errors.InsufficientFree, asset=ENERGY, freeUnits=0, neededUnits=10**9)


def test_enter_bundles__withdrawn_before_the_batch__is_skipped_and_disturbs_nobody(market, actors):
    signed = [market.signed_orders(who, bid(300, 1_000)) for who in (actors.consumer, actors.other_consumer)]
    market.withdraw(actors.consumer, MONEY, 1_000 * BAHT)
    outcome = market.relay(*signed)
    ((account, nonce, reason),) = market.skipped(outcome)
    assert (account, nonce) == (actors.consumer.address, 0)
    assert is_refusal(reason, errors.InsufficientFree, asset=MONEY, freeUnits=0, neededUnits=UNITS_OF_A_BID)
    (entered,) = market.events(outcome, "SignedOrderEntered")
    assert entered.args["account"] == actors.other_consumer.address


# ---- signatures


def test_enter_bundles__signed_by_somebody_else__is_skipped(market, actors):
    bundle = market.bundle(actors.consumer, bid(300, 1_000))
    forged = SignedBundle.by(bundle, market.chain.trading_domain, key_of(actors.producer))
    outcome = market.relay(forged)
    assert is_refusal(skips(market, outcome), errors.BadSignature, account=actors.consumer.address)


def test_enter_bundles__order_changed_after_signing__is_skipped(market, actors):
    signed = market.signed_orders(actors.consumer, bid(300, 1_000))
    outcome = market.relay(replace(signed, bundle=replace(signed.bundle, orders=(bid(301, 1_000),))))
    assert is_refusal(skips(market, outcome), errors.BadSignature)


def test_enter_bundles__epochs_changed_after_signing__is_skipped(market, actors):
    signed = market.signed_orders(actors.consumer, bid(300, 1_000))
    outcome = market.relay(replace(signed, bundle=replace(signed.bundle, last_epoch=2**32 - 1)))
    assert is_refusal(skips(market, outcome), errors.BadSignature)


def test_enter_bundles__signed_for_another_chain__is_skipped(market, actors):
    bundle = market.bundle(actors.consumer, bid(300, 1_000))
    domain = TradingDomain(1, market.chain.addresses["Trading"])
    outcome = market.relay(SignedBundle.by(bundle, domain, key_of(actors.consumer)))
    assert is_refusal(skips(market, outcome), errors.BadSignature)


def test_enter_bundles__signed_for_another_market__is_skipped(market, actors):
    other = market.another_trading()
    signed = SignedBundle.by(
        market.bundle(actors.consumer, bid(300, 1_000)), other.trading_domain, key_of(actors.consumer)
    )
    outcome = market.relay(signed)
    assert is_refusal(skips(market, outcome), errors.BadSignature)


def test_enter_bundles__zero_signature_for_the_zero_address__is_skipped(market, actors):
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.consumer.address, 1)))
    packed = market.signed_orders(actors.consumer, bid(300, 1_000)).pack()
    outcome = raw(market, bytes(20) + packed[20:39] + bytes(64))
    assert is_refusal(skips(market, outcome), errors.NotRegistered, account="0x" + "0" * 40)


def test_enter_bundles__zero_signature__is_skipped(market, actors):
    outcome = market.relay(SignedBundle(market.bundle(actors.consumer, bid(300, 1_000)), bytes(64)))
    assert is_refusal(skips(market, outcome), errors.BadSignature)


def test_enter_bundles__twin_of_the_signature__is_skipped(market, actors):
    signed = market.signed_orders(actors.consumer, bid(300, 1_000))
    s = int.from_bytes(signed.signature[32:], "big") & (2**255 - 1)
    twin = signed.signature[:32] + (CURVE_ORDER - s).to_bytes(32, "big")
    outcome = market.relay(replace(signed, signature=twin))
    assert is_refusal(skips(market, outcome), errors.BadSignature)


def test_enter_bundles__other_parity__is_skipped(market, actors):
    signed = market.signed_orders(actors.consumer, bid(300, 1_000))
    flipped = signed.signature[:32] + bytes([signed.signature[32] ^ 0x80]) + signed.signature[33:]
    outcome = market.relay(replace(signed, signature=flipped))
    assert is_refusal(skips(market, outcome), errors.BadSignature)


def test_enter_bundles__same_signature_with_its_length__enters_once(market, actors):
    signed = market.signed_orders(actors.consumer, bid(300, 1_000))
    packed = signed.pack()
    longer = packed[:32] + b"\x81" + packed[33:39] + (64).to_bytes(2, "big") + packed[39:]
    outcome = raw(market, longer + packed)
    ((_, _, reason),) = market.skipped(outcome)
    assert is_refusal(reason, errors.InvalidNonce, nonce=0, lowest=1)


# ---- replays


def test_enter_bundles__the_same_twice_in_a_batch__enters_once(market, actors):
    signed = market.signed_orders(actors.consumer, bid(300, 1_000))
    outcome = market.relay(signed, signed)
    assert len(market.events(outcome, "SignedOrderEntered")) == 1
    ((_, _, reason),) = market.skipped(outcome)
    assert is_refusal(reason, errors.InvalidNonce, nonce=0, lowest=1)


def test_enter_bundles__again_in_a_later_epoch_it_is_valid_in__is_skipped(market, actors):
    signed = market.signed_orders(actors.consumer, bid(300, 1_000), epochs=(market.epoch, market.epoch + 9))
    market.relay(signed)
    market.next_epoch()
    assert is_refusal(skips(market, market.relay(signed)), errors.InvalidNonce, nonce=0, lowest=1)


def test_enter_bundles__again_after_its_order_was_cancelled__is_skipped(market, actors):
    signed = market.signed_orders(actors.consumer, bid(300, 1_000))
    market.relay(signed)
    market.cancel(actors.consumer, market.order_id(actors.consumer))
    assert is_refusal(skips(market, market.relay(signed)), errors.InvalidNonce, nonce=0, lowest=1)


def test_enter_bundles__nonces_in_another_order__the_higher_one_shuts_out_the_lower(market, actors):
    first, second = (market.signed_orders(actors.consumer, bid(300 + n, 1_000), nonce=n) for n in (3, 8))
    outcome = market.relay(second, first)
    (entered,) = market.events(outcome, "SignedOrderEntered")
    assert EnteredBundle.from_event(entered.args).nonce == 8
    ((_, nonce, reason),) = market.skipped(outcome)
    assert nonce == 3
    assert is_refusal(reason, errors.InvalidNonce, nonce=3, lowest=9)


def test_enter_bundles__nonces_with_gaps__both_enter(market, actors):
    signed = [market.signed_orders(actors.consumer, bid(300, 1_000), nonce=n) for n in (3, 800)]
    outcome = market.relay(*signed)
    assert len(market.events(outcome, "SignedOrderEntered")) == 2
    assert market.account(actors.consumer).nonce == 801


def test_enter_bundles__skipped__uses_no_nonce_and_may_enter_later(market, actors):
    signed = market.signed_orders(actors.consumer, ask(300, 1_000))
    market.relay(signed)
    assert market.account(actors.consumer).nonce == 0
    market.give_energy(actors.consumer, 1_000)
    market.relay(signed)
    assert market.account(actors.consumer).nonce == 1


# ---- spam and full markets


def test_enter_bundles__colluders_fill_the_cap__an_honest_first_order_still_enters(market, actors):
    market.chain.send(actors.regulator, Call("Trading", "setOrderCap", (ZONE, 5)))
    colluders = [market.signed_orders(who, *[bid(1, 100)] * 6) for who in (actors.producer, actors.other_producer)]
    outcome = market.relay(*colluders, market.signed_orders(actors.consumer, bid(300, 1_000)))
    ((account, _, reason),) = market.skipped(outcome)
    assert account == actors.other_producer.address
    assert is_refusal(reason, errors.EpochFull, zone=ZONE, epoch=market.epoch, orderCap=5)
    (entered,) = market.events(outcome, "SignedOrderEntered")
    assert entered.args["account"] == actors.consumer.address
    assert market.chain.zone(ZONE).counted_orders == 5


def test_enter_bundles__colluders_fill_the_cap_as_shipped__an_honest_first_order_still_enters(market, actors):
    cap = market.chain.zone(ZONE).order_cap
    colluders = [dev_signer(300 + i) for i in range(cap // (MAX_ORDERS - 1) + 1)]
    market.register(*colluders)
    bundles = []
    for colluder in colluders:
        market.fund(colluder, 1)
        bundles.append(market.signed_orders(colluder, *[bid(1, 100)] * MAX_ORDERS))
    batches = [bundles[start : start + 20] for start in range(0, len(bundles), 20)]
    skipped = [entry for batch in batches for entry in market.skipped(market.relay(*batch))]
    assert [account for account, _, _ in skipped] == [colluders[-1].address]
    left = cap - market.chain.zone(ZONE).counted_orders
    market.relay(market.signed_orders(colluders[-1], *[bid(1, 100)] * (left + 1)))
    assert (cap, market.chain.zone(ZONE).counted_orders) == (10_000, cap)
    outcome = market.relay(market.signed_orders(actors.consumer, bid(300, 1_000)))
    (entered,) = market.events(outcome, "SignedOrderEntered")
    assert entered.args["account"] == actors.consumer.address


def test_enter_bundles__spam_at_every_tick__clears_within_its_bound(market, actors):
    spammers = [dev_signer(200 + i) for i in range(11)]
    market.register(*spammers)
    for spammer in spammers:
        market.fund(spammer, 10_000)
    ticks = list(range(1, 1_024))
    signed = [
        market.signed_orders(spammer, *[bid(tick, 100) for tick in ticks[i * 100 : i * 100 + 100]])
        for i, spammer in enumerate(spammers)
    ]
    for i in range(0, 11, 4):
        assert not market.skipped(market.relay(*signed[i : i + 4]))
    market.give_energy(actors.producer, 1_000)
    market.sell(actors.producer, 500, 1_000)
    market.next_epoch()
    assert market.clear().gas_used <= 150_000
    assert market.chain.results(ZONE, [market.epoch - 1])[0].volume_wh == 1_000


def test_enter_bundles__tick_full_in_the_middle_of_a_bundle__is_skipped_and_leaves_the_book(market, actors):
    # 27,487 of the largest orders would be needed: the tick is filled in storage instead.
    whale = actors.third_producer
    market.give_energy(whale, 1_000)
    market.sell(whale, 600, 100)
    slot = _slot_of_leaf(market, tick=600)
    word = int(market.chain.node.request("eth_getStorageAt", market.chain.addresses["Trading"], slot, "latest"), 16)
    shift = (599 % 6) * 38
    full = (word & ~(((1 << 38) - 1) << shift)) | ((1 << 38) - 1) << shift
    market.devnet.node.request(
        "anvil_setStorageAt", market.chain.addresses["Trading"], slot, "0x" + full.to_bytes(32, "big").hex()
    )
    market.give_energy(actors.producer, 10_000)
    good = market.signed_orders(actors.consumer, bid(300, 1_000))
    before = market.account(actors.producer)
    outcome = market.relay(market.signed_orders(actors.producer, ask(400, 500), ask(401, 500), ask(600, 200)), good)
    ((account, _, reason),) = market.skipped(outcome)
    assert account == actors.producer.address
    assert is_refusal(reason, errors.TickFull, side=1, tick=600, volumeWh=(1 << 38) - 1 + 200)
    assert market.account(actors.producer) == before
    bids, asks = market.chain.book(ZONE)
    assert (bids, set(asks)) == ({300: 1_000}, {600})


def _slot_of_leaf(market, tick):
    """The storage slot of the asks' leaf word of a tick: looked for, so that no layout is repeated here."""
    trading = market.chain.addresses["Trading"]
    access = market.chain.node.request(
        "eth_createAccessList",
        {
            "from": market.actors.third_producer.address,
            "to": trading,
            "data": market.chain._encode(Call("Trading", "createSellOrder", (tick, 100))),
        },
        "latest",
    )
    (keys,) = (e["storageKeys"] for e in access["accessList"] if e["address"].lower() == trading.lower())
    for key in keys:
        word = int(market.chain.node.request("eth_getStorageAt", trading, key, "latest"), 16)
        if word >> 228 == market.epoch and word & ((1 << 228) - 1) == 100 << ((tick - 1) % 6) * 38:
            return key
    raise AssertionError("no leaf word found")


# ---- enters


def test_enter_bundles__one_order__enters_and_tells(market, actors):
    outcome = market.relay(market.signed_orders(actors.consumer, bid(300, 1_000), nonce=7))
    (event,) = market.events(outcome)
    assert event.name == "SignedOrderEntered"
    expected = EnteredBundle(actors.consumer.address, market.epoch, ZONE, 0, 7, (bid(300, 1_000),))
    assert EnteredBundle.from_event(event.args) == expected
    account = market.account(actors.consumer)
    assert (account.order_count, account.nonce) == (1, 8)
    assert account.money_escrow_units == UNITS_OF_A_BID
    assert account.money_free_units == FUNDED_UNITS - UNITS_OF_A_BID
    assert market.chain.book(ZONE) == ({300: 1_000}, {})


def test_enter_bundles__returns_how_many_entered(market, actors):
    signed = [market.signed_orders(who, bid(300, 1_000)) for who in (actors.consumer, actors.outsider, actors.producer)]
    batch = b"".join(bundle.pack() for bundle in signed)
    assert market.returned(actors.outsider, "Trading", "enterBundles", ZONE, batch) == 2


def test_enter_bundles__bundle_of_100__enters_whole(market, actors):
    orders = [bid(1 + i, 100 + i) for i in range(100)]
    outcome = market.relay(market.signed_orders(actors.consumer, *orders))
    (event,) = market.events(outcome)
    assert event.name == "BundleEntered"
    assert EnteredBundle.from_event(event.args).orders == tuple(orders)
    assert [o.order for o in market.chain.orders(actors.consumer.address)] == orders


def test_enter_bundles__after_direct_orders__goes_on_with_their_index(market, actors):
    market.enter(actors.consumer, bid(300, 1_000), bid(301, 1_100), bid(302, 1_200))
    outcome = market.relay(market.signed_orders(actors.consumer, bid(303, 1_300), bid(304, 1_400)))
    (event,) = market.events(outcome)
    assert EnteredBundle.from_event(event.args).first_index == 3
    market.buy(actors.consumer, 305, 1_500)
    orders = [o.order for o in market.chain.orders(actors.consumer.address)]
    assert orders == [bid(300 + i, 1_000 + 100 * i) for i in range(6)]


def test_enter_bundles__ended_epoch_not_cleared__clears_and_settles(market, actors):
    market.give_energy(actors.producer, 10_000)
    market.relay(
        market.signed_orders(actors.producer, ask(300, 1_000)), market.signed_orders(actors.consumer, bid(300, 1_000))
    )
    ended = market.epoch
    market.next_epoch()
    outcome = market.relay(
        market.signed_orders(actors.producer, bid(10, 100), nonce=1),
        market.signed_orders(actors.consumer, ask(10, 1_000), nonce=1),
    )
    assert [event.name for event in market.events(outcome)] == ["EpochCleared"] + ["SignedOrderEntered"] * 2
    assert market.chain.results(ZONE, [ended])[0].volume_wh == 1_000
    assert market.account(actors.consumer).energy_escrow_uwh == 1_000 * 10**6


def test_enter_bundles__sent_with_direct_orders__settles_to_the_same(market, actors):
    people = (actors.consumer, actors.other_consumer, actors.third_consumer)
    market.give_energy(actors.producer, 10_000)
    asks = [ask(250, 2_000), ask(260, 1_700)]
    bids = [[bid(300, 1_000)], [bid(260, 3_000), bid(255, 800)], [bid(260, 1_100)]]

    def settled(enter):
        state = market.devnet.snapshot()
        enter()
        market.next_epoch()
        accounts = [replace(market.account(p), nonce=0) for p in (*people, actors.producer)]
        market.devnet.restore(state)
        return accounts

    def directly():
        market.enter(actors.producer, *asks)
        for who, orders in zip(people, bids, strict=True):
            market.enter(who, *orders)

    def relayed():
        signed = [market.signed_orders(who, *orders) for who, orders in zip(people, bids, strict=True)]
        assert not market.skipped(market.relay(market.signed_orders(actors.producer, *asks), *signed))

    assert settled(directly) == settled(relayed)


def test_enter_bundles__participant_without_ether__trades(market, actors):
    poor = KeySigner.from_key(b"\x42" * 32)
    market.register(poor)
    wei = 10 * BAHT
    market.chain.send(actors.issuer, Call("BahtToken", "issue", (poor.address, wei, bytes(32))))
    market.chain.send(actors.outsider, market.permit_deposit_call(poor, MONEY, wei))
    market.relay(market.signed_orders(poor, bid(300, 1_000)))
    assert int(market.chain.node.request("eth_getBalance", poor.address, "latest"), 16) == 0
    assert market.account(poor).order_count == 1
