"""assignMeter, replaceMeter, revokeMeter and the constructor: whose meters count."""

import pytest

from busbar import errors
from busbar.chain import Call, Chain, KeySigner
from busbar.devnet import dev_meter_key
from busbar.readings import meter_id_bytes
from tests.market import P256, SimulatedMeter, reverts

ZERO = "0x" + "00" * 20
ACTIVE, REVOKED = 1, 2
PROSUMER, CONSUMER = 1, 2
NOT_NEWER, REVOKED_METER, BAD_SIGNATURE = 4, 2, 6
WAITING = 1
KEY = dev_meter_key(500)
METER = meter_id_bytes("m-1")

FIELDS = ("owner", "key", "key_type", "kind", "source", "import_w", "export_w", "import_wh", "export_wh")


def config(market, **changed):
    """A good meter's configuration, with fields changed."""
    good = {
        "owner": market.actors.producer.address,
        "key": KeySigner.from_key(KEY).address,
        "key_type": 0,
        "kind": PROSUMER,
        "source": 1,
        "import_w": 10_000,
        "export_w": 5_000,
        "import_wh": 1_000,
        "export_wh": 2_000,
    }
    return tuple({**good, **changed}[name] for name in FIELDS)


def assign(market, meter_id=METER, by=None, **changed):
    call = Call("Registry", "assignMeter", (meter_id, config(market, **changed)))
    return market.chain.send(by or market.actors.distributor, call)


def replace(market, meter, new_key, final, initial, by=None):
    return market.replace_meter(meter, new_key, final, initial, by=by)


def revoke(market, meter_id, by=None):
    call = Call("Registry", "revokeMeter", (meter_id_bytes(meter_id),))
    return market.chain.send(by or market.actors.distributor, call)


# -------------------------------------------------------------------- assignMeter


@pytest.mark.parametrize("role", ["regulator", "minter", "oracle_operator", "producer", "outsider"])
def test_assign_meter__without_the_distributors_role__reverts(market, role):
    sender = getattr(market.actors, role)
    with reverts(errors.AccessManagedUnauthorized, caller=sender.address):
        assign(market, by=sender)


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("kind", {"kind": 0}),
        ("ratedImportW", {"import_w": 0}),
        ("ratedExportW", {"export_w": 0}),
        ("ratedExportW", {"kind": CONSUMER, "source": 0}),
        ("source", {"source": 0}),
        ("source", {"kind": CONSUMER, "export_w": 0}),
        ("key", {"key": ZERO}),
    ],
)
def test_assign_meter__field_without_sense__reverts_naming_it(market, field, changed):
    with reverts(errors.InvalidMeter, meterId=METER, field=field):
        assign(market, **changed)


def test_assign_meter__id_zero__reverts(market):
    with reverts(errors.InvalidMeter, meterId=bytes(32), field="meterId"):
        assign(market, meter_id=bytes(32))


@pytest.mark.parametrize("changed", [{"key_type": 2}, {"kind": 3}, {"source": 6}])
def test_assign_meter__beyond_an_enum__reverts_without_data(market, changed):
    with reverts(errors.UnknownRevert) as caught:
        assign(market, **changed)
    assert caught.value.data == b""


def test_assign_meter__p256_key__is_kept_by_its_address_and_its_curve(market):
    key = P256.address(KEY)
    assign(market, key=key, key_type=P256)
    assert market.chain.view("Registry", "meterOf", METER)[:2] == (key, P256)
    assert market.chain.view("Registry", "meterOfKey", key) == METER


def test_assign_meter__p256_key_of_another_meter__reverts(market, actors):
    key = P256.address(KEY)
    assign(market, key=key, key_type=P256)
    with reverts(errors.KeyInUse, key=key, meterId=METER):
        assign(market, meter_id=meter_id_bytes("m-2"), owner=actors.consumer.address, key=key, key_type=P256)


def test_assign_meter__id_taken__reverts(market):
    assign(market)
    other = KeySigner.from_key(dev_meter_key(501)).address
    with reverts(errors.MeterExists, meterId=METER):
        assign(market, key=other)


