"""Moves epochs on: clears what has ended, rolls standing orders, gives up expired oracle requests, retires GRID.

Every pass looks at the chain and does what is due there, so it can be stopped and started at any moment, and several
keepers may run. They take turns by address and epoch: the first two clear at once, so that one may be away, and every
further one leaves those before it a block more. At most one of their transactions an epoch is therefore in vain.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from busbar import errors, metrics
from busbar.chain import RESTING, Account, Call, Chain, DryRun, Head, Imports, Outcome, Signer, decode_revert
from busbar.signing import unpack_orders
from busbar.units import ENERGY_UNITS_PER_WH

RETIRE_BATCH = 100
"""Accounts to a retirement, which stays far below the gas cap of a transaction."""

SETTLE_BATCH = 50
"""Accounts to a settlement: with 100 orders each, far below the gas cap of a transaction."""

ROLL_ORDERS = 250
"""Orders to a roll: 5.5 million gas if each is alone in its account and all lie at neighbouring ticks, by
bench/results/gas.md. Ticks far apart and words used for the first time take more, but not three times as much."""

QUIET_SHARE = 10
"""A block is quiet if at most one part in so many of its gas is used."""

ACTIVE = 1
"""Status of an account that may enter orders."""

MARKET_MAKER = 4
"""The role by its number, as in `busbar.deployment.ROLES`."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Due:
    """What a pass found to do.

    Attributes:
        clear: Zones with an ended epoch that is not cleared.
        expired: Oracle requests older than 100 blocks.
        retire: Accounts with auto-retire on that hold GRID and owe import.
        roll: Accounts whose standing orders wait for the open epoch, and how many orders they had.
    """

    clear: tuple[int, ...]
    expired: tuple[bytes, ...]
    retire: tuple[str, ...]
    roll: tuple[tuple[str, int], ...] = ()


def rollable(accounts: Sequence[Account], paused: Collection[int] = ()) -> tuple[tuple[str, int], ...]:
    """Accounts whose standing orders rest and would be let in, and how many orders they have.

    Args:
        accounts: As of the block that is looked at.
        paused: Zones that let nothing in.
    """
    return tuple(
        (account.address, account.order_count)
        for account in accounts
        if account.standing == RESTING and account.status == ACTIVE and account.zone not in paused
    )


def batches(roll: Sequence[tuple[str, int]]) -> list[list[str]]:
    """Accounts of which as many as fit are rolled together, in order."""
    found: list[list[str]] = []
    room = 0
    for address, orders in roll:
        if orders > room:
            found.append([])
            room = ROLL_ORDERS
        found[-1].append(address)
        room -= orders
    return found


def retirable(accounts: Sequence[Account], imports: Sequence[Imports]) -> tuple[str, ...]:
    """Accounts for which a keeper may burn GRID: auto-retire on, import outstanding, a free Wh at least."""
    return tuple(
        account.address
        for account, ledger in zip(accounts, imports, strict=True)
        if ledger.auto_retire and ledger.outstanding_wh and account.energy_free_uwh >= ENERGY_UNITS_PER_WH
    )


class RefusedError(errors.BusbarError):
    """Something that was due was refused; the message names the first and why."""


def must_be_done(outcomes: Sequence[Outcome]) -> None:
    """Refuses a pass in which something was refused. Another keeper's being first is none, nor is a dry run.

    Raises:
        RefusedError: Something was.
    """
    refused = [o for o in outcomes if o.error is not None and not isinstance(o.error, (errors.NothingToClear, DryRun))]
    if refused:
        first = refused[0]
        raise RefusedError(f"{len(refused)} of {len(outcomes)} refused, the first: {first.call}: {first.error}")


def turn(address: str, keepers: Sequence[str], epoch: int) -> int:
    """How many keepers go before this one in an epoch: everybody is first in turn. 0 for one that is not among them."""
    order = sorted(keepers)
    return (order.index(address) - epoch) % len(order) if address in order else 0


