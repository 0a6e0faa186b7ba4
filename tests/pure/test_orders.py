"""Orders: the ranges, the 42 bits, and the ids, as the contracts have them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar import errors
from busbar.orders import Order, OrderId, Side, order_id, unpack_stored

PRODUCER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"

ORDERS = st.builds(Order, st.sampled_from(Side), st.integers(1, 1023), st.integers(100, 10_000_000), st.integers(0, 96))


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("tick", [-1, 0, 1024, 2**24])
def test_order__tick_out_of_range__raises_invalid_tick(tick):
    with pytest.raises(errors.InvalidTick) as caught:
        Order(Side.BID, tick, 100)
    assert caught.value.values == {"tick": tick}


@pytest.mark.parametrize("quantity", [-100, 0, 99, 10_000_001, 2**24])
def test_order__quantity_out_of_range__raises_invalid_quantity(quantity):
    with pytest.raises(errors.InvalidQuantity) as caught:
        Order(Side.ASK, 1, quantity)
    assert caught.value.values == {"quantityWh": quantity}


def test_order__tick_and_quantity_out_of_range__blames_the_tick_as_the_contract_does():
    with pytest.raises(errors.InvalidTick):
        Order(Side.BID, 0, 0)


@pytest.mark.parametrize("bit", [42, 47, 48, 255])
def test_unpack__bits_that_no_order_has__raises_invalid_order(bit):
    word = Order(Side.BID, 5, 100).pack() | 1 << bit
    for unpack in (Order.unpack, unpack_stored):
        with pytest.raises(errors.InvalidOrder) as caught:
            unpack(word)
        assert caught.value.values == {"order": word}


def test_unpack__negative_word__raises_invalid_order():
    with pytest.raises(errors.InvalidOrder):
        Order.unpack(-1)


def test_unpack__tick_zero__raises_invalid_tick():
    with pytest.raises(errors.InvalidTick) as caught:
        Order.unpack(100)
    assert caught.value.values == {"tick": 0}


def test_unpack__cancelled_order__raises_invalid_quantity():
    with pytest.raises(errors.InvalidQuantity) as caught:
        Order.unpack(5 << 24)
    assert caught.value.values == {"quantityWh": 0}


@pytest.mark.parametrize("life", [97, 127])
def test_unpack__stands_longer_than_a_day__raises_invalid_life(life):
    with pytest.raises(errors.InvalidLife) as caught:
        Order.unpack(Order(Side.BID, 5, 100).pack() | life << 35)
    assert caught.value.values == {"life": life}


@pytest.mark.parametrize("life", [-1, 97])
def test_order__life_out_of_range__raises_invalid_life(life):
    with pytest.raises(errors.InvalidLife) as caught:
        Order(Side.BID, 5, 100, life)
    assert caught.value.values == {"life": life}


def test_order_id__index_beyond_the_hundredth__raises_too_many_orders():
    with pytest.raises(errors.TooManyOrders) as caught:
        order_id(PRODUCER, 0, 100)
    assert caught.value.values == {"account": PRODUCER, "count": 101}


@pytest.mark.parametrize(("epoch", "index"), [(-1, 0), (2**27, 0), (0, -1)])
def test_order_id__epoch_or_index_that_cannot_be__raises_value_error(epoch, index):
    with pytest.raises(ValueError, match=f"no order has epoch {epoch} and index {index}"):
        order_id(PRODUCER, epoch, index)


@pytest.mark.parametrize("account", ["", "0x12", PRODUCER + "00", "producer"])
def test_order_id__no_address__raises_value_error(account):
    with pytest.raises(ValueError, match="is no address"):
        order_id(account, 0, 0)


@pytest.mark.parametrize("word", [-1, 2**256, 100 << 160, 255 << 160, 2**27 << 168])
def test_parse__id_that_no_order_can_have__raises_order_not_open(word):
    with pytest.raises(errors.OrderNotOpen) as caught:
        OrderId.parse(word)
    assert caught.value.values == {"orderId": word}


# --------------------------------------------------------------------------- round trips and layout


@given(ORDERS)
def test_pack__any_order__comes_back(order):
    word = order.pack()
    assert word < 2**42
    assert Order.unpack(word) == unpack_stored(word) == order


@given(ORDERS)
def test_unpack_stored__cancelled_order__is_none(order):
    assert unpack_stored(order.pack() & ~(2**24 - 1)) is None


def test_unpack_stored__word_never_written__is_none():
    assert unpack_stored(0) is None


def test_pack__known_orders__have_the_contracts_bits():
    assert Order(Side.BID, 1, 100).pack() == 100 | 1 << 24
    assert Order(Side.ASK, 1023, 10_000_000).pack() == 10_000_000 | 1023 << 24 | 1 << 34
    assert Order(Side.BID, 1, 100, 96).pack() == 100 | 1 << 24 | 96 << 35


@pytest.mark.parametrize(("epochs", "life"), [(0, 5), (3, 2), (5, 0), (9, 0)])
def test_aged__some_epochs_later__stands_so_much_shorter_but_never_below_nothing(epochs, life):
    assert Order(Side.ASK, 7, 100, 5).aged(epochs) == Order(Side.ASK, 7, 100, life)


@given(st.binary(min_size=20, max_size=20), st.integers(0, 2**27 - 1), st.integers(0, 99))
def test_order_id__any_order__comes_back(account, epoch, index):
    word = order_id("0x" + account.hex(), epoch, index)
    parsed = OrderId.parse(word)
    assert (parsed.account.lower(), parsed.epoch, parsed.index) == ("0x" + account.hex(), epoch, index)
    assert order_id(parsed.account, parsed.epoch, parsed.index) == word


def test_order_id__known_order__has_the_contracts_bits_and_a_checksummed_account():
    word = order_id(PRODUCER.lower(), 7, 3)
    assert word == 7 << 168 | 3 << 160 | int(PRODUCER, 16)
    assert OrderId.parse(word) == OrderId(PRODUCER, 7, 3)
