"""Agents on the real chain: once an epoch, after the readings, whenever they are stopped."""

import pytest
from structlog.testing import capture_logs

from busbar import errors
from busbar.agents import Agent, Agents, Corridor, Role, TariffClock
from busbar.chain import Call, Chain, NotMinedError
from busbar.orders import Side
from tests.market import MONEY, ZONE

OPEN = Corridor(buyback_tick=220, retail_tick=431)


class SteadyTariff(TariffClock):
    """The same corridor at all times; remembers which times it was asked about."""

    def __init__(self, corridor=OPEN):
        self.steady = corridor
        self.asked = []

    def corridor(self, timestamp):
        self.asked.append(timestamp)
        return self.steady


class Street:
    """A roof that exports 900 Wh and a shop that imports 600 Wh an epoch, and the utility."""

    def __init__(self, market):
        self.market = market
        actors = market.actors
        self.roof = market.meter("ROOF-1", actors.producer)
        self.shop = market.meter("SHOP-1", actors.consumer, kind=2)
        self.utility = actors.third_consumer
        self.agents = [
            Agent("roof", Role.PROSUMER, actors.producer, ("ROOF-1",)),
            Agent("shop", Role.CONSUMER, actors.consumer, ("SHOP-1",)),
            Agent("utility", Role.UTILITY, self.utility),
        ]
        market.next_epoch()

    def read(self, *, roof=True, shop=True):
        """Both meters are read, at the start of the open epoch."""
        at = self.market.chain.calendar.start(self.market.epoch)
        due = [self.roof.read(export_wh=900, at=at)] * roof + [self.shop.read(import_wh=600, at=at)] * shop
        self.market.submit(*due)

    def bot(self, chain=None, agents=None, tariff=None, epochs=None, seed=1):
        return Agents(chain or self.market.chain, agents or self.agents, tariff or SteadyTariff(), seed, epochs)

    def entered(self):
        """(who, epoch, side, Wh) of every order so far."""
        names = {agent.signer.address: agent.name for agent in self.agents}
        kinds = [("Trading", "OrdersEntered")]
        found = []
        for event in self.market.chain.events(kinds, 0, self.market.chain.head().number):
            for word in event.args["orders"]:
                side = Side(word >> 34 & 1).name
                found.append((names[event.args["account"]], event.args["epoch"], side, word & (1 << 24) - 1))
        return sorted(found)


@pytest.fixture
def street(market):
    """At the start of an epoch, before the readings."""
    return Street(market)


@pytest.fixture(autouse=True)
def pool_left_empty(market):
    """Snapshots do not hold what waits for a block: a test that leaves something there would haunt the next."""
    yield
    market.chain.node.request("anvil_dropAllTransactions")


def impatient(market):
    """The market through a process that makes no blocks and is gone before anybody does."""
    return Chain(market.devnet.url, market.chain.addresses, timeout_s=0)


def warnings(logged):
    return [entry["event"] for entry in logged if entry["log_level"] == "warning"]


