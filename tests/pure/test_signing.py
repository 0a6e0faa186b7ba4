"""Messages as wallets show them and as contracts check them; signatures, and bundles as they are packed."""

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from busbar import errors
from busbar.orders import Order, Side
from busbar.signing import (
    LAST_NONCE,
    MAX_BATCH_BYTES,
    Bundle,
    CancelOrder,
    CancelUpTo,
    EnteredBundle,
    InvalidMessage,
    SignedBundle,
    TradingDomain,
    Withdraw,
    compact,
    digest,
    pack_batch,
    sign,
    signer,
    typed_data,
)
from busbar.units import Asset

KEY = b"\x07" * 32
ACCOUNT = Account.from_key(KEY).address
SOMEBODY = "0x00000000000000000000000000000000000000AA"
DOMAIN = TradingDomain(31337, "0x00000000000000000000000000000000000000bb")
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

orders = st.builds(Order, st.sampled_from(Side), st.integers(1, 1023), st.integers(100, 10_000_000), st.integers(0, 96))
nonces = st.integers(0, LAST_NONCE)
epochs = st.integers(0, 2**32 - 97)
bundles = st.builds(
    Bundle,
    st.just(ACCOUNT),
    st.integers(0, 255),
    nonces,
    epochs,
    epochs,
    st.lists(orders, min_size=1, max_size=4).map(tuple),
)
messages = st.one_of(
    bundles,
    st.builds(CancelOrder, st.just(ACCOUNT), epochs, st.integers(0, 99), orders),
    st.builds(CancelUpTo, st.just(ACCOUNT), nonces),
    st.builds(
        Withdraw,
        st.just(ACCOUNT),
        st.sampled_from(Asset),
        st.integers(0, 2**256 - 1),
        st.just(SOMEBODY),
        nonces,
        st.integers(0, 2**64 - 1),
    ),
)


def bundle(**changes):
    values = {
        "account": ACCOUNT,
        "zone": 1,
        "nonce": 5,
        "first_epoch": 10,
        "last_epoch": 12,
        "orders": (Order(Side.BID, 310, 2_500),),
    }
    return Bundle(**(values | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"account": "0x12"},
        {"zone": 256},
        {"zone": -1},
        {"nonce": LAST_NONCE + 1},
        {"first_epoch": 2**32},
        {"last_epoch": -1},
    ],
)
def test_bundle__field_does_not_fit__raises(changes):
    with pytest.raises(InvalidMessage):
        bundle(**changes)


def test_bundle__no_order__raises():
    with pytest.raises(errors.NoOrders):
        bundle(orders=())


def test_bundle__more_than_100_orders__raises():
    with pytest.raises(errors.TooManyOrders):
        bundle(orders=(Order(Side.BID, 310, 2_500),) * 101)


def test_typed_data__of_a_bundle__reads_in_words():
    shown = typed_data(bundle(orders=(Order(Side.BID, 310, 2_500), Order(Side.ASK, 420, 700, 24))), DOMAIN)
    assert shown["primaryType"] == "Orders"
    assert shown["domain"]["name"] == "Busbar Trading"
    assert shown["message"] == {
        "account": ACCOUNT,
        "zone": 1,
        "source": 0,
        "nonce": 5,
        "firstEpoch": 10,
        "lastEpoch": 12,
        "orders": [
            {"action": "buy", "energyWh": 2_500, "limitTicksPerKWh": 310, "untilEpoch": 10},
            {"action": "sell", "energyWh": 700, "limitTicksPerKWh": 420, "untilEpoch": 34},
        ],
    }


@given(messages)
def test_digest__any_message__is_what_a_wallet_signs(message):
    signed = Account.sign_message(encode_typed_data(full_message=typed_data(message, DOMAIN)), KEY)
    assert signed.message_hash == digest(message, DOMAIN)
    assert signer(message, DOMAIN, compact(bytes(signed.signature))) == ACCOUNT


