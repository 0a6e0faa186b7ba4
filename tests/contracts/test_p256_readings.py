"""Readings of P-256 meters: with the precompile of EIP-7951, and on a chain without it. The same is accepted."""

import dataclasses

import pytest
from eth_utils.crypto import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from busbar import errors
from busbar.devnet import Devnet
from busbar.readings import (
    P256_ORDER,
    MeterDomain,
    Reading,
    key_address,
    meter_id_bytes,
    p256_key,
    p256_public_key,
    sign,
    sign_p256,
)
from tests.machines.abi import events
from tests.machines.worlds import CHAIN_ID, GENESIS, AnvilWorld, RevmWorld, World, address_of, machine_key
from tests.market import P256, SECP256K1, reverts

FIELD = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
CURVE_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
NOT_NEWER, BAD_SIGNATURE = 4, 6
FIRST_WH = 1_000
KEY, OTHER_KEY = p256_key(keccak(text="a meter")), p256_key(keccak(text="another meter"))
THIRD_KEY = p256_key(keccak(text="a third meter"))
PUBLIC_KEY, OTHER_PUBLIC_KEY = p256_public_key(KEY), p256_public_key(OTHER_KEY)


PRECOMPILE = "0x" + "100".rjust(40, "0")
KNOWN_GOOD = b"".join(
    bytes.fromhex(part)
    for part in (
        "bb5a52f42f9c9261ed4361f59422a1e30036e7c32b270c8807a419feca605023",
        "0000000000000000000000000000000000000000000000000000000000000005",
        "0000000000000000000000000000000000000000000000000000000000000001",
        "a71af64de5126a4a4e02b7922d66ce9415ce88a4c9d25514d91082c8725ac957",
        "5d47723c8fbe580bb369fec9c2665d8e30a435b9932645482e7c9f11e872296b",
    )
)


def word(number):
    return number.to_bytes(32, "big")


class P256Market:
    """A market whose producer has the P-256 meters m-1 and m-2 and the secp256k1 meter m-3."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.call("regulator", "Trading", "openZone", 1, 0)
        self.call("distributor", "Registry", "registerUser", self.address("producer"), 1, bytes(32))
        self.assign("m-1", key_address(PUBLIC_KEY), P256)
        self.assign("m-2", key_address(OTHER_PUBLIC_KEY), P256)
        self.assign("m-3", address_of(machine_key("m-3")), SECP256K1)
        self.pass_time(60)

    def address(self, actor):
        return address_of(self.world.keys[actor])

    def pass_time(self, seconds):
        self.world.move_to(self.world.now + seconds, self.world.block + 1)

    def call(self, actor, contract, function, *args):
        return self.world.send(self.address(actor), contract, function, args)

    def assign(self, meter_id, key, key_type):
        config = (self.address("producer"), key, key_type, 1, 1, 10**9, 10**9, FIRST_WH, FIRST_WH)
        self.call("distributor", "Registry", "assignMeter", meter_id_bytes(meter_id), config)

    @property
    def domain(self):
        return MeterDomain(CHAIN_ID, self.world.addresses["Metering"])

    def read(self, meter_id="m-1", export_wh=10, at=None):
        return Reading(meter_id, self.world.now if at is None else at, FIRST_WH, FIRST_WH + export_wh)

    def signed(self, key=KEY, **reading):
        return sign_p256(self.read(**reading), self.domain, key)

    def secp_signed(self, **reading):
        return sign(self.read(meter_id="m-3", **reading), self.domain, machine_key("m-3").to_bytes())

    def submit(self, *readings, keys=None):
        """Submits readings with their keys, or with these; gives the reasons, 0 for what was accepted."""
        found = [halves(s.public_key) for s in readings if s.public_key] if keys is None else keys
        answer = self.call("minter", "Metering", "submitReadings", [entry(s) for s in readings], found)
        skipped = events("Metering")["ReadingSkipped"].topic
        return [
            int.from_bytes(data[-32:], "big") if topics[0] == skipped else 0
            for contract, topics, data in answer.logs
            if contract == "Metering"
        ]

    def minted_wh(self):
        (supply,) = self.world.read([("GridToken", "totalSupply", ())])
        return int.from_bytes(supply, "big") // 10**15

    def authentic(self, signed):
        keys = (halves(signed.public_key),) if signed.public_key else ()
        (answer,) = self.world.read([("Metering", "isAuthentic", (entry(signed), keys))])
        return bool(int.from_bytes(answer, "big"))


def halves(public_key):
    return (public_key[:32], public_key[32:])


def entry(signed):
    reading = signed.reading
    registers = (reading.interval_end, reading.import_wh, reading.export_wh)
    return (meter_id_bytes(reading.meter_id), *registers, signed.r, signed.vs)


@pytest.fixture(scope="module", params=["precompile", "solidity"])
def deployed_p256(request, tmp_path_factory):
    """On a node with Osaka's rules, and in an EVM that has no such precompile."""
    if request.param == "solidity":
        yield P256Market(RevmWorld())
        return
    with Devnet(timestamp=GENESIS + 60) as devnet:
        yield P256Market(AnvilWorld(devnet, tmp_path_factory.mktemp("p256")))


