"""What the chain and the market look like, into a process's metrics.

A look costs a request or two and never fails a bot: what a node does not tell is left as it was.
"""

from collections.abc import Callable, Sequence

import structlog

from busbar import errors, metrics
from busbar.chain import Chain, Event, Outcome
from busbar.units import GRID_WEI_PER_WH

LOGS_AT_ONCE = 5_000
"""Blocks whose events are read in one look: most nodes answer for so many."""

KINDS = (
    ("Trading", "OrdersEntered"),
    ("Trading", "EpochCleared"),
    ("GridToken", "Minted"),
    ("Metering", "Retired"),
    ("Metering", "Surrendered"),
)

log = structlog.get_logger(__name__)


class Watch:
    """Looks after a process's metrics.

    Args:
        chain: The market.
        accounts: Whose balance is told.
        zones: Zones whose market is told; none for a bot that leaves that to the keeper.
        first_block: Where the totals begin: the block of the market's deployment.
    """

    def __init__(self, chain: Chain, accounts: Sequence[str], zones: Sequence[int] = (), first_block: int = 0) -> None:
        self.chain = chain
        self.accounts = tuple(accounts)
        self.zones = tuple(zones)
        self._next = first_block

    def after(self, step: Callable[[], list[Outcome]]) -> Callable[[], list[Outcome]]:
        """A bot's step, followed by a look."""

        def both() -> list[Outcome]:
            outcomes = step()
            try:
                self.look()
            except errors.BusbarError as problem:
                log.debug("metrics are not up to date", reason=str(problem))
            return outcomes

        return both

    def look(self) -> None:
        """Reads the newest block's state into the metrics."""
        head = self.chain.head()
        before, pool, peers, *balances = self.chain.node.batch(
            [
                ("eth_getBlockByNumber", [hex(max(head.number - 1, 0)), False]),
                ("txpool_status", []),
                ("net_peerCount", []),
                *(("eth_getBalance", [account, "latest"]) for account in self.accounts),
            ]
        )
        if isinstance(before, dict):
            metrics.BLOCK_SECONDS.set(head.timestamp - int(before["timestamp"], 16))
        if isinstance(pool, dict):
            for kind in ("pending", "queued"):
                metrics.POOL.labels(kind).set(int(pool[kind], 16))
        if isinstance(peers, str):
            metrics.PEERS.set(int(peers, 16))
        for account, balance in zip(self.accounts, balances, strict=True):
            if isinstance(balance, str):
                metrics.BALANCE.labels(account).set(int(balance, 16))
        if self.zones:
            self._market(head.number, self.chain.calendar.epoch_at(head.timestamp))

    def _market(self, block: int, epoch: int) -> None:
        metrics.EPOCH.set(epoch)
        for zone in self.zones:
            due = self.chain.clearing_due(zone, block)
            metrics.EPOCH_LAG.labels(zone).set(0 if due is None else epoch - due)
        last = min(block, self._next + LOGS_AT_ONCE - 1)
        if self._next <= last:
            for event in self.chain.events(KINDS, self._next, last):
                _count(event)
            self._next = last + 1


def _count(event: Event) -> None:
    args = event.args
    match event.name:
        case "OrdersEntered":
            metrics.ORDERS.inc(len(args["orders"]))
        case "EpochCleared" if args["result"]["volumeWh"]:
            metrics.TRADES.inc()
            metrics.TRADED.inc(args["result"]["volumeWh"])
            metrics.PRICE2.labels(args["zone"]).set(args["result"]["price2"])
            metrics.VOLUME.labels(args["zone"]).set(args["result"]["volumeWh"])
        case "Minted":
            metrics.MINTED.inc(args["amount"] // GRID_WEI_PER_WH)
        case "Retired":
            metrics.RETIRED.inc(args["previousWh"] + args["currentWh"])
        case "Surrendered":
            metrics.RETIRED.inc(args["energyWh"])