def test_step__after_the_readings__everybody_enters_what_it_wants_once(market, street):
    street.read()
    bot = street.bot()
    assert all(outcome.ok for outcome in bot.step())
    epoch = market.epoch
    assert street.entered() == [
        ("roof", epoch, "ASK", 900),
        ("shop", epoch, "BID", 600),
        ("utility", epoch, "BID", 900 * 11 // 10 + 100),
    ]
    assert bot.step() == []
    assert street.bot().step() == []


def test_step__not_read_yet__waits_for_the_reading(market, street):
    street.read(shop=False)
    street.bot().step()
    assert [who for who, *_ in street.entered()] == ["roof", "utility"]
    street.read(roof=False)
    street.bot().step()
    assert [who for who, *_ in street.entered()] == ["roof", "shop", "utility"]


def test_step__read_only_until_the_epoch_before__waits(market, street):
    street.read()
    market.next_epoch()
    street.bot(agents=street.agents[:2]).step()
    assert street.entered() == []


def test_step__two_meters__waits_for_both(market, street):
    other = market.meter("ROOF-2", market.actors.producer)
    both = [Agent("roof", Role.PROSUMER, market.actors.producer, ("ROOF-1", "ROOF-2"))]
    at = market.chain.calendar.start(market.next_epoch())
    street.read()
    assert street.bot(agents=both).step() == []
    market.submit(other.read(export_wh=300, at=at))
    street.bot(agents=both).step()
    assert street.entered() == [("roof", market.epoch, "ASK", 1_200)]


def test_step__next_epoch__trades_again_and_what_was_left_accumulates(market, street):
    street.read()
    first = market.epoch
    street.bot().step()
    market.next_epoch()
    street.read()
    street.bot().step()
    by_shop = [(epoch, wh) for who, epoch, _, wh in street.entered() if who == "shop"]
    # The first 600 Wh were bought and cover half of the 1,200 Wh that are owed by now.
    assert by_shop == [(first, 600), (first + 1, 600)]


def test_step__tariff__is_asked_for_the_start_of_the_open_epoch(market, street):
    street.read()
    market.pass_time(300)
    tariff = SteadyTariff()
    street.bot(tariff=tariff).step()
    assert set(tariff.asked) == {market.chain.calendar.start(market.epoch)}


def test_step__surplus_below_the_smallest_order__waits_until_it_is_enough(market, street):
    agents = street.agents[:1]
    at = market.chain.calendar.start(market.epoch)
    market.submit(street.roof.read(export_wh=60, at=at))
    assert street.bot(agents=agents).step() == []
    at = market.chain.calendar.start(market.next_epoch())
    market.submit(street.roof.read(export_wh=60, at=at))
    street.bot(agents=agents).step()
    assert street.entered() == [("roof", market.epoch, "ASK", 120)]


# ------------------------------------------------------------------- stopped and started


def test_step__stopped_before_the_receipt_and_started_again__enters_once(market, street):
    street.read()
    lost = street.bot(impatient(market)).step()
    assert [type(outcome.error) for outcome in lost] == [NotMinedError] * 3
    for _ in range(2):
        street.bot(impatient(market)).step()
    market.devnet.mine()
    assert street.bot().step() == []
    assert [who for who, *_ in street.entered()] == ["roof", "shop", "utility"]


def test_step__stopped_with_half_of_them_in__enters_the_other_half(market, street):
    street.read()
    street.bot(agents=street.agents[:1]).step()
    assert len(street.bot().step()) == 2
    assert [who for who, *_ in street.entered()] == ["roof", "shop", "utility"]


def test_step__order_cancelled_by_its_owner__is_not_entered_again(market, street):
    street.read()
    street.bot().step()
    market.cancel(market.actors.producer, market.order_id(market.actors.producer))
    assert street.bot().step() == []


def test_step__two_processes_for_the_same_accounts__enter_once(market, street):
    street.read()
    street.bot(impatient(market)).step()
    street.bot(impatient(market), seed=99).step()
    market.devnet.mine()
    assert [who for who, *_ in street.entered()] == ["roof", "shop", "utility"]


def test_step__first_process_is_included_between_look_and_sending__enters_once(market, street):
    """The old process is gone, the new one has looked, and only then a block takes the old one's orders in."""
    street.read()
    street.bot(impatient(market)).step()
    chain = Chain(market.devnet.url, market.chain.addresses, after_send=market.devnet.mine)
    look = chain.imports

    def imports_then_block(addresses, block=None):
        found = look(addresses, block)
        market.devnet.mine()
        return found

    chain.imports = imports_then_block
    outcomes = street.bot(chain).step()
    assert [outcome.ok for outcome in outcomes] == [False] * 3
    assert [who for who, *_ in street.entered()] == ["roof", "shop", "utility"]


@pytest.mark.parametrize("into_next_epoch", [False, True])
@pytest.mark.parametrize("after", ["head", "nonces", "accounts", "imports", "registers"])
def test_step__node_answers_for_a_later_block_than_asked_for__enters_once(market, street, after, into_next_epoch):
    """Anvil does so while it mines: asked for block N it may answer for N + 1, and the old one's orders are in that."""
    street.read()
    street.bot(impatient(market)).step()
    chain = Chain(market.devnet.url, market.chain.addresses, after_send=market.devnet.mine)
    look, batch = getattr(chain, after), chain.node.batch

    def look_then_block(*args):
        found = look(*args)
        if into_next_epoch:
            market.devnet.mine(market.chain.calendar.start(market.epoch + 1) + 1)
        else:
            market.devnet.mine()
        return found

    def newest(calls, *size):
        return batch([(method, ["latest" if is_block(p) else p for p in params]) for method, params in calls], *size)

    def is_block(parameter):
        return isinstance(parameter, str) and parameter.startswith("0x") and len(parameter) < 42

    setattr(chain, after, look_then_block)
    chain.node.batch = newest
    assert not any(outcome.ok for outcome in street.bot(chain).step())
    market.devnet.mine()
    assert [who for who, *_ in street.entered()] == ["roof", "shop", "utility"]


# -------------------------------------------------------------------------------- utility


def test_step__utility_bought_something__burns_it_once(market, street):
    street.read()
    market.sell(market.actors.producer, 220, 900)
    utility = street.agents[2:]
    street.bot(agents=utility).step()
    market.next_epoch()
    surrendered, entered = street.bot(agents=utility).step()
    assert market.events(surrendered, "Surrendered")[0].args["energyWh"] == 900
    assert entered.call.function == "createOrders"
    assert street.bot(agents=utility).step() == []
    assert market.token_balance("GridToken", market.chain.addresses["Trading"]) == 0


def test_step__stopped_while_surrendering__burns_once(market, street):
    market.give_energy(street.utility, 250)
    for _ in range(2):
        street.bot(impatient(market), epochs=range(0)).step()
    market.devnet.mine()
    assert street.bot(epochs=range(0)).step() == []
    burnt = market.chain.events([("Metering", "Surrendered")], 0, market.chain.head().number)
    assert [event.args["energyWh"] for event in burnt] == [250]


# --------------------------------------------------------------------------------- bounds


def test_step__outside_its_epochs__enters_nothing(market, street):
    street.read()
    epoch = market.epoch
    assert street.bot(epochs=range(epoch + 1, epoch + 9)).step() == []
    assert street.bot(epochs=range(epoch)).step() == []
    assert len(street.bot(epochs=range(epoch, epoch + 1)).step()) == 3


def test_step__one_of_them_suspended__the_others_trade(market, street):
    street.read()
    market.chain.send(market.actors.distributor, Call("Registry", "setStatus", (market.actors.producer.address, 2)))
    with capture_logs() as logged:
        outcomes = street.bot().step()
    assert [type(outcome.error) for outcome in outcomes] == [errors.AccountSuspended, type(None), type(None)]
    assert [who for who, *_ in street.entered()] == ["shop", "utility"]
    assert warnings(logged) == ["refused"]


def test_step__money_spent_behind_its_back__is_out_of_funds_and_the_others_trade(market, street):
    """Between the look and the sending the shop's owner withdraws its money."""
    street.read()

    class Absent:
        address = market.actors.consumer.address

        def sign(self, _):
            raise AssertionError("nothing can be paid for, so nothing is signed")

    chain = Chain(market.devnet.url, market.chain.addresses, after_send=market.devnet.mine)
    send_many = chain.send_many

    def withdrawal_then_sending(*batch):
        free = market.account(market.actors.consumer).money_free_units
        market.withdraw(market.actors.consumer, MONEY, market.chain.money.to_wei(free))
        return send_many(*batch)

    chain.send_many = withdrawal_then_sending
    agents = [street.agents[0], Agent("shop", Role.CONSUMER, Absent(), ("SHOP-1",))]
    with capture_logs() as logged:
        outcomes = street.bot(chain, agents).step()
    assert [type(outcome.error) for outcome in outcomes] == [type(None), errors.InsufficientFree]
    assert warnings(logged) == ["out of funds"]
    assert [who for who, *_ in street.entered()] == ["roof"]


def test_step__zone_paused__is_refused_and_tried_again(market, street):
    street.read()
    market.chain.send(market.actors.regulator, Call("Trading", "setPaused", (ZONE, True)))
    bot = street.bot()
    assert {type(outcome.error) for outcome in bot.step()} == {errors.ZonePaused}
    market.chain.send(market.actors.regulator, Call("Trading", "setPaused", (ZONE, False)))
    assert all(outcome.ok for outcome in bot.step())
    assert len(street.entered()) == 3


def test_step__node_shows_a_later_block_in_the_middle_of_the_look__looks_again(market, street, monkeypatch):
    """As anvil does while it mines: the account still holds what the import ledger no longer owes."""
    street.read()
    market.submit(street.roof.read(import_wh=400))
    bot = street.bot()
    accounts, imports = market.chain.accounts, market.chain.imports
    first = iter([accounts])

    def account_before_or_newest(addresses, block=None):
        look = next(first, None)
        return look(addresses, block) if look else accounts(addresses)

    def newest_import(addresses, _=None):
        return imports(addresses)

    def import_after_retiring(addresses, _=None):
        monkeypatch.setattr(market.chain, "imports", newest_import)
        market.chain.send(market.actors.producer, Call("Metering", "retire", (400,)))
        return imports(addresses)

    monkeypatch.setattr(market.chain, "accounts", account_before_or_newest)
    monkeypatch.setattr(market.chain, "imports", import_after_retiring)
    assert bot.step() == []
    bot.step()
    assert ("roof", market.epoch, "ASK", 500) in street.entered()


def test_step__node_shows_a_reading_before_its_block__looks_again(market, street, monkeypatch):
    """The register is of the next block, account and import ledger are not: what the reading brought is missing."""
    market.give_energy(market.actors.producer, 500)
    bot = street.bot(agents=street.agents[:1])
    registers = market.chain.registers

    def registers_of_the_next_block(meter_ids, _):
        monkeypatch.setattr(market.chain, "registers", registers)
        at = market.chain.calendar.start(market.epoch)
        market.submit(street.roof.read(import_wh=400, at=at))
        return registers(meter_ids, market.chain.head().number)

    monkeypatch.setattr(market.chain, "registers", registers_of_the_next_block)
    assert bot.step() == []
    bot.step()
    assert street.entered() == [("roof", market.epoch, "ASK", 100)]
