"""setOperator, setPanel, and data that nobody signs: k of n operators answer, and the median counts."""

import pytest

from busbar import errors
from busbar.chain import Call
from busbar.devnet import dev_signer
from tests.contracts.test_oracle_client import (
    DATUM,
    FT,
    FULFILLED,
    PENDING,
    TIMED_OUT,
    TIMEOUT_BLOCKS,
    fulfil,
    number,
    pending,
    record,
    request,
    status,
    time_out,
    to_block,
)
from tests.market import reverts

MAX_OPERATORS = 15
ROLE = 2
OTHERS = [dev_signer(i) for i in range(40, 40 + MAX_OPERATORS)]


def set_operator(market, operator, active=True, by=None):
    call = Call("OracleClient", "setOperator", (operator.address, active))
    return market.chain.send(by or market.actors.regulator, call)


def set_panel(market, quorum, tolerance_bp=1_000, by=None):
    call = Call("OracleClient", "setPanel", (quorum, tolerance_bp))
    return market.chain.send(by or market.actors.regulator, call)


def seat(market, *operators):
    """Gives accounts the oracle operator's role and a seat on the panel."""
    for operator in operators:
        market.chain.send(market.actors.regulator, Call("Authority", "grantRole", (ROLE, operator.address, 0)))
        set_operator(market, operator)


def answer(market, asked, operator, value):
    return fulfil(market, asked, number(value), by=operator)


def datum(market):
    return market.chain.view("OracleClient", "datumOf", FT)[0]


def counts(market, operator):
    """(asked, answered, outliers) of an operator."""
    return market.chain.view("OracleClient", "operatorOf", operator.address)[1:]


@pytest.fixture
def panel(market, actors):
    """Five operators of whom three decide, with a tolerance of 10 %."""
    operators = [actors.oracle_operator, *OTHERS[:4]]
    seat(market, *operators[1:])
    set_panel(market, 3)
    return operators


# ----------------------------------------------------------------- setOperator, setPanel


@pytest.mark.parametrize("role", ["distributor", "oracle_operator", "minter", "producer", "outsider"])
def test_panel__changed_by_somebody_but_the_regulator__reverts(market, role):
    sender = getattr(market.actors, role)
    with reverts(errors.AccessManagedUnauthorized, caller=sender.address):
        set_operator(market, OTHERS[0], by=sender)
    with reverts(errors.AccessManagedUnauthorized, caller=sender.address):
        set_panel(market, 1, by=sender)


def test_set_operator__on_the_panel_already__reverts(market, actors):
    with reverts(errors.PanelUnchanged, operator=actors.oracle_operator.address, active=True):
        set_operator(market, actors.oracle_operator)


def test_set_operator__leaving_without_a_seat__reverts(market, actors):
    with reverts(errors.PanelUnchanged, operator=actors.outsider.address, active=False):
        set_operator(market, actors.outsider, active=False)


def test_set_operator__sixteenth__reverts(market):
    seat(market, *OTHERS[: MAX_OPERATORS - 1])
    with reverts(errors.TooManyOperators, maximum=MAX_OPERATORS):
        set_operator(market, OTHERS[-1])


def test_set_operator__fewer_than_the_quorum_would_stay__reverts(market, panel):
    for operator in panel[3:]:
        set_operator(market, operator, active=False)
    with reverts(errors.InvalidQuorum, quorum=3, operators=2):
        set_operator(market, panel[0], active=False)


@pytest.mark.parametrize("quorum", [0, 2, 4, 7, 255])
def test_set_panel__quorum_even_or_out_of_reach__reverts(market, panel, quorum):
    with reverts(errors.InvalidQuorum, quorum=quorum, operators=5):
        set_panel(market, quorum)


def test_set_panel__tolerance_above_the_whole__reverts(market):
    with reverts(errors.InvalidTolerance, toleranceBp=10_001, maximumBp=10_000):
        set_panel(market, 1, 10_001)


def test_panel__changed__is_told_and_shown(market, actors):
    joined = market.events(set_operator(market, OTHERS[0]))
    assert [(e.name, e.args) for e in joined] == [("OperatorSet", {"operator": OTHERS[0].address, "active": True})]
    changed = market.events(set_panel(market, 1, 250))
    assert [(e.name, e.args) for e in changed] == [("PanelSet", {"quorum": 1, "toleranceBp": 250})]
    seats = (actors.oracle_operator.address, OTHERS[0].address)
    assert market.chain.view("OracleClient", "panel") == (seats, 1, 250)


# -------------------------------------------------------------------------- answers


def test_answer__with_the_role_and_no_seat__reverts(market, actors, panel):
    set_operator(market, panel[4], active=False)
    asked = request(market, actors.producer)
    with reverts(errors.NotOnPanel, account=panel[4].address):
        answer(market, asked, panel[4], 5)


