"""checkUpkeep, performUpkeep: anyone keeps the market moving."""

import pytest
from eth_abi import decode, encode

from busbar import errors
from busbar.chain import Call
from busbar.devnet import dev_meter_key, dev_signer
from tests.market import ZONE, reverts

CLEAR, TIME_OUT, RETIRE = range(3)
PENDING, TIMED_OUT = 1, 3
FT = b"ft".ljust(32, b"\0")
ZERO = "0x" + "00" * 20


def check(market, data=b""):
    """What Chainlink's simulation sees: called by the zero address."""
    call = Call("OracleClient", "checkUpkeep", (data,))
    return market.chain.read([call], sender="0x" + "00" * 20)[0]


def for_page(zone=ZONE, offset=0, limit=100):
    return encode(["uint8", "uint256", "uint256"], [zone, offset, limit])


def data_for(upkeep, payload):
    return encode(["uint8", "bytes"], [upkeep, payload])


def clear_data(zone=ZONE):
    return data_for(CLEAR, encode(["uint8"], [zone]))


def time_out_data(*request_ids):
    return data_for(TIME_OUT, encode(["bytes32[]"], [list(request_ids)]))


def retire_data(*participants):
    return data_for(RETIRE, encode(["address[]"], [[p.address for p in participants]]))


def perform(market, data, by=None):
    return market.chain.send(by or market.actors.outsider, Call("OracleClient", "performUpkeep", (data,)))


def decoded(data):
    """(kind, payload) of `performData`."""
    kind, payload = decode(["uint8", "bytes"], data)
    types = {CLEAR: "uint8", TIME_OUT: "bytes32[]", RETIRE: "address[]"}
    return kind, decode([types[kind]], payload)[0]


def orders_to_clear(market):
    """An epoch that has ended with a trade in it."""
    market.give_energy(market.actors.producer, 1_000)
    market.sell(market.actors.producer, 300, 1_000)
    market.buy(market.actors.other_producer, 300, 1_000)
    market.next_epoch()


def request(market):
    outcome = market.chain.send(market.actors.producer, Call("OracleClient", "requestEnergyData", (1, FT)))
    return market.events(outcome, "EnergyDataRequested")[0].args["requestId"]


def pass_blocks(market, count):
    market.devnet.node.request("anvil_mine", hex(count))


def status(market, request_id):
    return market.chain.view("OracleClient", "requestOf", request_id)[2]


def owing(market, participant, import_wh=500, export_wh=800):
    """A participant with import outstanding and energy to retire."""
    index = market.actors.participants.index(participant)
    meter = market.meter(f"m-{index}", participant, key=dev_meter_key(700 + index))
    market.submit(meter.read(import_wh, export_wh))


# -------------------------------------------------------------------- checkUpkeep


def test_check_upkeep__nothing_to_do__says_so(market):
    assert check(market) == (False, b"")


def test_check_upkeep__malformed_check_data__reverts(market):
    with reverts(errors.UnknownRevert):
        check(market, b"zone 1")


def test_check_upkeep__zone_never_opened__has_nothing_to_clear(market):
    orders_to_clear(market)
    assert check(market, for_page(zone=9)) == (False, b"")


