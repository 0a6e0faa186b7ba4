"""The relay: the one owner of bringing what participants sign: bundles of orders in batches, errands one by one.

`Intake` takes them on: it refuses at once what could never take effect, and answers once the rest is in the outbox.
`Relay` brings them: first come, first served for each participant, participants in turn, the lower nonce first.

What became of a bundle is what the chain shows. A bundle's nonce can be used once, so a batch that is sent twice, by
a process that was killed or by a second relay, enters nothing twice; who was too late looks the bundle up and tells
the same. Skipped is for good: a participant who wants another try signs again.
"""

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from eth_hash.auto import keccak

from busbar import errands, errors, metrics
from busbar.chain import (
    RESTING,
    ROLL_GAS,
    TRANSACTION_GAS_CAP,
    Account,
    Call,
    Chain,
    Event,
    Head,
    NodeRefusedError,
    Outcome,
    Signer,
    decode_revert,
    enter_bundles_call,
)
from busbar.errands import Errand, SignedMessage
from busbar.orders import Order
from busbar.outbox import Item, KeyConflictError, Outbox, State
from busbar.rates import Rate
from busbar.signing import MAX_BATCH_BYTES, Bundle, EnteredBundle, SignedBundle, pack_batch

BATCH_GAS = 9_300_000
"""What a batch should take: three fill a block of 30 million, and with its room each stays below the cap. Larger ones
save next to nothing more, since 21,000 gas are shared by some hundreds of orders already."""

BUNDLE_GAS, ORDER_GAS = 60_000, 27_000
"""What a bundle and each further order are taken to need until a receipt shows better: words used the first time."""

WALLET_GAS = 105_000
"""What a contract wallet can burn when it is asked for its signature; Trading grants it 100,000."""

BYTE_GAS = 40
"""Most that a byte of a transaction costs (EIP-7623)."""

MIN_SCALE, MAX_SCALE = 0.1, 64
"""How far below that guess receipts take the relay, and how far above it goes when batches run out of gas."""

MOST_PAID = 2
"""How often an errand may fail in a block, at the relay's cost, before it is refused for good."""

FARTHEST_EPOCHS = 672
"""How far ahead a bundle's first epoch may lie: a week of quarter-hours."""

MAX_SIGNATURE_BYTES = 4_096
"""Longest signature of a contract wallet that is relayed."""

PAGE = 250
"""Bundles that are looked up together."""

KEEP_S = 7 * 86_400
"""How long the outbox keeps what has entered or expired."""

ENTERED = ("SignedOrderEntered", "BundleEntered")
KINDS = [("Trading", name) for name in ENTERED]

log = structlog.get_logger(__name__)


class RateError(errors.BusbarError):
    """A participant brings more messages than the settings allow: wait."""


class TooManyWaitingError(errors.BusbarError):
    """A participant has as many messages waiting as the settings allow."""


class TooFarAheadError(errors.BusbarError):
    """A bundle's first epoch is too far away to be kept until then."""


class NotEnterableError(errors.BusbarError):
    """A contract wallet's bundle that the chain would not enter now: whether it signed, only the chain can say."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A bundle that was taken on.

    Attributes:
        key: Its id.
        signed: What is to enter.
        seen: Newest block when it was taken on: it entered in a later one, if it did.
        wallet: Whether a contract is asked for the signature.
    """

    key: str
    signed: SignedBundle
    seen: int
    wallet: bool

    @property
    def bundle(self) -> Bundle:
        """The orders."""
        return self.signed.bundle

    @property
    def account(self) -> str:
        """Whose it is, in lower case."""
        return self.bundle.account.lower()


def bundle_id(signed: SignedBundle) -> str:
    """A bundle's id: its account, and a hash over message and signature, so that a forgery has another."""
    packed = bytes([signed.bundle.zone]) + signed.pack()
    return signed.bundle.account.lower() + keccak(packed)[:16].hex()


Brought = SignedBundle | SignedMessage
"""What participants bring."""


def _account_of(one: Brought) -> str:
    return one.bundle.account if isinstance(one, SignedBundle) else one.account


# ------------------------------------------------------------------------------ what goes when


Share = Callable[[Waiting], float]
"""What of a full batch a bundle takes."""