def test_assign_meter__id_of_a_revoked_meter__reverts(market):
    assign(market)
    revoke(market, "m-1")
    with reverts(errors.MeterExists, meterId=METER):
        assign(market, key=KeySigner.from_key(dev_meter_key(501)).address)


def test_assign_meter__key_of_another_meter__reverts(market, actors):
    assign(market)
    with reverts(errors.KeyInUse, key=KeySigner.from_key(KEY).address, meterId=METER):
        assign(market, meter_id=meter_id_bytes("m-2"), owner=actors.consumer.address)


def test_assign_meter__key_of_a_revoked_meter__reverts(market):
    assign(market)
    revoke(market, "m-1")
    with reverts(errors.KeyInUse, meterId=METER):
        assign(market, meter_id=meter_id_bytes("m-2"))


def test_assign_meter__key_that_was_replaced__reverts(market, actors):
    meter = market.meter("m-1", actors.producer)
    replace(market, meter, KEY, (meter.import_wh, meter.export_wh), (0, 0))
    with reverts(errors.KeyInUse, meterId=METER):
        assign(market, meter_id=meter_id_bytes("m-2"), key=KeySigner.from_key(meter.key).address)


def test_assign_meter__owner_not_registered__reverts(market, actors):
    with reverts(errors.NotRegistered, account=actors.outsider.address):
        assign(market, owner=actors.outsider.address)


def test_assign_meter__eleventh__reverts_even_if_one_was_revoked(market, actors):
    for i in range(10):
        market.assign_meter(f"m-{i}", actors.producer, key=dev_meter_key(600 + i))
    assert len(market.chain.view("Registry", "metersOf", actors.producer.address)) == 10
    assert market.chain.view("Registry", "participantOf", actors.producer.address)[3] == 10
    for _ in range(2):
        with reverts(errors.TooManyMeters, owner=actors.producer.address, maximum=10):
            market.assign_meter("m-10", actors.producer, key=dev_meter_key(610))
        if market.chain.view("Registry", "meterOf", meter_id_bytes("m-3"))[2] == ACTIVE:
            revoke(market, "m-3")
    market.assign_meter("m-10", actors.consumer, key=dev_meter_key(610))


def test_assign_meter__prosumer__is_recorded_and_its_registers_opened(market, actors):
    outcome = assign(market)

    now = market.chain.head().timestamp
    key = KeySigner.from_key(KEY).address
    (assigned,) = market.events(outcome, "MeterAssigned")
    assert assigned.args["meterId"] == METER
    assert assigned.args["owner"] == actors.producer.address
    told = dict(assigned.args["config"])
    assert told == {
        "owner": actors.producer.address,
        "key": key,
        "keyType": 0,
        "kind": PROSUMER,
        "source": 1,
        "ratedImportW": 10_000,
        "ratedExportW": 5_000,
        "importWh": 1_000,
        "exportWh": 2_000,
    }
    (opened,) = market.events(outcome, "RegisterOpened")
    assert opened.args == {"meterId": METER, "openedAt": now, "importWh": 1_000, "exportWh": 2_000}
    record = market.chain.view("Registry", "meterOf", METER)
    assert record == (key, 0, ACTIVE, PROSUMER, 1, now, actors.producer.address, 10_000, 5_000)
    assert market.chain.view("Registry", "meterOfKey", key) == METER
    assert list(market.chain.view("Registry", "metersOf", actors.producer.address)) == [METER]
    (register,) = market.chain.registers(["m-1"])
    assert (register.interval_end, register.import_wh, register.export_wh) == (now, 1_000, 2_000)
    # Energy from before counts for nothing.
    assert market.free_wh(actors.producer) == 0
    assert market.chain.imports([actors.producer.address])[0].outstanding_wh == 0


def test_assign_meter__consumer__needs_no_export_power(market, actors):
    market.assign_meter("m-2", actors.consumer, kind=CONSUMER)
    record = market.chain.view("Registry", "meterOf", meter_id_bytes("m-2"))
    assert (record[3], record[4], record[8]) == (CONSUMER, 0, 0)