def test_check_upkeep__epoch_still_open__has_nothing_to_clear(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    assert check(market) == (False, b"")


def test_check_upkeep__ended_epoch_with_orders__is_to_be_cleared(market):
    orders_to_clear(market)
    needed, data = check(market)
    assert (needed, decoded(data)) == (True, (CLEAR, ZONE))


def test_check_upkeep__requests_in_their_hundredth_block__is_nothing_yet(market):
    asked = [request(market) for _ in range(2)]
    pass_blocks(market, 100)
    # The first is a block too old by now, the second not.
    needed, data = check(market)
    assert (needed, decoded(data)) == (True, (TIME_OUT, (asked[0],)))


def test_check_upkeep__expired_requests__are_to_be_given_up(market):
    asked = [request(market) for _ in range(3)]
    assert check(market) == (False, b"")
    pass_blocks(market, 101)
    young = request(market)
    needed, data = check(market)
    assert (needed, decoded(data)) == (True, (TIME_OUT, tuple(asked)))
    assert young not in asked


def test_check_upkeep__more_expired_requests_than_a_batch__names_a_hundred(market, actors):
    call = Call("OracleClient", "requestEnergyData", (1, FT))
    # An account may have ten pending, so it takes a dozen.
    crowd = [*actors.participants, *[dev_signer(40 + i) for i in range(6)]]
    market.register(*crowd[6:])
    assert all(o.ok for o in market.chain.send_many([(who, call) for who in crowd for _ in range(10)]))
    pass_blocks(market, 101)
    _, data = check(market)
    assert len(decoded(data)[1]) == 100
    perform(market, data)
    _, data = check(market)
    assert len(decoded(data)[1]) == 20
    outcome = perform(market, data)
    assert len(market.events(outcome, "RequestTimedOut")) == 20
    assert check(market) == (False, b"")


def test_check_upkeep__import_and_energy__is_to_be_retired(market, actors):
    owing(market, actors.consumer)
    owing(market, actors.other_consumer, 500, 0)  # no energy
    owing(market, actors.third_consumer, 0, 800)  # no import
    owing(market, actors.producer)
    owing(market, actors.other_producer)
    market.chain.send(actors.other_producer, Call("Metering", "setAutoRetire", (False,)))
    needed, data = check(market)
    kind, accounts = decoded(data)
    assert (needed, kind) == (True, RETIRE)
    assert accounts == (actors.producer.address.lower(), actors.consumer.address.lower())


def test_check_upkeep__bought_energy_not_settled_yet__is_to_be_retired(market, actors):
    owing(market, actors.other_producer, 500, 0)
    orders_to_clear(market)
    market.clear()
    _, data = check(market)
    assert decoded(data) == (RETIRE, (actors.other_producer.address.lower(),))


def test_check_upkeep__import_too_old__is_nothing(market, actors):
    owing(market, actors.consumer)
    market.to_epoch(100)
    assert check(market) == (False, b"")


def test_check_upkeep__less_than_a_wh_free__is_nothing(market, actors):
    owing(market, actors.consumer, 500, 0)
    market.mint_to_wallet(actors.consumer, 1)
    wei = 10**15 - 10**9
    market.chain.send(actors.consumer, Call("GridToken", "approve", (market.chain.addresses["Trading"], wei)))
    market.chain.send(actors.consumer, Call("Trading", "deposit", (0, wei)))
    assert check(market) == (False, b"")


def test_check_upkeep__another_page__sees_only_its_participants(market, actors):
    owing(market, actors.producer)  # first
    owing(market, actors.third_consumer)  # last of six
    first, last = actors.producer.address.lower(), actors.third_consumer.address.lower()
    assert decoded(check(market)[1]) == (RETIRE, (first, last))
    assert decoded(check(market, for_page(offset=0, limit=3))[1]) == (RETIRE, (first,))
    assert decoded(check(market, for_page(offset=3, limit=3))[1]) == (RETIRE, (last,))
    assert check(market, for_page(offset=1, limit=4)) == (False, b"")
    assert check(market, for_page(offset=6, limit=100)) == (False, b"")
    assert check(market, for_page(offset=2**256 - 1, limit=2**256 - 1)) == (False, b"")
    assert check(market, for_page(offset=0, limit=0)) == (False, b"")


def test_check_upkeep__another_zone__sees_only_its_epoch(market, actors):
    market.chain.send(actors.regulator, Call("Trading", "openZone", (2, 0)))
    market.register(actors.outsider, zone=2)
    market.fund(actors.outsider, 5)
    market.buy(actors.outsider, 300, 1_000)
    market.next_epoch()
    assert check(market) == (False, b"")
    needed, data = check(market, for_page(zone=2))
    assert (needed, decoded(data)) == (True, (CLEAR, 2))
    perform(market, data)
    assert check(market, for_page(zone=2)) == (False, b"")


def test_check_upkeep__everything_due__is_told_one_after_the_other(market, actors):
    owing(market, actors.consumer)
    asked = request(market)
    orders_to_clear(market)
    pass_blocks(market, 101)
    done = []
    while True:
        needed, data = check(market)
        if not needed:
            break
        done.append(decoded(data)[0])
        perform(market, data)
    assert done == [CLEAR, TIME_OUT, RETIRE]
    assert status(market, asked) == TIMED_OUT
    assert market.free_wh(actors.consumer) == 300
    assert market.chain.zone(ZONE).cleared


# ------------------------------------------------------------------ performUpkeep


def test_perform_upkeep__by_a_stranger__clears(market, actors):
    orders_to_clear(market)
    _, data = check(market)
    outcome = perform(market, data)
    (event,) = market.events(outcome, "EpochCleared")
    assert (event.args["zone"], event.args["result"]["volumeWh"]) == (ZONE, 1_000)
    assert check(market) == (False, b"")


def test_perform_upkeep__by_a_stranger__gives_requests_up(market):
    asked = [request(market) for _ in range(3)]
    pass_blocks(market, 101)
    outcome = perform(market, check(market)[1])
    assert [e.args["requestId"] for e in market.events(outcome, "RequestTimedOut")] == asked
    assert check(market) == (False, b"")


def test_perform_upkeep__by_a_stranger__retires(market, actors):
    owing(market, actors.consumer)
    outcome = perform(market, check(market)[1])
    (event,) = market.events(outcome, "Retired")
    assert event.args == {
        "account": actors.consumer.address,
        "previousWh": 0,
        "currentWh": 500,
        "fromWallet": False,
    }
    assert market.free_wh(actors.consumer) == 300
    assert check(market) == (False, b"")


@pytest.mark.parametrize("kind", [3, 4, 255])
def test_perform_upkeep__of_no_kind__reverts(market, kind):
    with reverts(errors.UnknownUpkeep, upkeep=kind):
        perform(market, data_for(kind, b""))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\xff" * 64,
        encode(["uint256", "bytes"], [256, b""]),
        data_for(CLEAR, b""),
        data_for(CLEAR, encode(["uint256"], [256])),
        data_for(TIME_OUT, b""),
        data_for(RETIRE, b""),
        data_for(RETIRE, encode(["uint256[]"], [[2**255]])),
    ],
)
def test_perform_upkeep__malformed__reverts_without_data(market, data):
    with reverts(errors.UnknownRevert) as caught:
        perform(market, data)
    assert caught.value.data == b""


