"""What participants want, turned into orders.

Deciding is pure: `decide` takes what an agent can see and returns the orders it would enter. Sending happens in
`Agents`, which looks at the chain first: whoever has entered an order in this epoch, or has not been read yet, is left
alone. So agents can be stopped and started at any moment without entering anything twice.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog

from busbar import errors, metrics
from busbar.chain import Account, Call, Chain, Head, Imports, Outcome, Signer, create_orders_call
from busbar.orders import Order, Side
from busbar.units import ENERGY_UNITS_PER_WH, MAX_ORDER_WH, MAX_ORDERS, MAX_TICK, MIN_ORDER_WH, MIN_TICK

log = structlog.get_logger(__name__)


class Role(StrEnum):
    """How an agent trades."""

    PROSUMER = "prosumer"
    CONSUMER = "consumer"
    UTILITY = "utility"


@dataclass(frozen=True, slots=True)
class Agent:
    """A participant with somebody acting for it.

    Attributes:
        name: For people and logs.
        role: How it trades.
        signer: Its key.
        meter_ids: Its meters; it waits until all of them are read.
    """

    name: str
    role: Role
    signer: Signer
    meter_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Corridor:
    """Prices between which trading makes sense for both, in ticks per kWh: buyback below, retail above.

    Attributes:
        buyback_tick: The least a seller should accept: buyback rounded up.
        retail_tick: The most a buyer should bid: retail rounded down.
        utility_tick: The utility's own bid: buyback rounded down. None where buyback is a whole tick.
    """

    buyback_tick: int
    retail_tick: int
    utility_tick: int | None = None


class TariffClock:
    """Buyback and retail at a chain time. Replays that move the dates look the price up at the data's own time."""

    def corridor(self, timestamp: int) -> Corridor:
        """The corridor at a chain time."""
        raise NotImplementedError


def draw_limit(seed: int, account: str, epoch: int, low: int, high: int) -> int:
    """A limit between low and high, both included: always the same for the same seed, account and epoch.

    A hash and no generator, so that a restarted agent draws what it would have drawn.
    """
    digest = hashlib.sha256(f"{seed}:{account.lower()}:{epoch}".encode()).digest()
    return low + int.from_bytes(digest[:8], "big") % (high - low + 1)


def decide(
    role: Role,
    account: Account,
    imports: Imports,
    corridor: Corridor,
    *,
    epoch: int,
    seed: int,
    market_energy_uwh: int,
) -> list[Order]:
    """Orders a participant enters in an epoch, given what stands on chain at one block.

    A prosumer or consumer first covers its own outstanding import with the GRID it has; what is left it offers, what
    is missing it bids for, at a limit drawn inside the corridor. Below the smallest order it waits: amounts add up.
    The utility bids at the buyback price for more than all the GRID there is.

    Args:
        role: How it trades.
        account: Its account.
        imports: Its import ledger.
        corridor: Buyback and retail now.
        epoch: The open epoch.
        seed: Seed of the limits.
        market_energy_uwh: All energy held in the market, which bounds the possible supply.

    Returns:
        Orders it can pay for; none if there is no sensible trade.
    """
    floor, ceiling = max(corridor.buyback_tick, MIN_TICK), min(corridor.retail_tick, MAX_TICK)
    if floor > MAX_TICK:
        return []
    if role is Role.UTILITY:
        tick = corridor.buyback_tick if corridor.utility_tick is None else corridor.utility_tick
        needed_wh = market_energy_uwh // ENERGY_UNITS_PER_WH * 11 // 10 + MIN_ORDER_WH
        return _affordable(account, tick, needed_wh) if tick >= MIN_TICK else []
    free_wh = account.energy_free_uwh // ENERGY_UNITS_PER_WH
    surplus_wh = free_wh - imports.outstanding_wh
    if ceiling <= floor:
        return []
    if surplus_wh >= MIN_ORDER_WH:
        tick = draw_limit(seed, account.address, epoch, floor, ceiling)
        return [Order(Side.ASK, tick, wh) for wh in _pieces(surplus_wh)]
    if -surplus_wh >= MIN_ORDER_WH:
        # Below retail: at retail itself the grid is as good.
        tick = draw_limit(seed, account.address, epoch, floor, ceiling - 1)
        return _affordable(account, tick, -surplus_wh)
    return []


def _affordable(account: Account, tick: int, energy_wh: int) -> list[Order]:
    """Bids for as much of the energy as the free money pays at the limit."""
    payable_wh = account.money_free_units // (2 * tick * ENERGY_UNITS_PER_WH)
    return [Order(Side.BID, tick, wh) for wh in _pieces(min(energy_wh, payable_wh))]


