"""Signed readings: what is refused, who signed, and that our hashing is EIP-712's."""

import json
from dataclasses import replace

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_keys.datatypes import PrivateKey
from eth_utils import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from busbar import errors
from busbar.readings import (
    P256_ORDER,
    InvalidReading,
    MeterDomain,
    Reading,
    SignedReading,
    digest,
    meter_id_bytes,
    meter_id_text,
    p256_key,
    p256_public_key,
    sign,
    sign_p256,
)
from busbar.recovery import key_address

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
KEY = bytes(31) + b"\x2a"
METER = Account.from_key(KEY).address
DOMAIN = MeterDomain(31337, "0x5FbDB2315678afecb367f032d93F642f64180aa3")
READING = Reading("MEA-0001", 1_700_000_900, 12_345, 678)
SIGNED = sign(READING, DOMAIN, KEY)
P256_KEY = p256_key(KEY)
P256_METER = key_address(p256_public_key(P256_KEY))
P256_SIGNED = sign_p256(READING, DOMAIN, P256_KEY)

UINT64 = st.integers(0, 2**64 - 1)
METER_IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=31)
READINGS = st.builds(Reading, METER_IDS, UINT64, UINT64, UINT64)
DOMAINS = st.builds(
    MeterDomain, st.integers(1, 2**256 - 1), st.binary(min_size=20, max_size=20).map(lambda b: "0x" + b.hex())
)
KEYS = st.integers(1, ORDER - 1).map(lambda k: k.to_bytes(32, "big"))


def typed_data_digest(reading, domain):
    """The digest by eth_account's general encoder."""
    message = encode_typed_data(
        full_message={
            "primaryType": "Reading",
            "types": {
                "EIP712Domain": [
                    {"name": "name", "type": "string"},
                    {"name": "version", "type": "string"},
                    {"name": "chainId", "type": "uint256"},
                    {"name": "verifyingContract", "type": "address"},
                ],
                "Reading": [
                    {"name": "meterId", "type": "bytes32"},
                    {"name": "intervalEnd", "type": "uint64"},
                    {"name": "importWh", "type": "uint64"},
                    {"name": "exportWh", "type": "uint64"},
                ],
            },
            "domain": {
                "name": "Busbar Metering",
                "version": "1",
                "chainId": domain.chain_id,
                "verifyingContract": domain.verifying_contract,
            },
            "message": {
                "meterId": reading.meter_id.encode().ljust(32, b"\0"),
                "intervalEnd": reading.interval_end,
                "importWh": reading.import_wh,
                "exportWh": reading.export_wh,
            },
        }
    )
    return keccak(b"\x19" + message.version + message.header + message.body)


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("meter_id", ["", "m" * 32, "มิเตอร์", "a b", " a", "a\n", "a\0", "\x7f", "é"], ids=ascii)
def test_reading__meter_id_that_is_no_plain_text__raises_invalid_reading(meter_id):
    with pytest.raises(InvalidReading, match="meterId: must be 1 to 31 printable ASCII") as caught:
        Reading(meter_id, 0, 0, 0)
    assert isinstance(caught.value, errors.BusbarError)
    assert (caught.value.field, caught.value.value) == ("meterId", meter_id)


@pytest.mark.parametrize("value", [-1, 2**64])
@pytest.mark.parametrize(
    ("name", "field"), [("interval_end", "intervalEnd"), ("import_wh", "importWh"), ("export_wh", "exportWh")]
)
def test_reading__number_beyond_64_bits__raises_invalid_reading(name, field, value):
    with pytest.raises(InvalidReading, match=f"{field}: must be a whole number from 0") as caught:
        replace(READING, **{name: value})
    assert (caught.value.field, caught.value.value) == (field, value)


@pytest.mark.parametrize(("r", "vs"), [(bytes(31), bytes(32)), (bytes(32), bytes(33)), (b"", b"")])
def test_signed_reading__half_of_wrong_length__raises_invalid_signature_length(r, vs):
    with pytest.raises(errors.ECDSAInvalidSignatureLength) as caught:
        SignedReading(READING, r, vs)
    assert caught.value.values == {"length": len(r) + len(vs)}


