"""Moves epochs on: clears what has ended, gives up expired oracle requests, retires GRID against import.

Every pass looks at the chain and does what is due there, so it can be stopped and started at any moment, and several
keepers may run: who comes second finds nothing to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from busbar import errors
from busbar.chain import Account, Call, Chain, Imports, Outcome, Signer
from busbar.units import ENERGY_UNITS_PER_WH

RETIRE_BATCH = 100
"""Accounts to a retirement, which stays far below the gas cap of a transaction."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Due:
    """What a pass found to do.

    Attributes:
        clear: Zones with an ended epoch that is not cleared.
        expired: Oracle requests older than 100 blocks.
        retire: Accounts with auto-retire on that hold GRID and owe import.
    """

    clear: tuple[int, ...]
    expired: tuple[bytes, ...]
    retire: tuple[str, ...]


def retirable(accounts: Sequence[Account], imports: Sequence[Imports]) -> tuple[str, ...]:
    """Accounts for which a keeper may burn GRID: auto-retire on, import outstanding, a free Wh at least."""
    return tuple(
        account.address
        for account, ledger in zip(accounts, imports, strict=True)
        if ledger.auto_retire and ledger.outstanding_wh and account.energy_free_uwh >= ENERGY_UNITS_PER_WH
    )


class Keeper:
    """A keeper for some zones.

    Args:
        chain: The market.
        signer: A market maker.
        zones: Zones to look after.
    """

    def __init__(self, chain: Chain, signer: Signer, zones: Sequence[int] = (1,)) -> None:
        self.chain = chain
        self.signer = signer
        self.zones = tuple(zones)

    def look(self) -> Due:
        """What is due on the newest block."""
        head = self.chain.head()
        clear = tuple(zone for zone in self.zones if self.chain.clearing_due(zone, head.number) is not None)
        participants = self.chain.participants(head.number)
        accounts = self.chain.accounts(participants, head.number)
        imports = self.chain.imports(participants, head.number)
        return Due(clear, self._expired(head.number), retirable(accounts, imports))

    def _expired(self, block: int) -> tuple[bytes, ...]:
        pending = self.chain.view("OracleClient", "pendingRequests", 0, 100, block=block)
        if not pending:
            return ()
        timeout = self.chain.view("OracleClient", "TIMEOUT_BLOCKS", block=block)
        found = self.chain.read([Call("OracleClient", "requestOf", (request,)) for request in pending], block)
        return tuple(r for r, (_, _, _, asked, *_) in zip(pending, found, strict=True) if block > asked + timeout)

    def step(self) -> list[Outcome]:
        """Does what is due now. A refusal is reported in its outcome and tried again by the next pass.

        Clearing goes before retiring: what was bought a moment ago can then be used.
        """
        due = self.look()
        outcomes = [self._try(Call("Trading", "matchOrders", (zone,), label="clear")) for zone in due.clear]
        if due.expired:
            outcomes.append(self._try(Call("OracleClient", "timeOutRequests", (list(due.expired),), label="time out")))
        for start in range(0, len(due.retire), RETIRE_BATCH):
            accounts = list(due.retire[start : start + RETIRE_BATCH])
            outcomes.append(self._try(Call("Metering", "retireFor", (accounts,), label="retire")))
        return outcomes

    def _try(self, call: Call) -> Outcome:
        outcome = self.chain.send_many([(self.signer, call)])[0]
        match outcome.error:
            case None:
                log.info("done", call=str(call), gas=outcome.gas_used, block=outcome.block)
            case errors.NothingToClear():
                log.debug("cleared already", call=str(call))
            case problem:
                log.warning("refused", call=str(call), reason=str(problem))
        return outcome