def _pieces(energy_wh: int) -> list[int]:
    """An amount as order sizes: whole orders of the largest size and a rest, if the rest is large enough."""
    whole, rest = divmod(energy_wh, MAX_ORDER_WH)
    sizes = [MAX_ORDER_WH] * whole + ([rest] if rest >= MIN_ORDER_WH else [])
    return sizes[:MAX_ORDERS]


class Agents:
    """Acts for participants.

    Args:
        chain: The market.
        agents: For whom.
        tariff: Corridor by chain time.
        seed: Seed of the limits.
        epochs: Epochs in which to trade; outside, nothing is entered. None for always.
    """

    def __init__(
        self,
        chain: Chain,
        agents: Sequence[Agent],
        tariff: TariffClock,
        seed: int,
        epochs: range | None = None,
    ) -> None:
        self.chain = chain
        self.agents = tuple(agents)
        self.tariff = tariff
        self.seed = seed
        self.epochs = epochs

    def step(self) -> list[Outcome]:
        """Acts once for everyone who has not acted in the open epoch."""
        head = self.chain.head()
        addresses = [agent.signer.address for agent in self.agents]
        # An order entered twice is two orders: with nonces older than the look, whoever has acted since is refused.
        nonces = self.chain.nonces(addresses, head.number)
        accounts = dict(zip(addresses, self.chain.accounts(addresses, head.number), strict=True))
        batch = self._surrenders(accounts)
        epoch = self.chain.calendar.epoch_at(head.timestamp)
        if self.epochs is None or epoch in self.epochs:
            batch += self._orders(accounts, head, epoch)
        return self._send(batch, nonces)

    def _orders(self, accounts: Mapping[str, Account], head: Head, epoch: int) -> list[tuple[Signer, Call]]:
        """Orders of everyone who has entered none in the epoch and whose meters have been read for it."""
        addresses = list(accounts)
        imports = dict(zip(addresses, self.chain.imports(addresses, head.number), strict=True))
        read_until = self._read_until(head.number)
        energy, _ = self.chain.view("Trading", "totals", block=head.number)
        corridor = self.tariff.corridor(self.chain.calendar.start(epoch))
        batch: list[tuple[Signer, Call]] = []
        for agent in self.agents:
            account = accounts[agent.signer.address]
            # A node may show more than the block it was asked for, even the next epoch.
            acted = account.epoch >= epoch and account.order_count > 0
            unread = any(read_until[m] < self.chain.calendar.start(epoch) for m in agent.meter_ids)
            if acted or unread:
                continue
            orders = decide(
                agent.role,
                account,
                imports[account.address],
                corridor,
                epoch=epoch,
                seed=self.seed,
                market_energy_uwh=energy,
            )
            if orders:
                batch.append((agent.signer, create_orders_call(orders)))
        if batch and not self._stands(accounts, imports, read_until, head.number):
            log.info("looking again: the node showed two blocks as one", block=head.number)
            return []
        return batch

    def _stands(
        self,
        accounts: Mapping[str, Account],
        imports: Mapping[str, Imports],
        read_until: Mapping[str, int],
        block: int,
    ) -> bool:
        """Whether what was read is of one block: read again, it is the same.

        A node that shows a later block than it was asked for may do so in the middle of a look, and what a retirement
        took from the account would still stand in the import ledger.
        """
        addresses = list(accounts)
        again = self.chain.accounts(addresses, block), self.chain.imports(addresses, block), self._read_until(block)
        return again == (list(accounts.values()), list(imports.values()), read_until)

    def _surrenders(self, accounts: Mapping[str, Account]) -> list[tuple[Signer, Call]]:
        """The utility burns what it bought: it was delivered to its other customers."""
        batch: list[tuple[Signer, Call]] = []
        for agent in self.agents:
            whole_wh = accounts[agent.signer.address].energy_free_uwh // ENERGY_UNITS_PER_WH
            if agent.role is Role.UTILITY and whole_wh:
                batch.append((agent.signer, Call("Metering", "surrender", (whole_wh,), label="surrender")))
        return batch

    def _read_until(self, block: int) -> dict[str, int]:
        meter_ids = [meter_id for agent in self.agents for meter_id in agent.meter_ids]
        if not meter_ids:
            return {}
        return {r.meter_id: r.interval_end for r in self.chain.registers(meter_ids, block)}

    def _send(self, batch: Sequence[tuple[Signer, Call]], nonces: Mapping[str, int]) -> list[Outcome]:
        outcomes = self.chain.send_many(batch, nonces)
        for outcome in outcomes:
            if outcome.error is not None:
                metrics.failed(outcome.error)
            if isinstance(outcome.error, errors.InsufficientFree):
                log.warning("out of funds", account=outcome.sender, reason=str(outcome.error))
            elif outcome.error is not None:
                log.warning("refused", account=outcome.sender, call=str(outcome.call), reason=str(outcome.error))
            else:
                log.info("done", account=outcome.sender, call=str(outcome.call), gas=outcome.gas_used)
        return outcomes