class Keeper:
    """A keeper for some zones.

    Args:
        chain: The market.
        signer: A market maker.
        zones: Zones to look after.
        keepers: Addresses of all keepers of the market, this one included; nobody else if not given.
        settle_idle: Settle accounts that have not acted since their orders' epoch, in quiet blocks.
        roll: Roll standing orders into the open epoch.
    """

    def __init__(
        self,
        chain: Chain,
        signer: Signer,
        zones: Sequence[int] = (1,),
        *,
        keepers: Sequence[str] = (),
        settle_idle: bool = False,
        roll: bool = True,
    ) -> None:
        self.chain = chain
        self.signer = signer
        self.zones = tuple(zones)
        self.keepers = tuple(keepers)
        self.settle_idle = settle_idle
        self.roll = roll
        self._rolled: tuple[int, set[str]] = (-1, set())
        self._first_seen: dict[object, int] = {}
        self._settled_in = -1

    def ended(self, head: Head) -> tuple[int, ...]:
        """Zones with an ended epoch that is not cleared."""
        return tuple(zone for zone in self.zones if self.chain.clearing_due(zone, head.number) is not None)

    def look(self) -> Due:
        """What is due on the newest block."""
        head = self.chain.head()
        participants = self.chain.participants(head.number)
        accounts = self.chain.accounts(participants, head.number)
        imports = self.chain.imports(participants, head.number)
        paused = {zone for zone in self.zones if self.roll and self.chain.zone(zone, head.number).paused}
        mine = [account for account in accounts if account.zone in self.zones] if self.roll else []
        roll = rollable(mine, paused)
        return Due(self.ended(head), self._expired(head.number), retirable(accounts, imports), roll)

    def _expired(self, block: int) -> tuple[bytes, ...]:
        pending = self.chain.view("OracleClient", "pendingRequests", 0, 100, block=block)
        if not pending:
            return ()
        timeout = self.chain.view("OracleClient", "TIMEOUT_BLOCKS", block=block)
        found = self.chain.read([Call("OracleClient", "requestOf", (request,)) for request in pending], block)
        return tuple(r for r, (_, _, _, asked, *_) in zip(pending, found, strict=True) if block > asked + timeout)

    def step(self) -> list[Outcome]:
        """Does what is due now. A refusal is reported in its outcome and tried again by the next pass.

        Clearing goes before everything, so that nothing delays it.
        """
        head = self.chain.head()
        epoch = self.chain.calendar.epoch_at(head.timestamp)
        outcomes = [self._try(call) for call in self._clearings(head, epoch)]
        due = self.look()
        before = self._before(epoch, head)
        seen: set[object] = {("clear", zone) for zone in due.clear}
        roll = self._untried(due.roll, epoch)
        if roll and self._waited("roll", head, before):
            outcomes += self._roll(roll)
        if due.expired and self._waited(("expired", due.expired[0]), head, before):
            outcomes.append(self._try(Call("OracleClient", "timeOutRequests", (list(due.expired),), label="time out")))
        if due.retire and self._waited("retire", head, before):
            for start in range(0, len(due.retire), RETIRE_BATCH):
                accounts = list(due.retire[start : start + RETIRE_BATCH])
                outcomes.append(self._try(Call("Metering", "retireFor", (accounts,), label="retire")))
        seen |= {("expired", request) for request in due.expired[:1]}
        seen |= {what for what, found in (("retire", due.retire), ("roll", roll)) if found}
        self._first_seen = {what: block for what, block in self._first_seen.items() if what in seen}
        if self.settle_idle and not seen and head.gas_used * QUIET_SHARE <= head.gas_limit:
            outcomes += self._settle(head, epoch)
        return outcomes

    def _clearings(self, head: Head, epoch: int) -> list[Call]:
        """What this keeper clears now; the others of a market are left their turn."""
        calls = []
        for zone in self.ended(head):
            before = self._before(epoch, head)
            call = Call("Trading", "matchOrders", (zone,), label="clear")
            # The second in turn goes at once too, unless it sees that the first has gone.
            if not self._waited(("clear", zone), head, before - 1):
                continue
            if before and isinstance(self.chain.refusal_in_pool(self.signer.address, call), errors.NothingToClear):
                continue
            calls.append(call)
        return calls

    def _before(self, epoch: int, head: Head) -> int:
        """How many keepers go before this one: of those named, the ones that hold the role."""
        if not self.keepers:
            return 0
        held = self.chain.read(
            [Call("Authority", "hasRole", (MARKET_MAKER, keeper)) for keeper in self.keepers], head.number
        )
        return turn(self.signer.address, [k for k, (has, _) in zip(self.keepers, held, strict=True) if has], epoch)

    def _waited(self, what: object, head: Head, blocks: int) -> bool:
        """Whether something has been due for so many blocks."""
        return head.number >= self._first_seen.setdefault(what, head.number) + blocks

    def _untried(self, due: Sequence[tuple[str, int]], epoch: int) -> list[tuple[str, int]]:
        """Accounts that were not rolled in this epoch: one that was skipped waits for its owner, or the next."""
        if self._rolled[0] != epoch:
            self._rolled = (epoch, set())
        return [(address, orders) for address, orders in due if address not in self._rolled[1]]

    def _roll(self, due: Sequence[tuple[str, int]]) -> list[Outcome]:
        """Rolls standing orders."""
        outcomes = []
        for accounts in batches(due):
            outcome = self._try(Call("Trading", "roll", (accounts,), label="roll"))
            outcomes.append(outcome)
            if outcome.error is None:
                self._rolled[1].update(accounts)
                self._told(outcome)
        return outcomes

    def _told(self, outcome: Outcome) -> None:
        """Counts what a roll did, and says what it did not."""
        for event in self.chain.decode_logs(outcome.logs):
            if event.name == "OrdersRolled":
                metrics.ROLLED.labels("entered").inc(len(unpack_orders(event.args["orders"])))
            elif event.name == "RollSkipped":
                metrics.ROLLED.labels("skipped").inc()
                reason = str(decode_revert(event.args["reason"]))
                log.warning("not rolled", account=event.args["account"], reason=reason)

    def _settle(self, head: Head, epoch: int) -> list[Outcome]:
        """Settles, once an epoch, accounts whose orders ended an epoch ago or more."""
        if self._settled_in == epoch:
            return []
        self._settled_in = epoch
        accounts = self.chain.accounts(self.chain.participants(head.number), head.number)
        # What rests is settled for all that anybody can see, and by whoever rolls it.
        idle = [a.address for a in accounts if a.epoch < epoch - 1 and a.standing != RESTING]
        held = self.chain.read([Call("Trading", "ordersOf", (address,)) for address in idle], head.number)
        unsettled = [address for address, orders in zip(idle, held, strict=True) if orders]
        return [
            self._try(Call("Trading", "settle", (unsettled[start : start + SETTLE_BATCH],), label="settle"))
            for start in range(0, len(unsettled), SETTLE_BATCH)
        ]

    def _try(self, call: Call) -> Outcome:
        outcome = self.chain.send_many([(self.signer, call)])[0]
        if outcome.error is not None:
            metrics.failed(outcome.error)
        match outcome.error:
            case None:
                log.info("done", call=str(call), gas=outcome.gas_used, block=outcome.block)
            case errors.NothingToClear():
                log.info("another keeper was first", call=str(call))
            case problem:
                log.warning("refused", call=str(call), reason=str(problem))
        return outcome