@pytest.fixture
def market(deployed_p256):
    with deployed_p256.world.rolled_back():
        yield deployed_p256


def is_refused(market, signed, reason=BAD_SIGNATURE):
    assert market.submit(signed) == [reason]
    assert market.minted_wh() == 0


# -------------------------------------------------------------------------- accepted


def test_submit_readings__signed_with_p256__mints(market):
    assert market.submit(market.signed(export_wh=70)) == [0]
    assert market.minted_wh() == 70


def test_p256_precompile__of_the_two_chains__is_on_one(market):
    """Or the same path would be tested twice. The signature is the one by which OpenZeppelin tells, too."""
    if isinstance(market.world, AnvilWorld):
        request = {"to": PRECOMPILE, "data": "0x" + KNOWN_GOOD.hex()}
        assert market.world.devnet.node.request("eth_call", request, "latest") == "0x" + word(1).hex()
    else:
        evm = market.world.evm
        assert bytes(evm.message_call(market.address("outsider"), PRECOMPILE, calldata=KNOWN_GOOD)) == b""


def test_submit_readings__p256_without_the_precompile__takes_below_400_000_gas_more():
    market = P256Market(RevmWorld())
    gas = []
    for sign_one in (market.secp_signed, market.secp_signed, market.signed):
        market.pass_time(60)
        assert market.submit(sign_one(export_wh=20 + len(gas))) == [0]
        gas.append(market.world.evm.result.gas_used)
    _, plain, solidity = gas
    assert 100_000 < solidity - plain < 400_000


def test_submit_readings__both_curves_in_a_batch__each_counts(market):
    batch = [market.secp_signed(), market.signed(), market.signed(OTHER_KEY, meter_id="m-2")]
    assert market.submit(*batch) == [0, 0, 0]
    assert market.minted_wh() == 30


def test_submit_readings__a_p256_duplicate__is_skipped(market):
    signed = market.signed()
    assert market.submit(signed, signed) == [0, NOT_NEWER]
    assert market.minted_wh() == 10


# --------------------------------------------------------------------------- refused


def test_submit_readings__more_keys_than_readings__reverts(market):
    signed = market.signed()
    key = halves(signed.public_key)
    with reverts(errors.TooManyKeys, keys=2, readings=1):
        market.submit(signed, keys=[key, key])


@pytest.mark.parametrize("field", ["interval_end", "import_wh", "export_wh"])
def test_submit_readings__p256_tampered_with__is_skipped(market, field):
    signed = market.signed(at=market.world.now - 5)
    changed = dataclasses.replace(signed.reading, **{field: getattr(signed.reading, field) + 1})
    is_refused(market, dataclasses.replace(signed, reading=changed))


@pytest.mark.parametrize("public_key", [PUBLIC_KEY, OTHER_PUBLIC_KEY], ids=["its own", "the signer's"])
def test_submit_readings__signed_by_another_p256_meter__is_skipped(market, public_key):
    is_refused(market, dataclasses.replace(market.signed(OTHER_KEY), public_key=public_key))


def test_submit_readings__p256_keys_exchanged__are_skipped(market):
    first, second = market.signed(), market.signed(OTHER_KEY, meter_id="m-2")
    keys = [halves(s.public_key) for s in (second, first)]
    assert market.submit(first, second, keys=keys) == [BAD_SIGNATURE, BAD_SIGNATURE]


def test_submit_readings__p256_key_left_out__is_skipped(market):
    assert market.submit(market.signed(), keys=[]) == [BAD_SIGNATURE]