@pytest.mark.parametrize("s", [ORDER // 2 + 1, 2**255 - 1], ids=["least", "greatest"])
def test_signer__upper_half_s__raises_invalid_signature_s(s):
    with pytest.raises(errors.ECDSAInvalidSignatureS) as caught:
        replace(SIGNED, vs=s.to_bytes(32, "big")).signer(DOMAIN)
    assert caught.value.values == {"s": s.to_bytes(32, "big")}


def test_signer__greatest_s_of_the_lower_half__is_taken():
    assert replace(SIGNED, vs=(ORDER // 2).to_bytes(32, "big")).signer(DOMAIN) != METER


@pytest.mark.parametrize("r", [0, 5, ORDER, 2**256 - 1], ids=["zero", "off the curve", "order", "greatest"])
def test_signer__r_that_no_key_makes__raises_invalid_signature(r):
    with pytest.raises(errors.ECDSAInvalidSignature):
        SignedReading(READING, r.to_bytes(32, "big"), SIGNED.vs).signer(DOMAIN)


def test_signer__zero_s__raises_invalid_signature():
    with pytest.raises(errors.ECDSAInvalidSignature):
        SignedReading(READING, SIGNED.r, bytes(32)).signer(DOMAIN)


ODD_IDS = {
    "no text": b"\xff\xfe".ljust(32, b"\0"),
    "a zero within": b"a\0b".ljust(32, b"\0"),
    "a space": b"a b".ljust(32, b"\0"),
    "no zero": b"m" * 32,
    "hex digits of its own": b"0x" + b"3" * 30,
    "zeros": bytes(32),
}


@pytest.mark.parametrize("raw", ODD_IDS.values(), ids=ODD_IDS)
def test_meter_id_text__bytes_that_are_no_plain_text__is_hex_and_comes_back(raw):
    assert meter_id_text(raw) == "0x" + raw.hex()
    assert meter_id_bytes(meter_id_text(raw)) == raw


@pytest.mark.parametrize(
    "text", ["0x" + meter_id_bytes("m-1").hex(), "0x" + "FF" * 32, "0x" + "ff" * 31, "0x" + "ff" * 33]
)
def test_meter_id_bytes__hex_that_nothing_is_shown_as__raises_invalid_reading(text):
    with pytest.raises(InvalidReading) as caught:
        meter_id_bytes(text)
    assert caught.value.field == "meterId"


MALFORMED = {
    "not json": ("{", "", "is not JSON"),
    "not utf-8": (b"\xff", "", "is not JSON"),
    "deep": ("[" * 1024, "", "is not JSON"),
    "too deep": ("[" * 100_000, "", "is longer than 1024 characters"),
    "number too long": ('{"importWh": ' + "9" * 5_000 + "}", "", "is longer than 1024 characters"),
    "a list": ("[]", "", "must be a JSON object"),
    "empty": ("{}", "meterId", "must be a text"),
}
CHANGED = {
    "unknown field": ({"zone": 1}, "zone", "is no field of a reading"),
    "number as id": ({"meterId": 7}, "meterId", "must be a text"),
    "id too long": ({"meterId": "m" * 32}, "meterId", "must be 1 to 31"),
    "hex as id": ({"meterId": "0x" + "ff" * 32}, "meterId", "must be 1 to 31"),
    "text as number": ({"importWh": "12345"}, "importWh", "must be a whole number"),
    "fraction": ({"importWh": 1.0}, "importWh", "must be a whole number"),
    "truth": ({"exportWh": True}, "exportWh", "must be a whole number"),
    "nothing": ({"intervalEnd": None}, "intervalEnd", "must be a whole number"),
    "negative": ({"exportWh": -1}, "exportWh", "must be a whole number from 0"),
    "too great": ({"exportWh": 2**64}, "exportWh", "must be a whole number from 0"),
    "short r": ({"r": "0x12"}, "r", "must be 0x and 64 hex digits"),
    "spaces in r": ({"r": "0x" + "ab " * 21 + "a"}, "r", "must be 0x and 64 hex digits"),
    "no prefix": ({"vs": "12" * 33}, "vs", "must be 0x and 64 hex digits"),
    "list as vs": ({"vs": []}, "vs", "must be 0x and 64 hex digits"),
}


@pytest.mark.parametrize(("text", "field", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_from_json__no_reading__raises_invalid_reading(text, field, reason):
    with pytest.raises(InvalidReading, match=reason) as caught:
        SignedReading.from_json(text)
    assert caught.value.field == field


@pytest.mark.parametrize(("change", "field", "reason"), CHANGED.values(), ids=CHANGED)
def test_from_json__malformed_field__names_it(change, field, reason):
    with pytest.raises(InvalidReading, match=reason) as caught:
        SignedReading.from_json(json.dumps(json.loads(SIGNED.to_json()) | change))
    assert caught.value.field == field


@pytest.mark.parametrize("field", ["meterId", "intervalEnd", "importWh", "exportWh", "r", "vs"])
def test_from_json__missing_field__names_it(field):
    data = json.loads(SIGNED.to_json())
    del data[field]
    with pytest.raises(InvalidReading) as caught:
        SignedReading.from_json(json.dumps(data))
    assert (caught.value.field, caught.value.value) == (field, None)


@pytest.mark.parametrize("public_key", ["0x12", "0x" + "ab" * 63, "12" * 65, None, 7])
def test_from_json__malformed_public_key__names_it(public_key):
    with pytest.raises(InvalidReading, match="must be 0x and 128 hex digits") as caught:
        SignedReading.from_json(json.dumps(json.loads(P256_SIGNED.to_json()) | {"publicKey": public_key}))
    assert caught.value.field == "publicKey"


# ----------------------------------------------------------------------------- P-256


@pytest.mark.parametrize("length", [1, 63, 65])
def test_signed_reading__public_key_of_wrong_length__raises_invalid_reading(length):
    with pytest.raises(InvalidReading, match="publicKey: must be 64 bytes"):
        replace(P256_SIGNED, public_key=bytes(length))


@pytest.mark.parametrize("secret", [0, P256_ORDER, 2**256 - 1])
def test_p256_key__no_number_of_the_group__raises_value_error(secret):
    with pytest.raises(ValueError, match=r"positive|out of range"):
        p256_key(secret.to_bytes(32, "big"))


@pytest.mark.parametrize("s", [P256_ORDER // 2 + 1, 2**256 - 1])
def test_signer__upper_half_s_of_p256__raises_invalid_signature_s(s):
    with pytest.raises(errors.ECDSAInvalidSignatureS) as caught:
        replace(P256_SIGNED, vs=s.to_bytes(32, "big")).signer(DOMAIN)
    assert caught.value.values == {"s": s.to_bytes(32, "big")}


@pytest.mark.parametrize("changed", [{"r": bytes(32)}, {"vs": bytes(32)}, {"r": b"\xff" * 32}])
def test_signer__p256_half_that_no_key_makes__raises_invalid_signature(changed):
    with pytest.raises(errors.ECDSAInvalidSignature):
        replace(P256_SIGNED, **changed).signer(DOMAIN)


@pytest.mark.parametrize("public_key", [bytes(64), b"\xff" * 64, bytes(31) + b"\5" + bytes(31) + b"\1"])
def test_signer__public_key_off_the_curve__raises_invalid_signature(public_key):
    with pytest.raises(errors.ECDSAInvalidSignature):
        replace(P256_SIGNED, public_key=public_key).signer(DOMAIN)


def test_signer__public_key_of_somebody_else__raises_invalid_signature():
    with pytest.raises(errors.ECDSAInvalidSignature):
        replace(P256_SIGNED, public_key=p256_public_key(p256_key(bytes(31) + b"\7"))).signer(DOMAIN)


@settings(deadline=None)
@given(READINGS, DOMAINS, st.integers(1, P256_ORDER - 1))
def test_sign_p256__any_reading__is_its_keys_with_s_in_the_lower_half(reading, domain, secret):
    key = p256_key(secret.to_bytes(32, "big"))
    signed = sign_p256(reading, domain, key)
    assert signed.signer(domain) == key_address(p256_public_key(key))
    assert 0 < int.from_bytes(signed.vs, "big") <= P256_ORDER // 2
    assert sign_p256(reading, domain, key) == signed


def test_sign_p256__known_reading__never_changes():
    assert P256_METER == "0x74E59698dAc5bfb6227b13165f83DDb57A5F7C1F"
    assert P256_SIGNED.r.hex() == "e76ce8c7490ab94bb3967cb5d5309961e653a199cf6802b80d98d024eec06cae"
    assert P256_SIGNED.vs.hex() == "336c44d7e9d46e5236c893bc2c7ca2de6bebeaeaf31f593464f01b93f5a1efd5"


def test_key_address__of_a_secp256k1_key__is_its_ethereum_address():
    assert key_address(PrivateKey(KEY).public_key.to_bytes()) == METER


def test_to_json__p256__names_the_public_key_and_comes_back():
    assert json.loads(P256_SIGNED.to_json())["publicKey"] == "0x" + P256_SIGNED.public_key.hex()
    assert SignedReading.from_json(P256_SIGNED.to_json()) == P256_SIGNED


# --------------------------------------------------------------------------- hashing


@settings(deadline=None)
@given(READINGS, DOMAINS)
def test_digest__any_reading__is_eth_accounts(reading, domain):
    assert digest(reading, domain) == typed_data_digest(reading, domain)


def test_digest__known_reading__never_changes():
    assert digest(READING, DOMAIN).hex() == "c37c31e35f88d64670ec1b552166c6048fd7bd146486b7ad42d087352ef02436"


# --------------------------------------------------------------------------- signing


@settings(deadline=None)
@given(READINGS, DOMAINS, KEYS)
def test_sign__any_reading__is_recovered_and_is_eth_accounts_signature(reading, domain, key):
    signed = sign(reading, domain, key)
    assert signed.signer(domain) == Account.from_key(key).address
    theirs = Account.unsafe_sign_hash(digest(reading, domain), key)
    assert signed.r == theirs.r.to_bytes(32, "big")
    assert signed.vs == ((theirs.v - 27) << 255 | theirs.s).to_bytes(32, "big")


def test_sign__known_reading__never_changes():
    assert SIGNED.r.hex() == "c32853998bda0e03eff8a472c3d1434cca1f03f7ed9e5abba928d1885e5aed3b"
    assert SIGNED.vs.hex() == "8d104a92f3e78f43226af3d001b9699f12f60e8b2833a18901a6ef4b61d4bfa8"


TAMPERED = {
    "meter": replace(READING, meter_id="MEA-0002"),
    "interval": replace(READING, interval_end=READING.interval_end + 1),
    "import": replace(READING, import_wh=READING.import_wh + 1),
    "export": replace(READING, export_wh=READING.export_wh + 1),
    "registers exchanged": replace(READING, import_wh=READING.export_wh, export_wh=READING.import_wh),
}


@pytest.mark.parametrize("reading", TAMPERED.values(), ids=TAMPERED)
def test_signer__tampered_reading__is_somebody_else(reading):
    assert SIGNED.signer(DOMAIN) == METER
    assert replace(SIGNED, reading=reading).signer(DOMAIN) != METER


@pytest.mark.parametrize(
    "domain",
    [replace(DOMAIN, chain_id=1), replace(DOMAIN, verifying_contract="0x" + "11" * 20)],
    ids=["chain", "contract"],
)
def test_signer__other_domain__is_somebody_else(domain):
    assert SIGNED.signer(domain) != METER


def test_signer__other_parity__is_somebody_else():
    vs = (int.from_bytes(SIGNED.vs, "big") ^ 1 << 255).to_bytes(32, "big")
    assert replace(SIGNED, vs=vs).signer(DOMAIN) != METER


def test_signer__contract_written_in_lower_case__is_the_same():
    lower = MeterDomain(DOMAIN.chain_id, DOMAIN.verifying_contract.lower())
    assert SIGNED.signer(lower) == METER


# --------------------------------------------------------------------------- round trips


@given(METER_IDS)
def test_meter_id__any_text__comes_back(meter_id):
    raw = meter_id_bytes(meter_id)
    assert len(raw) == 32
    assert raw.startswith(meter_id.encode())
    assert meter_id_text(raw) == meter_id


@given(st.binary(min_size=32, max_size=32))
def test_meter_id__any_bytes_of_the_chain__come_back(raw):
    assert meter_id_bytes(meter_id_text(raw)) == raw


@given(READINGS, st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_to_json__any_signed_reading__comes_back(reading, r, vs):
    signed = SignedReading(reading, r, vs)
    assert SignedReading.from_json(signed.to_json()) == signed
    assert SignedReading.from_json(signed.to_json().encode()) == signed


def test_to_json__known_reading__names_fields_as_the_contract_does():
    assert json.loads(SIGNED.to_json()) == {
        "meterId": "MEA-0001",
        "intervalEnd": 1_700_000_900,
        "importWh": 12_345,
        "exportWh": 678,
        "r": "0x" + SIGNED.r.hex(),
        "vs": "0x" + SIGNED.vs.hex(),
    }