@pytest.mark.parametrize("source", [1, 2, 3, 4, 5])
def test_assign_meter__any_source__is_recorded(market, source):
    assign(market, source=source)
    assert market.chain.view("Registry", "meterOf", METER)[4] == source


def test_assign_meter__suspended_owner__may(market, actors):
    market.chain.send(actors.distributor, Call("Registry", "setStatus", (actors.producer.address, 2)))
    assign(market)
    assert market.chain.view("Registry", "meterOf", METER)[2] == ACTIVE


# ------------------------------------------------------------------- replaceMeter


@pytest.mark.parametrize("role", ["regulator", "minter", "producer", "outsider"])
def test_replace_meter__without_the_distributors_role__reverts(market, role):
    meter = market.meter("m-1", market.actors.producer)
    sender = getattr(market.actors, role)
    with reverts(errors.AccessManagedUnauthorized, caller=sender.address):
        replace(market, meter, KEY, (meter.import_wh, meter.export_wh), (0, 0), by=sender)


def test_replace_meter__unknown_meter__reverts(market):
    ghost = SimulatedMeter(market, "ghost", KEY, 0, 0)
    with reverts(errors.UnknownMeter, meterId=meter_id_bytes("ghost")):
        replace(market, ghost, KEY, (0, 0), (0, 0))


def test_replace_meter__revoked_meter__reverts(market, actors):
    meter = market.meter("m-1", actors.producer)
    revoke(market, "m-1")
    with reverts(errors.MeterIsRevoked, meterId=METER):
        replace(market, meter, KEY, (meter.import_wh, meter.export_wh), (0, 0))


def test_replace_meter__its_own_key__reverts(market, actors):
    meter = market.meter("m-1", actors.producer)
    with reverts(errors.KeyInUse, key=KeySigner.from_key(meter.key).address, meterId=METER):
        replace(market, meter, meter.key, (meter.import_wh, meter.export_wh), (0, 0))


def test_replace_meter__another_meters_key__reverts(market, actors):
    meter = market.meter("m-1", actors.producer)
    other = market.meter("m-2", actors.consumer)
    with reverts(errors.KeyInUse, meterId=meter_id_bytes("m-2")):
        replace(market, meter, other.key, (meter.import_wh, meter.export_wh), (0, 0))


def test_replace_meter__zero_key__reverts(market, actors):
    meter = market.meter("m-1", actors.producer)
    args = (METER, ZERO, 0, meter.import_wh, meter.export_wh, 0, 0)
    with reverts(errors.InvalidMeter, meterId=METER, field="key"):
        market.chain.send(actors.distributor, Call("Registry", "replaceMeter", args))


@pytest.mark.parametrize("lower", [(1, 0), (0, 1)])
def test_replace_meter__final_register_below_the_newest_reading__reverts(market, actors, lower):
    meter = market.meter("m-1", actors.producer)
    market.submit(meter.read(import_wh=50, export_wh=70))
    final = (meter.import_wh - lower[0], meter.export_wh - lower[1])
    with reverts(errors.FinalRegisterTooLow, meterId=METER, importWh=meter.import_wh, exportWh=meter.export_wh):
        replace(market, meter, KEY, final, (0, 0))
    assert market.chain.view("Registry", "meterOf", METER)[0] == KeySigner.from_key(meter.key).address