@given(messages)
def test_sign__any_message__is_recovered(message):
    assert signer(message, DOMAIN, sign(message, DOMAIN, KEY)) == ACCOUNT


@pytest.mark.parametrize(
    "domain", [TradingDomain(1, DOMAIN.verifying_contract), TradingDomain(31337, SOMEBODY)], ids=["chain", "market"]
)
def test_signer__of_another_domain__is_somebody_else(domain):
    signed = SignedBundle.by(bundle(), domain, KEY)
    assert signed.is_by_key(domain)
    assert not signed.is_by_key(DOMAIN)


def test_compact__upper_half_s__raises():
    signature = sign(bundle(), DOMAIN, KEY)
    twin = CURVE_ORDER - (int.from_bytes(signature[32:], "big") & (2**255 - 1))
    with pytest.raises(errors.ECDSAInvalidSignatureS):
        compact(signature[:32] + twin.to_bytes(32, "big") + bytes([27]))


def test_signer__upper_half_s__raises():
    with pytest.raises(errors.ECDSAInvalidSignatureS):
        signer(bundle(), DOMAIN, b"\x01" * 32 + (CURVE_ORDER // 2 + 1).to_bytes(32, "big"))


@pytest.mark.parametrize("v", [0, 1, 26, 29, 255])
def test_compact__v_is_not_27_or_28__raises(v):
    with pytest.raises(errors.ECDSAInvalidSignature):
        compact(bytes(31) + b"\x01" + bytes(31) + b"\x01" + bytes([v]))


@pytest.mark.parametrize("length", [0, 64, 66])
def test_compact__other_length__raises(length):
    with pytest.raises(errors.ECDSAInvalidSignatureLength):
        compact(bytes(length))


def test_signer__zero_signature__raises():
    with pytest.raises(errors.ECDSAInvalidSignature):
        signer(bundle(), DOMAIN, bytes(64))


def test_pack__one_order__has_103_bytes_as_drawn():
    packed = bundle().pack(b"\x11" * 64)
    assert packed == (
        bytes.fromhex(ACCOUNT[2:])
        + (5).to_bytes(4, "big")
        + (10).to_bytes(4, "big")
        + (12).to_bytes(4, "big")
        + b"\x01"
        + (310 << 24 | 2_500).to_bytes(6, "big")
        + b"\x11" * 64
    )
    assert len(packed) == 103


def test_pack__signature_of_another_length__is_preceded_by_it():
    packed = bundle().pack(b"\x22" * 300)
    assert packed[32] == 0x81
    assert packed[39:] == (300).to_bytes(2, "big") + b"\x22" * 300


def test_pack__signature_too_long__raises():
    with pytest.raises(InvalidMessage):
        bundle().pack(bytes(2**16))


def test_pack_batch__too_large__raises():
    signed = SignedBundle(bundle(), bytes(64))
    assert len(pack_batch([signed] * (MAX_BATCH_BYTES // 103))) <= MAX_BATCH_BYTES
    with pytest.raises(errors.BatchTooLarge) as caught:
        pack_batch([signed] * (MAX_BATCH_BYTES // 103 + 1))
    assert caught.value.values["maximum"] == MAX_BATCH_BYTES


@given(bundles, st.integers(0, 99))
def test_entered_bundle__of_either_event__is_what_entered(message, first_index):
    place = message.first_epoch << 48 | message.zone << 40 | first_index << 32 | message.nonce
    packed = [order.pack() for order in message.orders]
    args = {"account": ACCOUNT, "place": place, "orders": b"".join(o.to_bytes(6, "big") for o in packed)}
    expected = EnteredBundle(ACCOUNT, message.first_epoch, message.zone, first_index, message.nonce, message.orders)
    assert EnteredBundle.from_event(args) == expected
    if len(packed) == 1:
        assert EnteredBundle.from_event({"account": ACCOUNT, "placed": place << 48 | packed[0]}) == expected