def deal(due: Iterable[Waiting], share: Share, room: float) -> list[Waiting]:
    """What goes now, in order: participants in turn by who came first, of each the lower nonces first.

    Args:
        due: Bundles that may enter now, in order of acceptance.
        share: What of a batch a bundle takes; a participant gets a batch's worth at most.
        room: How many batches there is room for; one bundle goes in any case.
    """
    queues = {account: deque(_by_nonce(group)) for account, group in _by_account(due).items()}
    dealt: list[Waiting] = []
    taken = dict.fromkeys(queues, 0.0)
    while queues:
        for account in list(queues):
            size = share(queues[account][0])
            if dealt and room < size:
                return dealt
            if taken[account] and taken[account] + size > 1:
                del queues[account]
                continue
            dealt.append(queues[account].popleft())
            taken[account] += size
            room -= size
            if not queues[account]:
                del queues[account]
    return dealt


def cut(dealt: Sequence[Waiting], share: Share) -> list[list[Waiting]]:
    """Cuts bundles of one zone into batches, each sorted by tick with every account's nonces ascending.

    All of an account's go into one batch, lest a higher nonce enters and the batch before it does not.
    """
    batches: list[list[Waiting]] = []
    filled = 1.0
    for group in sorted(
        _by_account(dealt).values(), key=lambda group: min(entry.bundle.lowest_tick for entry in group)
    ):
        size = sum(share(entry) for entry in group)
        if filled + size > 1:
            batches.append([])
            filled = 0.0
        batches[-1] += group
        filled += size
    return [_arranged(batch) for batch in batches]


def _arranged(batch: Sequence[Waiting]) -> list[Waiting]:
    """Sorted by tick; then each account's bundles change places among themselves until their nonces ascend."""
    placed = sorted(batch, key=lambda entry: entry.bundle.lowest_tick)
    upward = {account: iter(_by_nonce(group)) for account, group in _by_account(batch).items()}
    return [next(upward[entry.account]) for entry in placed]


def _by_account(entries: Iterable[Waiting]) -> dict[str, list[Waiting]]:
    groups: dict[str, list[Waiting]] = {}
    for entry in entries:
        groups.setdefault(entry.account, []).append(entry)
    return groups


def _by_nonce(entries: Iterable[Waiting]) -> list[Waiting]:
    """Of two with the same nonce the one that was first stays first."""
    return sorted(entries, key=lambda entry: entry.bundle.nonce)


# ------------------------------------------------------------------------------ taking on