def test_answer__with_a_seat_and_no_role__reverts(market, actors, panel):
    market.chain.send(actors.regulator, Call("Authority", "revokeRole", (ROLE, panel[4].address)))
    asked = request(market, actors.producer)
    with reverts(errors.AccessManagedUnauthorized, caller=panel[4].address):
        answer(market, asked, panel[4], 5)


@pytest.mark.parametrize("value", [2**95, -(2**95) - 1, 2**255 - 1, -(2**255)])
def test_answer__beyond_96_bits__reverts(market, actors, value):
    asked = request(market, actors.producer)
    with reverts(errors.DatumOutOfRange, requestId=asked, value=value):
        answer(market, asked, actors.oracle_operator, value)


@pytest.mark.parametrize("already", [1, 2, 3], ids=["waiting", "still waiting", "decided"])
def test_answer__by_the_same_operator_again__reverts(market, actors, panel, already):
    asked = request(market, actors.producer)
    for operator in panel[:already]:
        answer(market, asked, operator, 5)
    with reverts(errors.AnsweredAlready, requestId=asked, operator=panel[0].address):
        answer(market, asked, panel[0], 6)


def test_answer__by_one_who_left_and_came_back__reverts(market, actors, panel):
    asked = request(market, actors.producer)
    answer(market, asked, panel[0], 5)
    set_operator(market, panel[0], active=False)
    set_operator(market, panel[0])
    with reverts(errors.AnsweredAlready, requestId=asked, operator=panel[0].address):
        answer(market, asked, panel[0], 5)


def test_answer__sixteenth_to_a_request__reverts(market, actors):
    """Only a panel that changes within 100 blocks can have so many; the gas of an answer stays bounded."""
    seat(market, *OTHERS[:-1])
    asked = request(market, actors.producer)
    for operator in (actors.oracle_operator, *OTHERS[:-1]):
        answer(market, asked, operator, 5)
    set_operator(market, OTHERS[0], active=False)
    seat(market, OTHERS[-1])
    with reverts(errors.TooManyAnswers, requestId=asked, maximum=MAX_OPERATORS):
        answer(market, asked, OTHERS[-1], 5)


def test_answers__fewer_than_the_quorum__decide_nothing(market, actors, panel):
    asked = request(market, actors.producer)
    for operator in panel[:2]:
        (event,) = market.events(answer(market, asked, operator, 5))
        assert event.name == "DatumAnswered"
    assert record(market, asked)[2:6] == (PENDING, record(market, asked)[3], 3, 2)
    assert (datum(market), pending(market)) == (0, [asked])


@pytest.mark.parametrize(
    ("values", "median"),
    [
        ((5, 5, 5), 5),
        ((1, 2, 3), 2),
        ((3, 1, 2), 2),
        ((-3, 1, -2), -2),
        ((-(2**95), 2**95 - 1, 0), 0),
        ((7, 7, 10**12), 7),
    ],
)
def test_answers__the_quorum__make_their_median_the_datum(market, actors, panel, values, median):
    asked = request(market, actors.producer)
    for operator, value in zip(panel[1:4], values, strict=True):
        outcome = answer(market, asked, operator, value)
    assert datum(market) == median
    (event,) = market.events(outcome, "EnergyDataFulfilled")
    assert event.args["data"] == number(median)
    assert (status(market, asked), pending(market)) == (FULFILLED, [])


def test_answers__two_liars_of_five__do_not_move_the_median_beyond_the_honest_ones(market, actors, panel):
    set_panel(market, 5)
    asked = request(market, actors.producer)
    for operator, value in zip(panel, (10**20, 100, 101, 102, 10**20), strict=True):
        answer(market, asked, operator, value)
    assert datum(market) == 102


def test_answers__after_the_quorum__change_nothing_but_are_judged(market, actors, panel):
    asked = request(market, actors.producer)
    for operator in panel[:3]:
        answer(market, asked, operator, 100)
    shown = market.chain.view("OracleClient", "datumOf", FT)
    assert [e.name for e in market.events(answer(market, asked, panel[3], 110))] == ["DatumAnswered"]
    assert [e.name for e in market.events(answer(market, asked, panel[4], 111))] == ["DatumAnswered", "DatumOutlier"]
    assert market.chain.view("OracleClient", "datumOf", FT) == shown
    assert (counts(market, panel[3]), counts(market, panel[4])) == ((1, 1, 0), (1, 1, 1))


def test_answers__after_the_quorum_and_100_blocks__revert(market, actors, panel):
    asked = request(market, actors.producer)
    for operator in panel[:3]:
        answer(market, asked, operator, 100)
    last = record(market, asked)[3] + TIMEOUT_BLOCKS
    to_block(market, last)
    with reverts(errors.RequestExpired, requestId=asked, lastBlock=last):
        answer(market, asked, panel[3], 100)


def test_answers__quorum_changed_since__is_that_of_the_request(market, actors, panel):
    asked = request(market, actors.producer)
    set_panel(market, 5)
    for operator in panel[:3]:
        answer(market, asked, operator, 9)
    assert status(market, asked) == FULFILLED


