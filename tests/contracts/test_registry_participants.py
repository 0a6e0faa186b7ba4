"""registerUser, setStatus, setZone: who may trade, and what suspension changes."""

import pytest

from busbar import errors
from busbar.chain import Call, Chain
from busbar.devnet import dev_signer
from tests.market import BAHT, ENERGY, MONEY, ZONE, reverts

REF = b"record 17".ljust(32, b"\0")
ZERO = "0x" + "00" * 20
UNKNOWN, ACTIVE, SUSPENDED = range(3)


def register(market, account, zone=ZONE, ref=REF, by=None):
    return market.chain.send(by or market.actors.distributor, Call("Registry", "registerUser", (account, zone, ref)))


def set_status(market, participant, status, by=None):
    call = Call("Registry", "setStatus", (participant.address, status))
    return market.chain.send(by or market.actors.distributor, call)


def set_zone(market, participant, zone, by=None):
    call = Call("Registry", "setZone", (participant.address, zone))
    return market.chain.send(by or market.actors.distributor, call)


def open_zone(market, zone):
    market.chain.send(market.actors.regulator, Call("Trading", "openZone", (zone, 0)))


# ------------------------------------------------------------------ registerUser


@pytest.mark.parametrize("role", ["regulator", "oracle_operator", "minter", "keeper", "issuer", "producer", "outsider"])
def test_register_user__without_the_distributors_role__reverts(market, role):
    sender = getattr(market.actors, role)
    with reverts(errors.AccessManagedUnauthorized, caller=sender.address):
        register(market, market.actors.outsider.address, by=sender)


def test_register_user__zero_address__reverts(market):
    with reverts(errors.ZeroAddress):
        register(market, ZERO)


def test_register_user__twice__reverts(market, actors):
    with reverts(errors.AlreadyRegistered, account=actors.producer.address):
        register(market, actors.producer.address)


def test_register_user__suspended_before__reverts(market, actors):
    set_status(market, actors.producer, SUSPENDED)
    with reverts(errors.AlreadyRegistered, account=actors.producer.address):
        register(market, actors.producer.address, by=actors.other_distributor)


@pytest.mark.parametrize("zone", [0, 2, 255])
def test_register_user__zone_never_opened__reverts_and_registers_nobody(market, actors, zone):
    with reverts(errors.UnknownZone, zone=zone):
        register(market, actors.outsider.address, zone=zone)
    assert market.chain.view("Registry", "participantOf", actors.outsider.address) == (0, 0, UNKNOWN, 0, bytes(32))


def test_register_user__new_account__is_active_at_once(market, actors):
    newcomer = actors.outsider
    assert market.chain.view("Registry", "registeredAt", newcomer.address) == 0
    assert market.chain.view("Registry", "isUserVerified", newcomer.address) is False
    count = market.chain.view("Registry", "userCount")

    outcome = register(market, newcomer.address)

    now = market.chain.head().timestamp
    (registered,) = market.events(outcome, "UserRegistered")
    assert registered.args == {"account": newcomer.address, "zone": ZONE, "ref": REF}
    (pushed,) = market.events(outcome, "AccountSet")
    assert pushed.args == {"account": newcomer.address, "status": ACTIVE, "zone": ZONE}
    assert market.chain.view("Registry", "participantOf", newcomer.address) == (now, ZONE, ACTIVE, 0, REF)
    assert market.chain.view("Registry", "registeredAt", newcomer.address) == now
    assert market.chain.view("Registry", "isUserVerified", newcomer.address) is True
    assert market.chain.view("Registry", "userCount") == count + 1
    account = market.account(newcomer)
    assert (account.status, account.zone, account.energy_free_uwh, account.money_free_units) == (ACTIVE, ZONE, 0, 0)
    market.fund(newcomer, 5)
    market.buy(newcomer, 300, 1_000)


def test_register_user__in_another_zone__trades_there(market, actors):
    open_zone(market, 7)
    market.register(actors.outsider, zone=7)
    market.fund(actors.outsider, 5)
    market.buy(actors.outsider, 300, 1_000)
    assert market.chain.book(7)[0] == {300: 1_000}
    assert market.chain.book(ZONE)[0] == {}


def test_register_user__either_distributor__may(market, actors):
    register(market, actors.outsider.address, by=actors.other_distributor)
    assert market.chain.view("Registry", "isUserVerified", actors.outsider.address)


# ---------------------------------------------------------------------- setStatus


@pytest.mark.parametrize("role", ["regulator", "minter", "keeper", "producer", "outsider"])
def test_set_status__without_the_distributors_role__reverts(market, role):
    sender = getattr(market.actors, role)
    with reverts(errors.AccessManagedUnauthorized, caller=sender.address):
        set_status(market, market.actors.producer, SUSPENDED, by=sender)