def test_perform_upkeep__clear_that_somebody_did__reverts(market):
    orders_to_clear(market)
    _, data = check(market)
    market.clear()
    with reverts(errors.NothingToClear, zone=ZONE, currentEpoch=market.epoch):
        perform(market, data)


def test_perform_upkeep__clear_of_the_open_epoch__reverts(market, actors):
    market.buy(actors.consumer, 300, 1_000)
    with reverts(errors.NothingToClear, zone=ZONE):
        perform(market, clear_data())


def test_perform_upkeep__clear_of_a_zone_never_opened__reverts(market):
    orders_to_clear(market)
    with reverts(errors.NothingToClear, zone=9):
        perform(market, clear_data(9))


def test_perform_upkeep__requests_given_up_already__reverts(market):
    asked = request(market)
    pass_blocks(market, 101)
    _, data = check(market)
    market.chain.send(market.actors.outsider, Call("OracleClient", "timeOutRequests", ([asked],)))
    with reverts(errors.RequestNotPending, requestId=asked, status=TIMED_OUT):
        perform(market, data)


def test_perform_upkeep__request_too_young_slipped_in__reverts(market):
    asked = request(market)
    with reverts(errors.RequestNotExpired, requestId=asked):
        perform(market, time_out_data(asked))
    assert status(market, asked) == PENDING


def test_perform_upkeep__no_requests__reverts(market):
    with reverts(errors.NothingToDo):
        perform(market, time_out_data())


def test_perform_upkeep__retired_already__reverts(market, actors):
    owing(market, actors.consumer)
    _, data = check(market)
    market.chain.send(actors.consumer, Call("Metering", "retire", (500,)))
    with reverts(errors.NothingToDo):
        perform(market, data)


def test_perform_upkeep__nobody_to_retire_for__reverts(market):
    with reverts(errors.NothingToDo):
        perform(market, retire_data())


def test_perform_upkeep__account_that_retires_by_itself_slipped_in__is_left_alone(market, actors):
    owing(market, actors.consumer)
    owing(market, actors.producer)
    market.chain.send(actors.producer, Call("Metering", "setAutoRetire", (False,)))
    with reverts(errors.NothingToDo):
        perform(market, retire_data(actors.producer))
    perform(market, retire_data(actors.producer, actors.consumer))
    assert (market.free_wh(actors.producer), market.free_wh(actors.consumer)) == (800, 300)


def test_perform_upkeep__delivered_twice__changes_nothing_the_second_time(market, actors):
    owing(market, actors.consumer, 500, 1_500)
    _, data = check(market)
    perform(market, data)
    with reverts(errors.NothingToDo):
        perform(market, data)
    assert market.free_wh(actors.consumer) == 1_000


def test_perform_upkeep__while_the_zone_is_paused__still_clears(market, actors):
    orders_to_clear(market)
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (ZONE, True)))
    perform(market, check(market)[1])
    assert market.chain.zone(ZONE).cleared