class Intake:
    """Takes bundles and errands on.

    Args:
        chain: The market; of this thread alone.
        outbox: Where they are kept; of this thread alone, the file is shared.
        rate: Most of one participant, such as `120/minute`.
        most_waiting: Most of one participant that wait at a time.
    """

    def __init__(self, chain: Chain, outbox: Outbox, *, rate: str, most_waiting: int) -> None:
        self.chain = chain
        self.outbox = outbox
        self.rate = Rate(rate)
        self.most_waiting = most_waiting

    def take(self, brought: Sequence[Brought]) -> list[str | errors.BusbarError]:
        """The id of each that was taken on, or why it was not. When it returns they are on the disk.

        What was taken on before keeps its id, whatever has become of it.

        Raises:
            BusbarError: The node does not answer, or the outbox cannot be written; then none was taken on.
        """
        keys = [bundle_id(one) if isinstance(one, SignedBundle) else one.key for one in brought]
        known = self.outbox.states(keys)
        head = self.chain.head()
        new = {key: one for key, one in zip(keys, brought, strict=True) if key not in known}
        accounts = _accounts(self.chain, map(_account_of, new.values()), head)
        counts = {account: self.outbox.open_count(account) for account in accounts}
        items: list[Item] = []
        refused: dict[str, errors.BusbarError] = {}
        for key, one in new.items():
            account = _account_of(one).lower()
            try:
                item = self._item(key, one, accounts[account], head)
                self._check_rate(account, counts[account])
            except errors.BusbarError as problem:
                refused[key] = problem
                continue
            counts[account] += 1
            items.append(item)
        self._accept(items)
        return [refused.get(key, key) for key in keys]

    def _item(self, key: str, one: Brought, account: Account, head: Head) -> Item:
        """As the outbox keeps it, if it may be taken on."""
        if isinstance(one, SignedMessage):
            errands.check(self.chain, one, account, head)
            return Item(key, one.body(head.number), errands.deadline_of(self.chain, one))
        body = {
            "message": one.bundle.fields(),
            "signature": one.signature.hex(),
            "seen": head.number,
            "wallet": self._check(one, account, head),
        }
        return Item(key, json.dumps(body).encode())

    def _accept(self, items: Sequence[Item]) -> None:
        try:
            self.outbox.accept(items)
        except KeyConflictError:
            # Another process on the same file has taken one of them on since the look: that one stands.
            known = self.outbox.states(item.key for item in items)
            self.outbox.accept(item for item in items if item.key not in known)

    def _check(self, signed: SignedBundle, account: Account, head: Head) -> bool:
        """Refuses what could never enter, in the contract's order; tells whether only a contract can judge it."""
        bundle = signed.bundle
        if account.status == 0:
            raise errors.NotRegistered(bundle.account)
        if account.status != 1:
            raise errors.AccountSuspended(bundle.account)
        if bundle.zone != account.zone:
            raise errors.OtherZone(bundle.account, account.zone, bundle.zone)
        epoch = self.chain.calendar.epoch_at(head.timestamp)
        if bundle.last_epoch < max(epoch, bundle.first_epoch):
            raise errors.OutsideEpochs(epoch, bundle.first_epoch, bundle.last_epoch)
        if bundle.first_epoch > epoch + FARTHEST_EPOCHS:
            raise TooFarAheadError(f"epoch {bundle.first_epoch} is more than {FARTHEST_EPOCHS} after {epoch}")
        if bundle.nonce < account.nonce:
            raise errors.InvalidNonce(bundle.account, bundle.nonce, account.nonce)
        if signed.is_by_key(self.chain.trading_domain):
            return False
        has_code = self.chain.node.request("eth_getCode", bundle.account, hex(head.number)) != "0x"
        if not has_code or len(signed.signature) > MAX_SIGNATURE_BYTES:
            raise errors.BadSignature(bundle.account)
        call = Call("Trading", "enterBundles", (bundle.zone, pack_batch([signed])))
        if self.chain.read([call], head.number) != [1]:
            raise NotEnterableError(f"the contract {bundle.account} did not sign it, or it could not enter just now")
        return True

    def _check_rate(self, account: str, waiting: int) -> None:
        if waiting >= self.most_waiting:
            raise TooManyWaitingError(f"{account} has {waiting} messages waiting, which is all that is allowed")
        if not self.rate.hit(account):
            raise RateError(f"{account} brings more than {self.rate}")


# ------------------------------------------------------------------------------ entering