def test_set_status__unknown__reverts(market, actors):
    with reverts(errors.InvalidStatus, status=UNKNOWN):
        set_status(market, actors.producer, UNKNOWN)


def test_set_status__beyond_the_enum__reverts_without_data(market, actors):
    with reverts(errors.UnknownRevert) as caught:
        set_status(market, actors.producer, 3)
    assert caught.value.data == b""


def test_set_status__account_never_registered__reverts(market, actors):
    with reverts(errors.NotRegistered, account=actors.outsider.address):
        set_status(market, actors.outsider, SUSPENDED)


def test_set_status__suspended_and_reinstated__is_told_everywhere(market, actors):
    before = market.chain.view("Registry", "participantOf", actors.producer.address)
    for status in (SUSPENDED, ACTIVE):
        outcome = set_status(market, actors.producer, status)
        (event,) = market.events(outcome, "StatusSet")
        assert event.args == {"account": actors.producer.address, "status": status}
        (pushed,) = market.events(outcome, "AccountSet")
        assert pushed.args == {"account": actors.producer.address, "status": status, "zone": ZONE}
        assert market.account(actors.producer).status == status
        assert market.chain.view("Registry", "isUserVerified", actors.producer.address) is (status == ACTIVE)
        after = market.chain.view("Registry", "participantOf", actors.producer.address)
        assert after == (before[0], before[1], status, before[3], before[4])
    market.buy(actors.producer, 300, 1_000)


def test_set_status__suspended__no_orders_and_no_deposits(market, actors):
    set_status(market, actors.consumer, SUSPENDED)
    with reverts(errors.AccountSuspended, account=actors.consumer.address):
        market.buy(actors.consumer, 300, 1_000)
    trading = market.chain.addresses["Trading"]
    market.chain.send(actors.issuer, Call("BahtToken", "issue", (actors.consumer.address, BAHT, bytes(32))))
    market.chain.send(actors.consumer, Call("BahtToken", "approve", (trading, BAHT)))
    with reverts(errors.AccountSuspended, account=actors.consumer.address):
        market.chain.send(actors.consumer, Call("Trading", "deposit", (MONEY, BAHT)))
    assert market.token_balance("BahtToken", actors.consumer.address) == BAHT


def test_set_status__suspended_with_open_orders__they_still_clear(market, actors):
    market.give_energy(actors.producer, 1_000)
    market.sell(actors.producer, 300, 1_000)
    market.buy(actors.consumer, 300, 1_000)
    set_status(market, actors.producer, SUSPENDED)
    set_status(market, actors.consumer, SUSPENDED)
    market.next_epoch()
    outcome = market.clear()
    (cleared,) = market.events(outcome, "EpochCleared")
    assert cleared.args["result"]["volumeWh"] == 1_000
    assert market.free_wh(actors.consumer) == 1_000
    assert market.chain.money.to_wei(market.account(actors.producer).money_free_units) == 1_003 * BAHT


def test_set_status__suspended_in_a_later_epoch__settles_first(market, actors):
    market.give_energy(actors.producer, 1_000)
    market.sell(actors.producer, 300, 1_000)
    market.buy(actors.consumer, 300, 1_000)
    market.next_epoch()
    outcome = set_status(market, actors.consumer, SUSPENDED)
    assert len(market.events(outcome, "EpochCleared")) == 1
    assert market.free_wh(actors.consumer) == 1_000
    assert market.chain.orders(actors.consumer.address) == []