def test_submit_readings__secp256k1_meter_with_a_p256_key__is_skipped(market):
    """Its own public key, as a point of the wrong curve."""
    own = machine_key("m-3").public_key.to_bytes()
    is_refused(market, dataclasses.replace(market.secp_signed(), public_key=own))
    is_refused(market, dataclasses.replace(market.signed(meter_id="m-3"), public_key=own))


@pytest.mark.parametrize("which", ["r", "vs"])
@pytest.mark.parametrize("value", [0, P256_ORDER, P256_ORDER + 1, 2**256 - 1])
def test_submit_readings__p256_half_out_of_range__is_skipped(market, which, value):
    is_refused(market, dataclasses.replace(market.signed(), **{which: word(value)}))


def test_submit_readings__the_p256_signatures_twin__is_skipped(market):
    signed = market.signed()
    s = int.from_bytes(signed.vs, "big")
    for twin in (P256_ORDER - s, s | 1 << 255):
        is_refused(market, dataclasses.replace(signed, vs=word(twin)))


@pytest.mark.parametrize(
    ("x", "y"),
    [(0, 0), (5, 1), (FIELD, 1), (2**256 - 1, 2**256 - 1)],
    ids=["infinity", "off the curve", "beyond the field", "greatest"],
)
def test_submit_readings__key_that_is_no_point_of_the_curve__is_skipped(market, x, y):
    """Registered all the same: Registry sees a key's address only."""
    key = word(x) + word(y)
    market.assign("m-4", key_address(key), P256)
    market.pass_time(60)
    is_refused(market, dataclasses.replace(market.signed(meter_id="m-4"), public_key=key))


def test_submit_readings__key_with_a_coordinate_beyond_the_field__is_skipped(market):
    """x = 0 is on the curve and FIELD is the same number modulo the field: a key has one spelling."""
    y = pow(CURVE_B, (FIELD + 1) // 4, FIELD)
    assert y * y % FIELD == CURVE_B
    key = word(FIELD) + word(y)
    market.assign("m-4", key_address(key), P256)
    market.pass_time(60)
    is_refused(market, dataclasses.replace(market.signed(meter_id="m-4"), public_key=key))


@pytest.mark.parametrize("changed", ["chain", "contract"])
def test_submit_readings__p256_signed_for_elsewhere__is_skipped(market, changed):
    domain = MeterDomain(CHAIN_ID + 1, market.domain.verifying_contract)
    if changed == "contract":
        domain = MeterDomain(CHAIN_ID, market.world.addresses["Trading"])
    is_refused(market, sign_p256(market.read(), domain, KEY))


# ---------------------------------------------------------------- replaced, and the mirror


def test_replace_meter__by_a_device_of_the_other_curve__its_key_counts(market):
    args = (key_address(p256_public_key(THIRD_KEY)), P256, FIRST_WH, FIRST_WH, 0, 0)
    market.call("distributor", "Registry", "replaceMeter", meter_id_bytes("m-3"), *args)
    market.pass_time(60)
    assert market.submit(market.secp_signed()) == [BAD_SIGNATURE]
    new = sign_p256(Reading("m-3", market.world.now, 0, 7), market.domain, THIRD_KEY)
    assert market.submit(new) == [0]
    assert market.minted_wh() == 7


HALVES = st.one_of(
    st.none(),
    st.sampled_from((0, 1, P256_ORDER // 2, P256_ORDER // 2 + 1, P256_ORDER - 1, P256_ORDER)),
    st.integers(0, 2**256 - 1),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, P256_ORDER - 1), HALVES, HALVES, st.booleans(), st.integers(0, 2**48 - 1))
def test_is_authentic__any_signature__is_what_python_says(market, secret, r, s, flip, export_wh):
    key = p256_key(word(secret))
    signed = sign_p256(market.read("m-4", export_wh, at=1), market.domain, key)
    named = key_address(signed.public_key)
    if r is not None:
        signed = dataclasses.replace(signed, r=word(r))
    if s is not None:
        signed = dataclasses.replace(signed, vs=word(s))
    if flip:
        signed = dataclasses.replace(signed, vs=word(P256_ORDER - int.from_bytes(signed.vs, "big") % P256_ORDER))
    try:
        expected = signed.signer(market.domain) == named
    except (errors.ECDSAInvalidSignature, errors.ECDSAInvalidSignatureS):
        expected = False
    with market.world.rolled_back():
        market.assign("m-4", named, P256)
        assert market.authentic(signed) == expected