class Relay:
    """Brings what the outbox holds.

    Args:
        chain: The market.
        signer: Who pays for gas; needs no role.
        outbox: Where bundles and errands are kept.
    """

    def __init__(self, chain: Chain, signer: Signer, outbox: Outbox) -> None:
        self.chain = chain
        self.signer = signer
        self.outbox = outbox
        self._parsed: dict[str, Waiting | Errand] = {}
        self._scale = 1.0
        self._failures: Counter[str] = Counter()
        self._paid: Counter[str] = Counter()
        self._resting: dict[str, int] = {}
        self._batch_gas = BATCH_GAS
        self._forgot_in = -1

    def step(self) -> list[Outcome]:
        """Brings a block's worth of what is due, and notes what became of it and of what is over."""
        head = self.chain.head()
        epoch = self.chain.calendar.epoch_at(head.timestamp)
        waiting, messages = self._waiting()
        over = [entry for entry in waiting if entry.bundle.last_epoch < epoch]
        self._expire(over, head)
        due = [entry for entry in waiting if entry.bundle.first_epoch <= epoch <= entry.bundle.last_epoch]
        for tries in (self._failures, self._paid):
            for gone in tries.keys() - {errand.key for errand in messages}:
                del tries[gone]
        going = errands.turn(self._in_time(messages, head), _lowest_nonces(due), self._failures)
        # Not before a withdrawal of a lower nonce, nor with the cancel that makes them worthless.
        most, least = errands.withdrawing(messages), errands.cancelling(going)
        due = [e for e in due if least.get(e.account, -1) < e.bundle.nonce <= most.get(e.account, e.bundle.nonce)]
        self._batch_gas = min(BATCH_GAS, head.gas_limit * 4 // 5)
        # A little less than would fit: batches are never filled to the brim.
        room = max(0, head.gas_limit - errands.GAS * len(going)) // self._batch_gas * 0.97
        outcomes = self._bring(going, self._alive(deal(due, self._share, room), head))
        for state, count in self.outbox.counts().items():
            metrics.QUEUE.labels(state.value).set(count)
        if epoch != self._forgot_in:
            self._forgot_in = epoch
            self.outbox.forget(int(time.time()) - KEEP_S)
        return outcomes

    def _waiting(self) -> tuple[list[Waiting], list[Errand]]:
        """All that is still to be done, in order of acceptance; what is known from the last pass is not read again."""
        found = {item.key: self._parsed.get(item.key) or _parsed(item) for item in self.outbox.open(-1)}
        self._parsed = found
        bundles = [entry for entry in found.values() if isinstance(entry, Waiting)]
        return bundles, [entry for entry in found.values() if isinstance(entry, Errand)]

    def _in_time(self, messages: Sequence[Errand], head: Head) -> list[Errand]:
        """Errands that can still be done; the others were done, or never will be."""
        in_time = []
        for errand in messages:
            deadline = errands.deadline_of(self.chain, errand.signed)
            if deadline is None or head.timestamp <= deadline:
                in_time.append(errand)
            elif not self._found_done(errand, head):
                self.outbox.mark([errand.key], State.EXPIRED)
        return in_time

    def _found_done(self, errand: Errand, head: Head) -> bool:
        """Asks the chain whether an errand was done, by whomever, and notes it."""
        done = errands.find(self.chain, errand, head)
        if done is not None:
            self._done(errand, *done)
        return done is not None

    def _done(self, errand: Errand, tx_hash: str | None, block: int) -> None:
        self.outbox.mark([errand.key], State.DONE, json.dumps({"transaction": tx_hash, "block": block}))

    def _gas(self, entry: Waiting) -> float:
        wallet = WALLET_GAS + BYTE_GAS * len(entry.signed.signature) if entry.wallet else 0
        return self._scale * _guess(entry) + wallet + ORDER_GAS * self._resting.get(entry.account, 0)

    def _share(self, entry: Waiting) -> float:
        return max(self._gas(entry) / self._batch_gas, entry.signed.packed_bytes / MAX_BATCH_BYTES)

    def _alive(self, entries: Sequence[Waiting], head: Head) -> list[Waiting]:
        """Those whose nonce can still be used; the others have entered, or never will."""
        alive, dead = self._sifted(entries, head)
        for entry, lowest in dead:
            self._skipped(entry, errors.InvalidNonce(entry.bundle.account, entry.bundle.nonce, lowest))
        return alive

    def _expire(self, over: Sequence[Waiting], head: Head) -> None:
        """Gives up what is past its last epoch, unless it has entered."""
        alive, dead = self._sifted(over, head)
        late = [entry.key for entry in (*alive, *(entry for entry, _ in dead))]
        self.outbox.mark(late, State.EXPIRED)
        metrics.BUNDLES.labels("expired", "").inc(len(late))

    def _sifted(self, entries: Sequence[Waiting], head: Head) -> tuple[list[Waiting], list[tuple[Waiting, int]]]:
        """Notes which of these have entered; gives those whose nonce is free, and those lost with the lowest free."""
        accounts = _accounts(self.chain, (entry.bundle.account for entry in entries), head)
        # Entering rolls an account's standing orders first: that needs gas, and is nothing a bundle needs by itself.
        self._resting = {a: held.order_count for a, held in accounts.items() if held.standing == RESTING}
        alive: list[Waiting] = []
        used: list[Waiting] = []
        for entry in entries:
            (used if entry.bundle.nonce < accounts[entry.account].nonce else alive).append(entry)
        entered = self._look_up(used, head)
        return alive, [(entry, accounts[entry.account].nonce) for entry in used if entry.key not in entered]

    def _look_up(self, entries: Sequence[Waiting], head: Head) -> set[str]:
        """Asks the chain which of these have entered, and notes it; gives their ids."""
        found: set[str] = set()
        for start in range(0, len(entries), PAGE):
            page = entries[start : start + PAGE]
            accounts = sorted({entry.account for entry in page})
            events = self.chain.events_paged(KINDS, min(entry.seen for entry in page), head.number, accounts)
            told = [(EnteredBundle.from_event(event.args), event) for event in events]
            by_place = {(bundle.account.lower(), bundle.nonce): (bundle, event) for bundle, event in told}
            for entry in page:
                bundle, event = by_place.get((entry.account, entry.bundle.nonce), (None, None))
                if (
                    bundle is not None
                    and event is not None
                    and bundle.orders == _as_entered(entry.bundle, bundle.epoch)
                ):
                    self._entered([(entry, bundle, event)])
                    found.add(entry.key)
        return found

    def _bring(self, going: Sequence[Errand], dealt: Sequence[Waiting]) -> list[Outcome]:
        """Sends errands and batches, and notes what their receipts tell."""
        zones = sorted({entry.bundle.zone for entry in dealt})
        batches = [batch for zone in zones for batch in cut([e for e in dealt if e.bundle.zone == zone], self._share)]
        calls = [errands.call_of(errand.signed) for errand in going] + [self._call(batch) for batch in batches]
        if not self.chain.policy.dry_run:
            self.outbox.mark([errand.key for errand in going] + [entry.key for entry in dealt], State.SENT)
        outcomes = self.chain.send_many([(self.signer, call) for call in calls])
        for errand, outcome in zip(going, outcomes, strict=False):
            self._note_errand(errand, outcome)
        told: list[tuple[Outcome, list[Waiting], list[Waiting]]] = []
        for batch, outcome in zip(batches, outcomes[len(going) :], strict=True):
            entered: list[Waiting] = []
            if outcome.error is not None:
                metrics.failed(outcome.error)
                log.warning("refused", bundles=len(batch), reason=str(outcome.error))
            else:
                entered = self._note(batch, outcome)
            told.append((outcome, batch, entered))
        self._learn(told)
        return outcomes

    def _note_errand(self, errand: Errand, outcome: Outcome) -> None:
        """What the contract refuses is over, unless somebody has done it; what the node refuses is tried again.

        So is once what failed in a block without a reason that shows: a wallet may say yes to a simulation alone.
        """
        told = {"errand": str(errand.kind), "account": errand.signed.account}
        if outcome.error is None:
            self._done(errand, outcome.tx_hash, outcome.block)
            log.info("done", **told, gas=outcome.gas_used, block=outcome.block)
            return
        self._failures[errand.key] += 1
        self._paid[errand.key] += bool(outcome.block)
        if isinstance(outcome.error, errors.ContractError) or self._paid[errand.key] >= MOST_PAID:
            if not self._found_done(errand, self.chain.head()):
                self.outbox.mark([errand.key], State.REFUSED, _why(outcome.error))
                log.warning("refused", **told, reason=str(outcome.error))
            return
        metrics.failed(outcome.error)
        log.warning("not done yet", **told, reason=str(outcome.error))

    def _call(self, batch: Sequence[Waiting]) -> Call:
        made = enter_bundles_call(batch[0].bundle.zone, [entry.signed for entry in batch])
        # An eighth more than expected, so that as many batches as possible fit a block.
        gas = int(sum(self._gas(entry) for entry in batch)) * 9 // 8 + ROLL_GAS
        return Call(made.contract, made.function, made.args, made.label, min(gas, TRANSACTION_GAS_CAP))

    def _learn(self, told: Sequence[tuple[Outcome, Sequence[Waiting], Sequence[Waiting]]]) -> None:
        """Corrects what a bundle is taken to need, by what the newest ones took.

        Batches of which half was skipped teach nothing: what is skipped takes little, and whoever signs it pays
        nothing.

        Args:
            told: What became of each batch, its bundles, and those of them that entered.
        """
        if any(type(outcome.error) in (NodeRefusedError, errors.UnknownRevert) for outcome, _, _ in told):
            # Out of gas is no contract's error, and nodes tell it each in their words.
            self._scale = min(max(self._scale * 2, 1), MAX_SCALE)
            return
        gas_used = guessed = 0
        for outcome, batch, entered in told:
            rolled = any(entry.account in self._resting for entry in batch)
            if outcome.ok and not rolled and sum(map(_guess, entered)) * 2 > sum(map(_guess, batch)):
                gas_used += outcome.gas_used
                guessed += sum(map(_guess, entered))
        if guessed:
            self._scale = max(gas_used / guessed, MIN_SCALE)

    def _note(self, batch: Sequence[Waiting], outcome: Outcome) -> list[Waiting]:
        """Each bundle of a batch has one event, in order. Gives those that entered."""
        events = [e for e in self.chain.decode_logs(outcome.logs) if e.name in (*ENTERED, "BundleSkipped")]
        entered = []
        late: list[tuple[Waiting, errors.BusbarError]] = []
        for entry, event in zip(batch, events, strict=True):
            if event.name != "BundleSkipped":
                entered.append((entry, EnteredBundle.from_event(event.args), event))
                continue
            reason = decode_revert(event.args["reason"])
            if isinstance(reason, errors.InvalidNonce):
                late.append((entry, reason))
            elif not isinstance(reason, errors.OutsideEpochs):
                # Outside its epochs: the next pass finds it over.
                self._skipped(entry, reason)
        self._entered(entered)
        if late:
            before = self._look_up([entry for entry, _ in late], self.chain.head())
            for entry, reason in late:
                if entry.key not in before:
                    self._skipped(entry, reason)
        log.info("relayed", bundles=len(batch), entered=len(entered), gas=outcome.gas_used, block=outcome.block)
        return [entry for entry, _, _ in entered]

    def _entered(self, found: Sequence[tuple[Waiting, EnteredBundle, Event]]) -> None:
        told = {
            entry.key: json.dumps(
                {
                    "transaction": event.tx_hash,
                    "block": event.block,
                    "epoch": bundle.epoch,
                    "first_index": bundle.first_index,
                }
            )
            for entry, bundle, event in found
        }
        self.outbox.mark_each(told, State.DONE)
        metrics.BUNDLES.labels("entered", "").inc(len(told))

    def _skipped(self, entry: Waiting, reason: errors.BusbarError) -> None:
        name = type(reason).__name__
        log.warning("skipped", account=entry.bundle.account, nonce=entry.bundle.nonce, reason=str(reason))
        self.outbox.mark([entry.key], State.REFUSED, _why(reason))
        metrics.BUNDLES.labels("skipped", name).inc()


# ------------------------------------------------------------------------------ helpers


def _accounts(chain: Chain, addresses: Iterable[str], head: Head) -> dict[str, Account]:
    """Accounts by address in lower case."""
    unique = sorted({address.lower() for address in addresses})
    return {account.address: account for account in chain.accounts(unique, head.number)}


def _as_entered(bundle: Bundle, epoch: int) -> tuple[Order, ...]:
    """A bundle's orders as an event tells them: their life counts from the epoch they entered."""
    return tuple(order.aged(epoch - bundle.first_epoch) for order in bundle.orders)


def _guess(entry: Waiting) -> int:
    """What a bundle would need, had nobody measured."""
    return BUNDLE_GAS + ORDER_GAS * (len(entry.bundle.orders) - 1)


def _why(reason: errors.BusbarError) -> str:
    """A refusal as the outbox keeps it."""
    return json.dumps({"error": type(reason).__name__, "detail": str(reason)})


def _lowest_nonces(entries: Iterable[Waiting]) -> dict[str, int]:
    """Lowest nonce of each account's bundles."""
    lowest: dict[str, int] = {}
    for entry in entries:
        lowest[entry.account] = min(entry.bundle.nonce, lowest.get(entry.account, entry.bundle.nonce))
    return lowest


def _parsed(item: Item) -> Waiting | Errand:
    body: dict[str, Any] = json.loads(item.body)
    if "errand" in body:
        return errands.parse(item.key, body)
    signed = SignedBundle(Bundle.from_fields(body["message"]), bytes.fromhex(body["signature"]))
    return Waiting(item.key, signed, body["seen"], body["wallet"])