def test_replace_meter__growth_up_to_the_final_registers__is_credited_and_owed(market, actors):
    meter = market.meter("m-1", actors.producer)
    market.submit(meter.read(import_wh=50, export_wh=70))
    supply = market.chain.view("GridToken", "totalSupply")
    final = (meter.import_wh + 3, meter.export_wh + 4)

    outcome = replace(market, meter, KEY, final, (11, 22))

    now = market.chain.head().timestamp
    (replaced,) = market.events(outcome, "MeterReplaced")
    assert replaced.args == {
        "meterId": METER,
        "oldKey": KeySigner.from_key(meter.key).address,
        "newKey": KeySigner.from_key(KEY).address,
        "newKeyType": 0,
        "finalImportWh": final[0],
        "finalExportWh": final[1],
        "initialImportWh": 11,
        "initialExportWh": 22,
    }
    (opened,) = market.events(outcome, "RegisterOpened")
    assert opened.args == {"meterId": METER, "openedAt": now, "importWh": 11, "exportWh": 22}
    assert market.free_wh(actors.producer) == 74
    assert market.chain.imports([actors.producer.address])[0].current_wh == 53
    assert market.chain.view("GridToken", "totalSupply") == supply + 4 * 10**15
    assert market.chain.view("Registry", "meterOf", METER)[0] == KeySigner.from_key(KEY).address
    assert market.chain.view("Registry", "meterOfKey", KeySigner.from_key(meter.key).address) == METER
    assert market.chain.view("Registry", "meterOfKey", KeySigner.from_key(KEY).address) == METER


def test_replace_meter__nothing_grown__credits_nothing(market, actors):
    meter = market.meter("m-1", actors.producer)
    outcome = replace(market, meter, KEY, (meter.import_wh, meter.export_wh), (0, 0))
    assert market.events(outcome, "Transfer") == []
    assert market.free_wh(actors.producer) == 0


def test_replace_meter__afterwards__the_old_key_is_refused_and_the_new_one_counts_from_its_registers(market, actors):
    meter = market.meter("m-1", actors.producer)
    replace(market, meter, KEY, (meter.import_wh, meter.export_wh), (11, 22))
    market.pass_time(60)
    now = market.chain.head().timestamp

    outcome = market.submit(market.signed("m-1", meter.key, now, 12, 23))
    (skipped,) = market.events(outcome, "ReadingSkipped")
    assert skipped.args["reason"] == BAD_SIGNATURE

    market.submit(market.signed("m-1", KEY, now, 14, 27))
    assert market.free_wh(actors.producer) == 5
    assert market.chain.imports([actors.producer.address])[0].current_wh == 3


def test_replace_meter__reading_of_the_new_device_dated_before__is_not_newer(market, actors):
    meter = market.meter("m-1", actors.producer)
    market.pass_time(60)
    before = market.chain.head().timestamp
    replace(market, meter, KEY, (meter.import_wh, meter.export_wh), (0, 0))
    outcome = market.submit(market.signed("m-1", KEY, before, 1, 1))
    (skipped,) = market.events(outcome, "ReadingSkipped")
    assert skipped.args["reason"] == NOT_NEWER


@pytest.mark.parametrize(("over", "parked"), [(0, False), (1, True)])
def test_replace_meter__implausible_final_register__is_parked(market, actors, over, parked):
    # 3600 W for exactly 100 s, with the tenth on top: 110 Wh.
    meter = market.meter("m-1", actors.producer, import_w=10_000, export_w=3_600)
    (register,) = market.chain.registers(["m-1"])
    market.devnet.mine(register.interval_end + 99)
    outcome = replace(market, meter, KEY, (meter.import_wh + 7, meter.export_wh + 110 + over), (0, 0))
    assert market.chain.head().timestamp == register.interval_end + 100
    assert market.chain.imports([actors.producer.address])[0].current_wh == 7
    events = market.events(outcome, "GrowthParked")
    assert bool(events) is parked
    assert market.free_wh(actors.producer) == (0 if parked else 110)
    if parked:
        assert events[0].args == {
            "id": 1,
            "meterId": METER,
            "owner": actors.producer.address,
            "importWh": 0,
            "exportWh": 111,
        }
        assert market.chain.view("Metering", "parkedOf", 1)[4] == WAITING


# -------------------------------------------------------------------- revokeMeter


@pytest.mark.parametrize("role", ["regulator", "minter", "producer", "outsider"])
def test_revoke_meter__without_the_distributors_role__reverts(market, role):
    market.meter("m-1", market.actors.producer)
    sender = getattr(market.actors, role)
    with reverts(errors.AccessManagedUnauthorized, caller=sender.address):
        revoke(market, "m-1", by=sender)


