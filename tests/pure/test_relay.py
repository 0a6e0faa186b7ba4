"""What goes when: turns, batches, and the order inside a batch."""

import pytest

from busbar import errors
from busbar.orders import Order, Side
from busbar.relay import Waiting, bundle_id, cut, deal
from busbar.signing import Bundle, InvalidMessage, SignedBundle
from busbar.units import MAX_ORDERS


def waiting(who, nonce=0, tick=100, orders=1):
    account = f"0x{who:040x}"
    bundle = Bundle(account, 1, nonce, 5, 5, (Order(Side.BID, tick, 1_000),) * orders)
    return Waiting(f"{who}/{nonce}/{tick}", SignedBundle(bundle, bytes(64)), 0, False)


def tenth(_):
    return 0.1


def keys(entries):
    return [entry.key for entry in entries]


def test_deal__one_has_many__everybody_goes_before_the_second_of_anybody():
    crowd = [waiting(1, nonce) for nonce in range(50)] + [waiting(2), waiting(3)]
    assert keys(deal(crowd, tenth, 0.5)) == ["1/0/100", "2/0/100", "3/0/100", "1/1/100", "1/2/100"]


def test_deal__one_has_many__gets_a_batch_at_most():
    crowd = [waiting(1, nonce) for nonce in range(50)] + [waiting(2)]
    assert len(deal(crowd, tenth, 5)) == 11


def test_deal__higher_nonce_came_first__lower_one_goes_first():
    assert keys(deal([waiting(1, 7), waiting(1, 5), waiting(1, 6)], tenth, 1)) == ["1/5/100", "1/6/100", "1/7/100"]


def test_deal__two_with_the_same_nonce__the_first_accepted_goes_first():
    assert keys(deal([waiting(1, 7, 200), waiting(1, 7, 100)], tenth, 1)) == ["1/7/200", "1/7/100"]


def test_deal__room_for_less_than_one__one_goes():
    assert keys(deal([waiting(1), waiting(2)], lambda _: 3.0, 0.5)) == ["1/0/100"]


def test_deal__full__the_rest_comes_next_in_the_same_turns():
    crowd = [waiting(who, nonce) for who in (1, 2, 3) for nonce in (0, 1)]
    first = deal(crowd, tenth, 0.35)
    rest = deal([entry for entry in crowd if entry not in first], tenth, 1)
    assert keys(first + rest) == ["1/0/100", "2/0/100", "3/0/100", "1/1/100", "2/1/100", "3/1/100"]


def test_cut__random_ticks__a_batch_is_sorted_by_tick():
    (batch,) = cut([waiting(1, 0, 900), waiting(2, 0, 3), waiting(3, 0, 40)], tenth)
    assert keys(batch) == ["2/0/3", "3/0/40", "1/0/900"]


def test_cut__lower_nonce_has_the_higher_tick__nonces_ascend_all_the_same():
    (batch,) = cut([waiting(1, 5, 900), waiting(1, 6, 100), waiting(2, 0, 500)], tenth)
    assert keys(batch) == ["1/5/900", "2/0/500", "1/6/100"]


def test_cut__more_than_a_batch__no_batch_is_overfull():
    batches = cut([waiting(who, 0, 1 + who * 37 % 1_000) for who in range(1, 38)], tenth)
    assert [len(batch) for batch in batches] == [10, 10, 10, 7]
    ticks = [entry.bundle.lowest_tick for batch in batches for entry in batch]
    assert ticks == sorted(ticks)


def test_cut__several_of_an_account__are_in_one_batch():
    entries = [waiting(1 + nonce % 3, nonce, 1 + nonce * 377 % 1_000) for nonce in range(12)]
    batches = cut(entries, lambda _: 0.2)
    assert sum(map(len, batches)) == 12
    held = [{entry.account for entry in batch} for batch in batches]
    assert all(not one & other for one in held for other in held if one is not other)


def test_cut__one_takes_more_than_a_batch__goes_alone():
    assert [len(batch) for batch in cut([waiting(1), waiting(2)], lambda _: 1.5)] == [1, 1]


def test_bundle_id__other_signature__is_another():
    entry = waiting(1).signed
    assert bundle_id(entry) != bundle_id(SignedBundle(entry.bundle, bytes(63) + b"1"))
    assert bundle_id(entry).startswith(entry.bundle.account)


@pytest.mark.parametrize(("length", "orders"), [(64, 1), (64, MAX_ORDERS), (65, 1), (300, 3)])
def test_packed_bytes__any_signature__is_the_length_packed(length, orders):
    signed = SignedBundle(waiting(1, orders=orders).bundle, bytes(length))
    assert signed.packed_bytes == len(signed.pack())


def test_from_fields__fields_of_a_bundle__are_the_bundle():
    bundle = waiting(1, 3, 77, 2).bundle
    assert Bundle.from_fields(bundle.fields()) == bundle


@pytest.mark.parametrize(
    "change", [{"source": 1}, {"orders": None}, {"account": "0x1"}, {"nonce": 2**32}, {"orders": [{"action": "lend"}]}]
)
def test_from_fields__field_that_is_none_of_ours__is_refused(change):
    with pytest.raises(InvalidMessage):
        Bundle.from_fields(waiting(1).bundle.fields() | change)


def test_from_fields__impossible_tick__is_refused_by_its_name():
    fields = waiting(1).bundle.fields()
    fields["orders"][0]["limitTicksPerKWh"] = 1_024
    with pytest.raises(errors.InvalidTick):
        Bundle.from_fields(fields)