def test_answers__of_those_who_left_the_panel__decide_nothing_and_are_judged(market, actors, panel):
    asked = request(market, actors.producer)
    for liar in panel[3:]:
        answer(market, asked, liar, 999_999)
        set_operator(market, liar, active=False)
    for operator, value in zip(panel[:2], (102, 100), strict=True):
        answer(market, asked, operator, value)
    assert (datum(market), status(market, asked)) == (0, PENDING)
    answer(market, asked, panel[2], 101)
    assert (datum(market), status(market, asked)) == (101, FULFILLED)
    assert [counts(market, operator)[2] for operator in panel] == [0, 0, 0, 1, 1]


def test_answers__after_those_who_left_the_panel_were_set_aside__judged_by_the_same_median(market, actors, panel):
    asked = request(market, actors.producer)
    answer(market, asked, panel[4], 999)
    set_operator(market, panel[4], active=False)
    for operator in panel[:3]:
        answer(market, asked, operator, 100)
    (late,) = market.events(answer(market, asked, panel[3], 999), "DatumOutlier")
    assert (late.args["median"], datum(market)) == (100, 100)


def test_answers__of_one_who_is_back_on_the_panel__count_again(market, actors, panel):
    asked = request(market, actors.producer)
    answer(market, asked, panel[0], 7)
    set_operator(market, panel[0], active=False)
    set_operator(market, panel[0])
    for operator in panel[1:3]:
        answer(market, asked, operator, 7)
    assert status(market, asked) == FULFILLED


# --------------------------------------------------------------- outliers and silence


@pytest.mark.parametrize(("value", "outlier"), [(90, False), (110, False), (89, True), (111, True), (-100, True)])
def test_answers__further_from_the_median_than_the_tolerance__are_outliers(market, actors, panel, value, outlier):
    asked = request(market, actors.producer)
    answer(market, asked, panel[0], value)
    answer(market, asked, panel[1], 100)
    outcome = answer(market, asked, panel[2], 100)
    told = [e.args for e in market.events(outcome, "DatumOutlier")]
    args = {"requestId": asked, "operator": panel[0].address, "value": value, "median": 100}
    assert told == ([args] if outlier else [])
    assert counts(market, panel[0]) == (1, 1, int(outlier))


def test_answers__median_zero__everything_else_is_an_outlier(market, actors, panel):
    asked = request(market, actors.producer)
    for operator, value in zip(panel[:3], (-1, 0, 0), strict=True):
        answer(market, asked, operator, value)
    assert [counts(market, operator)[2] for operator in panel[:3]] == [1, 0, 0]


def test_operator_of__silent_ones__were_asked_and_did_not_answer(market, actors, panel):
    for _ in range(2):
        asked = request(market, actors.producer)
        answer(market, asked, panel[0], 5)
        to_block(market, market.chain.head().number + TIMEOUT_BLOCKS + 2)
        time_out(market, asked)
    assert [counts(market, operator)[:2] for operator in panel[:2]] == [(2, 2), (2, 0)]


def test_operator_of__while_it_had_no_seat__was_not_asked(market, actors, panel):
    request(market, actors.producer)
    set_operator(market, panel[4], active=False)
    request(market, actors.producer)
    assert counts(market, panel[4]) == (1, 0, 0)
    set_operator(market, panel[4])
    request(market, actors.producer)
    assert (counts(market, panel[4]), counts(market, panel[0])) == ((2, 0, 0), (3, 0, 0))


def test_operator_of__requests_for_readings__are_not_asked_of_the_panel(market, actors, panel):
    market.meter("m-1", actors.producer)
    request(market, actors.producer, 0, b"m-1".ljust(32, b"\0"))
    assert counts(market, panel[0]) == (0, 0, 0)


def test_request__timed_out_without_a_quorum__is_made_again_and_blocks_nothing(market, actors, panel):
    asked = request(market, actors.producer)
    answer(market, asked, panel[0], 5)
    to_block(market, market.chain.head().number + TIMEOUT_BLOCKS + 2)
    time_out(market, asked)
    with reverts(errors.RequestNotPending, requestId=asked, status=TIMED_OUT):
        answer(market, asked, panel[1], 5)
    again = request(market, actors.producer, DATUM, FT)
    for operator in panel[:3]:
        answer(market, again, operator, 7)
    assert (datum(market), status(market, again)) == (7, FULFILLED)


def test_answer__fifteenth_of_a_full_panel__costs_a_bounded_amount_of_gas(market, actors):
    seat(market, *OTHERS[: MAX_OPERATORS - 1])
    set_panel(market, MAX_OPERATORS, 0)
    asked = request(market, actors.producer)
    for i, operator in enumerate((actors.oracle_operator, *OTHERS[: MAX_OPERATORS - 1])):
        outcome = answer(market, asked, operator, (-1) ** i * 10 * i)
    assert len(market.events(outcome, "DatumOutlier")) == MAX_OPERATORS - 1
    assert outcome.gas_used < 700_000