def test_revoke_meter__unknown_meter__reverts(market):
    with reverts(errors.UnknownMeter, meterId=meter_id_bytes("ghost")):
        revoke(market, "ghost")


def test_revoke_meter__twice__reverts(market, actors):
    market.meter("m-1", actors.producer)
    revoke(market, "m-1")
    with reverts(errors.MeterIsRevoked, meterId=METER):
        revoke(market, "m-1", by=actors.other_distributor)


def test_revoke_meter__active_meter__is_refused_from_now_on(market, actors):
    meter = market.meter("m-1", actors.producer)
    market.submit(meter.read(export_wh=5))

    outcome = revoke(market, "m-1")

    (event,) = market.events(outcome, "MeterRevoked")
    assert event.args == {"meterId": METER}
    assert market.chain.view("Registry", "meterOf", METER)[2] == REVOKED
    assert list(market.chain.view("Registry", "metersOf", actors.producer.address)) == [METER]
    assert market.chain.view("Registry", "meterCount") == 1
    (skipped,) = market.events(market.submit(meter.read(export_wh=5)), "ReadingSkipped")
    assert skipped.args["reason"] == REVOKED_METER
    # What was credited stays.
    assert market.free_wh(actors.producer) == 5


# -------------------------------------------------------------------------- views


def test_meters__pages__are_in_order_and_short_at_the_end(market, actors):
    ids = [f"meter-{i}" for i in range(5)]
    for i, meter_id in enumerate(ids):
        owner = actors.producer if i % 2 else actors.consumer
        market.assign_meter(meter_id, owner, key=dev_meter_key(600 + i))
    words = [meter_id_bytes(m) for m in ids]

    def page(offset, limit):
        return list(market.chain.view("Registry", "meters", offset, limit))

    assert market.chain.view("Registry", "meterCount") == 5
    assert page(0, 2) == words[:2]
    assert page(2, 2) == words[2:4]
    assert page(4, 2) == words[4:]
    assert page(1, 2**256 - 1) == words[1:]
    assert page(5, 3) == []
    assert page(2**256 - 1, 1) == []
    assert market.chain.meter_ids() == ids
    assert list(market.chain.view("Registry", "metersOf", actors.producer.address)) == [words[1], words[3]]
    assert list(market.chain.view("Registry", "metersOf", actors.outsider.address)) == []


def test_meter_of__unknown_id__is_all_zero(market, actors):
    assert market.chain.view("Registry", "meterOf", METER) == (ZERO, 0, 0, 0, 0, 0, ZERO, 0, 0)
    assert market.chain.view("Registry", "meterOfKey", actors.outsider.address) == bytes(32)
    assert market.chain.view("Registry", "meterOfKey", ZERO) == bytes(32)


# -------------------------------------------------------------------- constructor


@pytest.mark.parametrize("missing", [("Trading",), ("Metering",), ("Trading", "Metering")])
def test_registry__deployed_without_trading_or_metering__reverts(market, actors, missing):
    at = market.chain.addresses
    chain = Chain(market.devnet.url, at, after_send=market.devnet.mine)
    args = [at["Authority"], *(ZERO if name in missing else at[name] for name in ("Trading", "Metering"))]
    with reverts(errors.ZeroAddress):
        chain.deploy(actors.regulator, "Registry", args)
    assert chain.addresses["Registry"] == at["Registry"]


def test_registry__deployed__knows_trading_and_metering_for_good(market, actors):
    at = market.chain.addresses
    chain = Chain(market.devnet.url, at, after_send=market.devnet.mine)
    chain.deploy(actors.regulator, "Registry", [at["Authority"], at["Trading"], at["Metering"]])
    assert chain.addresses["Registry"] != at["Registry"]
    assert chain.view("Registry", "trading") == at["Trading"]
    assert chain.view("Registry", "metering") == at["Metering"]
