"""An afternoon of signatures: what relayed messages, P-256 meters and replaced devices leave behind."""

import dataclasses

from busbar.chain import cancel_order_for_call, cancel_up_to_for_call, withdraw_for_call
from busbar.devnet import dev_meter_key
from busbar.readings import meter_id_bytes
from busbar.signing import CancelOrder, CancelUpTo, Withdraw
from busbar.units import Asset
from tests.contracts.test_oracle_client import METER, encoded, fulfil, request
from tests.market import BAHT, MONEY, P256, SECP256K1, SimulatedMeter, ask, bid

READINGS = 7
"""Signed readings that counted or were recorded."""


def trade_by_signature(market):
    """Bundles (one skipped), signed cancels, a withdrawal and a deposit for others, readings on both curves."""
    actors, send = market.actors, market.chain.send
    roof = market.meter("roof", actors.producer, key_type=P256)
    shop = market.meter("shop", actors.consumer, kind=2)
    market.to_epoch(5)
    market.submit(roof.read(export_wh=3_000), shop.read(import_wh=1_500))
    asked = request(market, actors.oracle_operator, METER, meter_id_bytes("roof"))
    fulfil(market, asked, encoded(roof.read(export_wh=10, at=market.chain.head().timestamp)))
    market.relay(
        market.signed_orders(actors.producer, ask(300, 1_000), ask(310, 600), ask(320, 200), nonce=3),
        market.signed_orders(actors.consumer, bid(350, 1_200)),
        market.signed_orders(actors.other_consumer, bid(310, 143), bid(305, 100), nonce=7),
        market.signed_orders(actors.third_producer, ask(300, 1_000)),
    )
    market.enter(actors.consumer, bid(340, 300))
    cancel = CancelOrder(actors.producer.address, market.epoch, 2, ask(320, 200))
    send(actors.outsider, cancel_order_for_call(cancel, market.signature(actors.producer, cancel)))
    stop = CancelUpTo(actors.third_consumer.address, 41)
    send(actors.outsider, cancel_up_to_for_call(stop, market.signature(actors.third_consumer, stop)))
    money = Withdraw(actors.consumer.address, Asset.MONEY, 3 * BAHT, actors.producer.address, 1, 2**63)
    send(actors.outsider, withdraw_for_call(money, market.signature(actors.consumer, money)))
    send(actors.outsider, market.permit_deposit_call(actors.producer, MONEY, 3 * BAHT))
    replace_with_late_reading(market, roof, P256, SECP256K1)
    replace_with_late_reading(market, shop, SECP256K1, P256)
    market.next_epoch()
    market.clear()
    market.relay(market.signed_orders(actors.consumer, bid(200, 500), nonce=2))


def replace_with_late_reading(market, old, key_type, new_type):
    """Another device takes a meter's place; a reading of the old one from before arrives afterwards."""
    late = dataclasses.replace(old).read(import_wh=5, at=market.chain.head().timestamp)
    market.pass_time(60)
    key = dev_meter_key(901 + new_type)
    market.replace_meter(old, key, (old.import_wh + 50, old.export_wh), (7, 8), key_type=new_type)
    new = SimulatedMeter(market, old.meter_id, key, 7, 8, new_type)
    assert old.key_type is key_type
    market.submit(late)
    market.submit(new.read(import_wh=11))