def test_set_status__suspended_with_an_open_order__may_cancel(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    set_status(market, actors.consumer, SUSPENDED)
    market.cancel(actors.consumer, market.order_id(actors.consumer))
    account = market.account(actors.consumer)
    assert account.money_escrow_units == 0
    assert market.chain.money.to_wei(account.money_free_units) == 1_000 * BAHT


def test_set_status__suspended__may_withdraw_everything(market, actors):
    market.give_energy(actors.consumer, 2_000)
    set_status(market, actors.consumer, SUSPENDED)
    market.withdraw(actors.consumer, MONEY, 1_000 * BAHT)
    market.withdraw(actors.consumer, ENERGY, 2 * 10**18)
    assert market.token_balance("BahtToken", actors.consumer.address) == 1_000 * BAHT
    assert market.token_balance("GridToken", actors.consumer.address) == 2 * 10**18


def test_set_status__suspended__readings_are_still_credited_and_owed(market, actors):
    meter = market.meter("m-1", actors.producer)
    set_status(market, actors.producer, SUSPENDED)
    market.submit(meter.read(import_wh=300, export_wh=700))
    assert market.free_wh(actors.producer) == 700
    assert market.chain.imports([actors.producer.address])[0].current_wh == 300


def test_set_status__suspended__may_retire(market, actors):
    meter = market.meter("m-1", actors.producer)
    set_status(market, actors.producer, SUSPENDED)
    market.submit(meter.read(import_wh=300, export_wh=700))
    market.chain.send(actors.producer, Call("Metering", "retire", (300,)))
    assert market.free_wh(actors.producer) == 400


# ------------------------------------------------------------------------ setZone


@pytest.mark.parametrize("role", ["regulator", "minter", "keeper", "producer", "outsider"])
def test_set_zone__without_the_distributors_role__reverts(market, role):
    sender = getattr(market.actors, role)
    with reverts(errors.AccessManagedUnauthorized, caller=sender.address):
        set_zone(market, market.actors.producer, ZONE, by=sender)


def test_set_zone__account_never_registered__reverts(market, actors):
    with reverts(errors.NotRegistered, account=actors.outsider.address):
        set_zone(market, actors.outsider, ZONE)


def test_set_zone__zone_never_opened__reverts_and_moves_nobody(market, actors):
    with reverts(errors.UnknownZone, zone=9):
        set_zone(market, actors.producer, 9)
    assert market.chain.view("Registry", "participantOf", actors.producer.address)[1] == ZONE


def test_set_zone__orders_of_the_open_epoch__reverts(market, actors):
    open_zone(market, 2)
    market.buy(actors.consumer, 300, 1_000)
    with reverts(errors.UnsettledOrders, account=actors.consumer.address, epoch=market.epoch):
        set_zone(market, actors.consumer, 2)


def test_set_zone__cancelled_order_of_the_open_epoch__reverts_too(market, actors):
    open_zone(market, 2)
    market.buy(actors.consumer, 300, 1_000)
    market.cancel(actors.consumer, market.order_id(actors.consumer))
    with reverts(errors.UnsettledOrders, account=actors.consumer.address, epoch=market.epoch):
        set_zone(market, actors.consumer, 2)


def test_set_zone__orders_of_an_ended_epoch__settles_them_in_the_old_zone_and_moves(market, actors):
    open_zone(market, 2)
    market.give_energy(actors.producer, 1_000)
    market.sell(actors.producer, 300, 1_000)
    market.buy(actors.consumer, 300, 1_000)
    market.next_epoch()

    outcome = set_zone(market, actors.consumer, 2)

    (moved,) = market.events(outcome, "ZoneMoved")
    assert moved.args == {"account": actors.consumer.address, "zone": 2}
    (pushed,) = market.events(outcome, "AccountSet")
    assert pushed.args == {"account": actors.consumer.address, "status": ACTIVE, "zone": 2}
    assert market.chain.view("Registry", "participantOf", actors.consumer.address)[1] == 2
    assert market.account(actors.consumer).zone == 2
    assert market.free_wh(actors.consumer) == 1_000
    market.buy(actors.consumer, 310, 1_000)
    assert market.chain.book(2)[0] == {310: 1_000}


def test_set_zone__suspended__stays_suspended(market, actors):
    open_zone(market, 2)
    set_status(market, actors.consumer, SUSPENDED)
    set_zone(market, actors.consumer, 2)
    assert (market.account(actors.consumer).status, market.account(actors.consumer).zone) == (SUSPENDED, 2)


# -------------------------------------------------------------------------- views


def test_users__pages__are_in_order_and_short_at_the_end(market, actors):
    everybody = [p.address for p in actors.participants]

    def page(offset, limit):
        return list(market.chain.view("Registry", "users", offset, limit))

    assert market.chain.view("Registry", "userCount") == len(everybody)
    assert page(0, 4) == everybody[:4]
    assert page(4, 4) == everybody[4:]
    assert page(0, 2**256 - 1) == everybody
    assert page(3, 2**256 - 1) == everybody[3:]
    assert page(2, 0) == []
    assert page(len(everybody), 1) == []
    assert page(2**256 - 1, 2**256 - 1) == []
    assert market.chain.participants() == everybody


def test_participant_of__unknown_account__is_all_zero(market, actors):
    assert market.chain.view("Registry", "participantOf", actors.outsider.address) == (0, 0, UNKNOWN, 0, bytes(32))
    assert market.chain.view("Registry", "registeredAt", actors.outsider.address) == 0
    assert market.chain.view("Registry", "isUserVerified", ZERO) is False


def test_users__more_than_a_page_of_the_client__are_all_listed(market, actors, monkeypatch):
    newcomers = [dev_signer(i) for i in range(40, 44)]
    market.register(*newcomers)
    fresh = Chain(market.devnet.url, market.chain.addresses)
    expected = [p.address for p in (*actors.participants, *newcomers)]
    assert fresh._pages("userCount", "users", None, size=3) == expected
