"""The state machine: every verb of the market in any order, at any time, by anybody, on the model and on the contracts.

A step calls a verb on both. If the model refuses, the contracts must refuse with the same error and the same values; if
it does not, they must return the same, tell the same events and do it. After every step all that the contracts show is
compared with the model byte by byte, and the invariants of docs/invariants.md are checked:

1. Energy held = free + locked + counted dust + donations, exactly; money likewise.      `Model.check`
2. GRID supply = what registers grew by, unless parked, + plain mints - burns.           `Model.check`
3. Buys = sells per epoch, to the dust bound.                                            `judge_auction`
4. The volume is maximal, and the contract's result is the reference's.                  `judge_auction`, `_views`
5. Everybody can withdraw all that is free, in any state: tried and rolled back.         `_everybody_can_withdraw`
6. Settling now, later, twice and in any order gives the same balances: tried.           `_order_of_settling_...`
7. Delivered twice, late or out of order, nothing changes the second time: rules `sent_again`, `deliver` and `keepers`;
   the model books each once, and the comparison finds whatever else happened.
8. Solidity and the Python reference agree to the unit: the comparison itself.
"""

from collections import Counter
from dataclasses import replace
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from eth_abi import decode
from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from busbar.errors import BusbarError, ContractError
from busbar.orders import Order, Side
from busbar.readings import MeterDomain, meter_id_bytes, p256_key, p256_public_key, sign, sign_p256
from busbar.readings import Reading as PlainReading
from busbar.recovery import key_address
from busbar.signing import Bundle, CancelOrder, CancelUpTo, SignedBundle, TradingDomain, Withdraw
from busbar.signing import sign as sign_message
from busbar.units import Asset
from tests.machines.abi import encode, functions
from tests.machines.model import (
    ACTIVE,
    CLEAR,
    CONSUMER,
    ENERGY,
    GRACE,
    LATE_S,
    MAX_UNITS,
    METER,
    MONEY,
    PERIOD,
    PROSUMER,
    RESTRICTED,
    RETIRE,
    SUSPENDED,
    TIME_OUT,
    WAITING,
    WH,
    WH_WEI,
    ZERO,
    Model,
    Reading,
    Refused,
    order_id,
    upkeep,
)
from tests.machines.worlds import (
    CHAIN_ID,
    GENESIS,
    OPERATORS,
    PEOPLE,
    ROLE_HOLDERS,
    Answer,
    World,
    address_of,
    expected_logs,
    machine_key,
)

NO_REF = bytes(32)
BAHT = 10**18
TOKENS = ("GridToken", "BahtToken")
READING_TYPES = ("(bytes32,uint64,uint64,uint64,bytes32,bytes32)",)
SECP256K1, P256 = 0, 1
MeterKey = PrivateKey | EllipticCurvePrivateKey
MAX_UINT64 = 2**64 - 1
REGISTERS = (0, 0, 5_000_000, 5_000_000, 2**32, 2**32, 2**48 - 1, 2**48)
POOL = 40
"""Signed readings that are kept to be delivered, or delivered again."""

people = st.sampled_from(PEOPLE)
members = st.sampled_from(PEOPLE[:-1])
anybody = st.sampled_from((*PEOPLE, *PEOPLE, "outsider"))
assets = st.sampled_from((ENERGY, MONEY))
sides = st.sampled_from((0, 1))
ticks = st.one_of(st.sampled_from((500, 500, 501, 502, 1, 36, 37, 180, 181, 1023)), st.integers(1, 1023))
quantities = st.one_of(st.sampled_from((100, 101, 300, 700, 1_000, 3_000, 10_000_000)), st.integers(100, 20_000))
lives = st.sampled_from((0, 0, 0, 0, 1, 2, 5, 96))
some_orders = st.lists(st.tuples(sides, ticks, quantities, lives), min_size=1, max_size=15)
small = st.integers(0, 15)


class Stats:
    """What ran, for the last lines of a test run."""

    examples = steps = calls = 0
    epochs = traded = rationed = 0
    accepted = late = parked = 0
    done: ClassVar[Counter[str]] = Counter()
    refused: ClassVar[Counter[str]] = Counter()
    skipped: ClassVar[Counter[int]] = Counter()

    @classmethod
    def clear(cls) -> None:
        cls.examples = cls.steps = cls.calls = cls.epochs = cls.traded = cls.rationed = cls.accepted = cls.late = (
            cls.parked
        ) = 0
        for counter in (cls.done, cls.refused, cls.skipped):
            counter.clear()

    @classmethod
    def told(cls, seconds: float) -> str:
        parts = (
            f"{cls.examples:,} runs, {cls.steps:,} steps ({cls.steps / seconds:,.0f} a second)",
            f"{cls.calls:,} transactions, {cls.refused.total():,} of them refused with {len(cls.refused)} errors",
            f"{cls.epochs:,} epochs ended, {cls.traded:,} with trade, {cls.rationed:,} rationed",
            f"{cls.accepted:,} readings accepted, {cls.late:,} late ones recorded, {cls.parked:,} growths parked",
            f"{cls.skipped.total():,} readings skipped for {len(cls.skipped)} reasons",
        )
        return ", ".join(parts)


def sometimes(*rare: object):
    """None mostly."""
    return st.sampled_from((None,) * 3 * len(rare) + rare)


class MarketMachine(RuleBasedStateMachine):
    """See the module. A subclass says which world."""

    world: World

    def __init__(self, world: World, cancel_cutoff: int = 0) -> None:
        super().__init__()
        Stats.examples += 1
        self.world = world
        self.actors = {name: address_of(key) for name, key in world.keys.items()}
        at = world.addresses
        self.m = Model(at, now=world.now, block=world.block, genesis=GENESIS, cancel_cutoff=cancel_cutoff)
        self.m.roles[self.actors["regulator"]].add("admin")
        for role, actor in ROLE_HOLDERS.items():
            self.m.roles[self.actors[actor]].add(role)
        self.domain = TradingDomain(CHAIN_ID, at["Trading"])
        for actor in OPERATORS:
            self.m.roles[self.actors[actor]].add("oracle operator")
            self.m.panel.append(self.actors[actor])
        self.meter_keys: dict[str, MeterKey] = {}
        self.pool: list[Reading] = []
        self.sent: list[tuple] = []
        """The newest calls, to be sent again."""
        self.steps = 0
        self.keeper = "alive"
        self.found: list[bytes] = []
        """Upkeep that a late keeper has seen and not yet done."""
        self.everyone = [self.actors[name] for name in (*PEOPLE, "outsider")]
        for account in self.everyone:
            self.m.accounts[account], self.m.imports[account]
        self.set_up()

    def set_up(self) -> None:
        """Zones, participants, money, energy and meters: all through verbs, so all of it is checked, too."""
        self.do("regulator", "Trading", "openZone", 1, 0)
        self.do("regulator", "Trading", "openZone", 2, 12)
        for i, person in enumerate(PEOPLE[:-1]):
            self.do("distributor", "Registry", "registerUser", self.actors[person], 2 if i == 2 else 1, NO_REF)
            self._fund(person, MONEY, 200_000 * BAHT)
            self._fund(person, ENERGY, 30_000_000 * WH_WEI)
            self._give(person, MONEY, 1_000 * BAHT + 1)
            self._give(person, ENERGY, 1_000_000 * WH_WEI + 1)
        for person, kind, watt in (
            ("producer", PROSUMER, (10_000, 5_000)),
            ("other_producer", PROSUMER, (10_000, 30_000)),
            ("trader", PROSUMER, (2**40 - 1, 2**40 - 1)),
            ("consumer", CONSUMER, (15_000, 0)),
            ("other_consumer", CONSUMER, (100_000, 0)),
        ):
            self._assign(person, kind, watt, (5_000_000, 3_000_000))
        # The trader's device is not its first one, so that late readings are not rare.
        self._move(self.m.now + 300)
        registers = (5_001_000, 3_002_000, 0, 0)
        self.do("distributor", "Registry", "replaceMeter", self._meter(2), *self._new_key(), *registers)

    def _fund(self, person: str, asset: int, wei: int) -> None:
        self._give(person, asset, wei)
        self._approve(person, asset, wei)
        self.do(person, "Trading", "deposit", asset, wei)

    # ------------------------------------------------------------------------- one call

    def do(self, actor: str, contract: str, function: str, *args: object):
        """Calls a verb on the model and on the contracts; gives what it returned, or the refusal."""
        m, w = self.m, self.world
        sender = self.actors[actor]
        told = f"{actor}: {contract}.{function}{args}"
        self.sent.append((actor, contract, function, *args))
        Stats.calls += 1
        if w.tick:
            self._start_block()
        returned = refused = error = None
        try:
            returned = m.call(sender, contract, function, args)
        except Refused as problem:
            refused = problem
            # What is refused makes no block.
            m.now, m.block = m.now - w.tick, m.block - w.tick
        try:
            answer = w.send(sender, contract, function, args)
        except BusbarError as problem:
            error = problem
        if error is not None:
            assert refused is not None, f"{told}: must succeed, and was refused: {error!r}"
            self._compare_refusal(told, refused, error)
            Stats.refused[refused.name] += 1
            return refused
        assert refused is None, f"{told}: must be refused with {refused!r}, and was not"
        Stats.done[function] += 1
        self._compare_answer(told, functions(contract)[function].outputs, returned, answer)
        return returned

    def _start_block(self) -> None:
        """The block that a transaction makes; never near the end of an epoch, so that nothing depends on a second."""
        m = self.m
        if (m.now - m.genesis) % m.epoch_seconds > m.epoch_seconds - 20:
            self._move(m.now + 30)
        m.move_to(m.now + self.world.tick, m.block + self.world.tick)

    def _compare_answer(self, told: str, outputs: tuple[str, ...], returned: object, answer: Answer) -> None:
        if answer.returned is not None:
            expected = encode(outputs, (returned,)) if outputs else b""
            assert answer.returned == expected, f"{told}: returned {answer.returned.hex()}, not {returned}"
        logs = self.m.logs
        assert answer.logs == expected_logs(logs), f"{told}: events {answer.logs}, not {logs}"
        for log in logs:
            Stats.accepted += log.event == "ReadingAccepted"
            Stats.late += log.event == "LateReadingRecorded"
            Stats.parked += log.event == "GrowthParked"
            if log.event == "ReadingSkipped":
                Stats.skipped[log.values[2]] += 1

    def _compare_refusal(self, told: str, refused: Refused, error: BusbarError) -> None:
        assert type(error).__name__ == refused.name, f"{told}: refused with {error!r}, not {refused!r}"
        if refused.values:
            assert isinstance(error, ContractError)
            values = tuple(error.values.values())
            assert tuple(map(_plain, values)) == tuple(map(_plain, refused.values)), (
                f"{told}: {values}, not {refused!r}"
            )

    def _move(self, now: int, blocks: int = 1) -> None:
        self.m.move_to(now, self.m.block + blocks)
        self.world.move_to(now, self.m.block)

    @rule(i=st.integers(0, 30), times=st.sampled_from((1, 1, 2)))
    def sent_again(self, i: int, times: int) -> None:
        """A call of some time ago comes once more: what may count once only must not count again."""
        call = self.sent[-1 - i % len(self.sent)]
        for _ in range(times):
            self.do(*call)

    # ------------------------------------------------------------------------- time

    @rule(
        kind=st.sampled_from(("second", "seconds", "last second", "epochs", "grace ends", "grace is ending", "period")),
        n=st.one_of(st.integers(1, 12), st.integers(1, 200)),
        blocks=st.sampled_from((1, 1, 1, 4, 99, 100, 101, 150)),
    )
    def time_passes(self, kind: str, n: int, blocks: int) -> None:
        m = self.m
        first_of_next_period = (m.epoch // PERIOD + 1) * PERIOD
        grace_end = first_of_next_period + GRACE if m.epoch % PERIOD >= GRACE else first_of_next_period - PERIOD + GRACE
        now = {
            "second": m.now + 1,
            "seconds": m.now + 13 * n,
            "last second": m.epoch_start(m.epoch + 1) - 1,
            "epochs": m.now + m.epoch_seconds * n,
            "grace ends": m.epoch_start(grace_end),
            "grace is ending": m.epoch_start(grace_end) - 1,
            "period": m.epoch_start(first_of_next_period),
        }[kind]
        self._wait_until(max(now, m.now + 1), blocks)

    @rule(n=st.sampled_from((1, 1, 1, 2, 5)))
    def epoch_ends(self, n: int) -> None:
        self._wait_until(self.m.epoch_start(self.m.epoch + n), 1)

    def _wait_until(self, now: int, blocks: int) -> None:
        seen, self.found = self.found, []
        # On a node a block takes a second.
        self._move(max(now, self.m.now + blocks * self.world.tick), blocks)
        if self.keeper == "alive":
            self._keep()
        elif self.keeper == "late":
            # What it saw a while ago it does now; what it sees now it does later.
            for data in seen:
                self._perform("keeper", data)
            self.found = [data for zone in (1, 2) for needed, data in [self.m.check_upkeep(zone)] if needed]

    def _keep(self) -> None:
        for zone in (1, 2):
            needed, data = self.m.check_upkeep(zone)
            for _ in range(3):
                if not needed:
                    break
                self._perform("keeper", data)
                needed, data = self.m.check_upkeep(zone)
            assert not needed, "upkeep that was done is still needed"

    @rule(state=st.sampled_from(("alive", "late", "dead", "dead")))
    def keepers(self, state: str) -> None:
        self.keeper = state

    # ------------------------------------------------------------------------- upkeep

    def _perform(self, actor: str, data: bytes) -> None:
        self.do(actor, "OracleClient", "performUpkeep", data)

    @rule(actor=anybody, zone=st.sampled_from((1, 1, 2)), twice=st.booleans())
    def upkeep_is_done(self, actor: str, zone: int, twice: bool) -> None:
        needed, data = self.m.check_upkeep(zone)
        if needed:
            assert self._perform(actor, data) is None
            if twice:
                self._perform(actor, data)

    @rule(kind=st.sampled_from((CLEAR, TIME_OUT, RETIRE, RETIRE, 3)), picks=st.lists(small, max_size=4))
    def upkeep_is_made_up(self, kind: int, picks: list[int]) -> None:
        if kind == CLEAR:
            payload = encode(("uint8",), (picks[0] if picks else 1,))
        elif kind == TIME_OUT:
            payload = encode(("bytes32[]",), ([self._request_number(i) for i in picks],))
        else:
            payload = encode(("address[]",), ([self.everyone[i % len(self.everyone)] for i in picks],))
        self._perform("outsider", upkeep(kind, payload))

    @rule(
        actor=st.sampled_from(("keeper", "keeper", "keeper", "regulator")),
        zone=st.sampled_from((1, 1, 2, 3)),
        at_the_end=st.booleans(),
        times=st.sampled_from((1, 1, 2)),
    )
    def keeper_clears(self, actor: str, zone: int, at_the_end: bool, times: int) -> None:
        """By the verb itself, mostly right after an epoch with orders, before anybody else comes to it."""
        if at_the_end:
            before, self.keeper = self.keeper, "dead"
            self.epoch_ends(n=1)
            self.keeper = before
            zone = next((number for number in (zone, 1, 2) if number in self.m.zones and self.m.is_due(number)), zone)
        for _ in range(times):
            self.do(actor, "Trading", "matchOrders", zone)

    def _aim(self, person: str, wanted) -> str:
        """The person, or the next one whose account answers the description, if there is any."""
        names = list(PEOPLE)
        start = names.index(person) if person in names else 0
        turned = names[start:] + names[:start]
        return next((name for name in turned if wanted(self.actors[name])), person)

    # ------------------------------------------------------------------------- tokens

    def _give(self, person: str, asset: int, wei: int) -> None:
        if asset == ENERGY:
            self.do("token_minter", "GridToken", "mint", self.actors[person], wei, NO_REF)
        else:
            self.do("issuer", "BahtToken", "issue", self.actors[person], wei, NO_REF)

    def _approve(self, person: str, asset: int, wei: int, spender: str = "Trading") -> None:
        self.do(person, TOKENS[asset], "approve", self.m.at[spender], wei)

    @rule(
        what=st.sampled_from(("come", "sent", "donated", "donated", "minted to Trading", "burnt", "redeemed")),
        person=anybody,
        asset=assets,
        wei=st.sampled_from((1, 10**9 + 1, 10**15, 7 * 10**18, 10**24)),
        part=st.sampled_from((1, 1, 2, 3)),
        to=anybody,
    )
    def tokens_move(self, what: str, person: str, asset: int, wei: int, part: int, to: str) -> None:
        trading, wallet = self.m.at["Trading"], self._wallet(person, asset) // part
        if what == "come":
            self._give(person, asset, wei)
        elif what == "sent":
            self.do(person, TOKENS[asset], "transfer", self.actors[to], wallet)
        elif what == "donated":
            self._give(person, asset, wei)
            self.do(person, TOKENS[asset], "transfer", trading, wei)
        elif what == "minted to Trading" and asset == ENERGY:
            self.do("token_minter", "GridToken", "mint", trading, wei, NO_REF)
        elif what == "minted to Trading":
            self.do("issuer", "BahtToken", "issue", trading, wei, NO_REF)
        elif what == "burnt":
            self.do(person, "GridToken", "burn", self._wallet(person, ENERGY) // part + (part == 3))
        else:
            wei = self._wallet(person, MONEY) // part
            if part != 3:
                self.do(person, "BahtToken", "approve", self.actors["issuer"], wei)
            self.do("issuer", "BahtToken", "redeem", self.actors[person], wei, NO_REF)

    def _wallet(self, person: str, asset: int) -> int:
        return self.m.tokens[asset].balances[self.actors[person]]

    # ------------------------------------------------------------------------- in and out

    def _deposit_wei(self, person: str, asset: int, amount: str) -> int:
        unit, wallet = self.m.unit_wei[asset], self._wallet(person, asset)
        room = (MAX_UNITS[asset] - self.m.totals[asset]) * unit
        return {
            "wallet": wallet - wallet % unit,
            "a unit": unit,
            "half": wallet // 2 // unit * unit,
            "inexact": unit + 1,
            "nothing": 0,
            "beyond": wallet - wallet % unit + unit,
            "to the cap": room,
            "beyond the cap": room + unit,
        }[amount]

    deposit_amounts = st.sampled_from(("wallet", "a unit", "half", "half", "half", "inexact", "nothing", "beyond"))

    @rule(person=anybody, asset=assets, amount=deposit_amounts, allowed=st.sampled_from((0, 1, 1, 1, 2, None)))
    def deposit(self, person: str, asset: int, amount: str, allowed: int | None) -> None:
        wei = self._deposit_wei(person, asset, amount)
        if allowed is not None:
            self._approve(person, asset, 2**256 - 1 if allowed == 2 else wei * allowed)
        self.do(person, "Trading", "deposit", asset, wei)

    @rule(person=people, asset=assets, amount=st.sampled_from(("to the cap", "beyond the cap", "beyond the cap")))
    def deposit_all_the_market_holds(self, person: str, asset: int, amount: str) -> None:
        wei = self._deposit_wei(person, asset, amount)
        self._give(person, asset, wei)
        self._approve(person, asset, wei)
        self.do(person, "Trading", "deposit", asset, wei)

    @rule(
        person=anybody,
        asset=assets,
        amount=deposit_amounts,
        flaw=sometimes("expired", "forged", "old nonce", "other amount"),
        stolen=st.booleans(),
    )
    def deposit_with_permit(self, person: str, asset: int, amount: str, flaw: str | None, stolen: bool) -> None:
        wei = self._deposit_wei(person, asset, amount)
        permit = self._permit(person, asset, wei, flaw)
        if stolen and flaw is None:
            # Whoever sees it in the pool hands it in first.
            self.do("outsider", TOKENS[asset], "permit", self.actors[person], self.m.at["Trading"], *permit)
        self.do(person, "Trading", "depositWithPermit", asset, *permit)

    def _permit(self, person: str, asset: int, wei: int, flaw: str | None) -> tuple:
        owner, trading, token = self.actors[person], self.m.at["Trading"], self.m.tokens[asset]
        deadline = self.m.now - 10 if flaw == "expired" else self.m.now + 10_000
        nonce = token.nonces[owner]
        signed_nonce = nonce + 1 if flaw == "old nonce" else nonce
        signed_wei = wei + 1 if flaw == "other amount" else wei
        key = self.world.keys["outsider" if flaw == "forged" and person != "outsider" else person]
        message = encode(
            ("bytes32", "address", "address", "uint256", "uint256", "uint256"),
            (_PERMIT_TYPEHASH, owner, trading, signed_wei, signed_nonce, deadline),
        )
        signature = key.sign_msg_hash(keccak(b"\x19\x01" + self._token_domain(asset) + keccak(message)))
        r, s = signature.r.to_bytes(32, "big"), signature.s.to_bytes(32, "big")
        permit = (wei, deadline, 27 + signature.v, r, s)
        if flaw not in ("forged", "other amount") or (flaw == "forged" and person == "outsider"):
            self.m.permits[(TOKENS[asset], owner, trading, *permit)] = signed_nonce
        return permit

    def _token_domain(self, asset: int) -> bytes:
        name = ("Busbar Grid Energy", "Busbar Baht")[asset]
        return keccak(
            encode(
                ("bytes32", "bytes32", "bytes32", "uint256", "address"),
                (_DOMAIN_TYPEHASH, keccak(text=name), keccak(b"1"), 31337, self.m.at[TOKENS[asset]]),
            )
        )

    @rule(
        person=anybody,
        asset=assets,
        amount=st.sampled_from(("all", "all", "a unit", "half", "inexact", "nothing", "beyond")),
        to=st.sampled_from(("self", "self", "other", "Trading", "nobody")),
    )
    def withdraw(self, person: str, asset: int, amount: str, to: str) -> None:
        unit, account = self.m.unit_wei[asset], self.actors[person]
        free = self.m.accounts[account].free[asset]
        wei = {
            "all": free * unit,
            "a unit": unit,
            "half": free // 2 * unit,
            "inexact": unit + 1,
            "nothing": 0,
            "beyond": (free + 1) * unit,
        }[amount]
        others = {"self": account, "other": self.actors["newcomer"], "Trading": self.m.at["Trading"], "nobody": ZERO}
        self.do(person, "Trading", "withdraw", asset, wei, others[to])

    # ------------------------------------------------------------------------- orders

    @rule(person=anybody, side=sides, tick=ticks, quantity=quantities, flaw=sometimes(0, 1024, 99, 10_000_001))
    def order(self, person: str, side: int, tick: int, quantity: int, flaw: int | None) -> None:
        tick = flaw if flaw in (0, 1024) else tick
        quantity = flaw if flaw in (99, 10_000_001) else quantity
        function = "createSellOrder" if side else "createBuyOrder"
        self.do(person, "Trading", function, tick, quantity)

    crowds = st.lists(
        st.tuples(members, st.sampled_from(("buy", "sell", "buy", "sell", "cancel")), st.integers(-2, 2), quantities),
        min_size=3,
        max_size=10,
    )
    crowd_ticks = st.sampled_from((3, 36, 180, 500, 500, 1021))

    @rule(crowd=crowds, tick=crowd_ticks)
    def crowd_enters(self, crowd: list, tick: int) -> None:
        """Many orders near one price, and some taken back."""
        for person, what, off, quantity in crowd:
            if what == "cancel":
                self._cancel_open(person, quantity)
            else:
                self.do(
                    person, "Trading", "createSellOrder" if what == "sell" else "createBuyOrder", tick + off, quantity
                )

    @rule(crowd=crowds, tick=crowd_ticks, epochs=st.sampled_from((1, 1, 1, 2, 40)))
    def crowd_trades(self, crowd: list, tick: int, epochs: int) -> None:
        self.crowd_enters(crowd, tick)
        self.epoch_ends(epochs)

    @rule(person=people, orders=some_orders, flaw=st.sampled_from((*(None,) * 12, "life", "tick", "quantity", "none")))
    def orders(self, person: str, orders: list, flaw: str | None) -> None:
        packed = [_pack(*order) for order in orders]
        if flaw == "none":
            packed = []
        elif flaw is not None:
            packed[-1] = {"life": packed[-1] % 2**35 | 97 << 35, "tick": _pack(0, 0, 100), "quantity": _pack(1, 5, 0)}[
                flaw
            ]
        self.do(person, "Trading", "createOrders", packed)

    @rule(
        person=members, side=sides, tick=ticks, step=st.integers(-2, 2), count=st.integers(2, 101), quantity=quantities
    )
    def ladder(self, person: str, side: int, tick: int, step: int, count: int, quantity: int) -> None:
        packed = [_pack(side, min(1023, max(1, tick + i * step)), quantity) for i in range(count)]
        self.do(person, "Trading", "createOrders", packed)

    @rule(person=members, whose=members, i=small, quantity=quantities, better=st.sampled_from((0, 0, 1, 20)))
    def counter_order(self, person: str, whose: str, i: int, quantity: int, better: int) -> None:
        """Against somebody's open order, so that there is trade."""
        account = self.m.accounts[self.actors[whose]]
        if account.epoch != self.m.epoch or not account.orders:
            return
        against = account.orders[i % len(account.orders)]
        side = 1 - against.side
        tick = min(1023, max(1, against.tick + (-better if side else better)))
        self.do(person, "Trading", "createOrders", [_pack(side, tick, quantity)])

    @rule(person=people, i=small, epochs=st.sampled_from((0, 0, 0, 0, 1)), by=sometimes("outsider", "consumer"))
    def cancel(self, person: str, i: int, epochs: int, by: str | None) -> None:
        person = self._aim(person, self._has_orders)
        account = self.m.accounts[self.actors[person]]
        index = i % (len(account.orders) + 1) if account.orders else i
        number = order_id(self.actors[person], account.epoch + epochs, index)
        actor = by or person
        self.do(actor, "Trading", "cancelOrder", number)

    def _cancel_open(self, person: str, i: int) -> None:
        """One of the orders that can be cancelled, if there is one."""
        person = self._aim(person, self._has_orders)
        account = self.m.accounts[self.actors[person]]
        indices = [n for n, entered in enumerate(account.orders) if entered.quantity_wh]
        if account.epoch == self.m.epoch and indices:
            number = order_id(self.actors[person], account.epoch, indices[i % len(indices)])
            self.do(person, "Trading", "cancelOrder", number)

    @rule(person=members, side=sides, tick=crowd_ticks, quantity=quantities, life=lives, whole=st.booleans())
    def standing_order_trades(self, person: str, side: int, tick: int, quantity: int, life: int, whole: bool) -> None:
        """A standing order, and somebody against a part of it."""
        other = "consumer" if person != "consumer" else "producer"
        self.do(person, "Trading", "createOrders", [_pack(side, tick, quantity, life)])
        self.do(other, "Trading", "createOrders", [_pack(1 - side, tick, max(100, quantity // (1 if whole else 3)))])
        self.epoch_ends(1)

    @rule(picks=st.lists(small, max_size=8), twice=st.booleans())
    def roll(self, picks: list[int], twice: bool) -> None:
        """Somebody rolls for anybody, mostly for those whose orders rest; nobody else does, so epochs are missed."""
        resting = [a for a in self.everyone if self.m.accounts[a].standing] or self.everyone
        accounts = [(resting if i % 3 else self.everyone)[i % len(resting)] for i in picks]
        for _ in range(1 + twice):
            self.do("outsider", "Trading", "roll", accounts)

    # ------------------------------------------------------------------------- signed messages

    def _signature(self, person: str, message) -> bytes:
        """By the person's key, and noted as good."""
        return sign_message(message, self.domain, self.world.keys[person].to_bytes())

    def _note(self, kind: str, person: str, fields: tuple, message, forged: str | None) -> bytes:
        """The signature of a message, noted as good if the person's own key gives it."""
        signer = forged or person
        signature = self._signature(signer, message)
        if self.actors[signer] == self.actors[person]:
            self.m.signed.add((self.actors[person], kind, *fields, signature))
        return signature

    def _nonce(self, person: str, kind: str) -> int:
        lowest = self.m.accounts[self.actors[person]].nonce
        return {"next": lowest, "gap": lowest + 3, "used": max(0, lowest - 1), "huge": 2**32 - 3}[kind] % (2**32 - 1)

    some_bundles = st.lists(
        st.tuples(
            anybody,
            st.lists(st.tuples(sides, ticks, quantities, lives), min_size=1, max_size=8),
            st.sampled_from(("next", "next", "next", "next", "gap", "used")),
            st.sampled_from((*(None,) * 8, "forged", "zone", "earlier", "later", "changed")),
        ),
        min_size=1,
        max_size=6,
    )

    @rule(bundles=some_bundles, zone=st.sampled_from((1, 1, 1, 2, 9)), twice=st.booleans(), early=st.booleans())
    def relayed(self, bundles: list, zone: int, twice: bool, early: bool) -> None:
        """Somebody brings signed bundles, good and bad; perhaps again, perhaps in the next epoch only."""
        found: list[tuple[SignedBundle, bool]] = []
        for person, orders, nonce, flaw in bundles:
            epoch = self.m.epoch
            first, last = {"earlier": (0, epoch - 1), "later": (epoch + 1, epoch + 2)}.get(
                flaw or "", (epoch, epoch + 2)
            )
            first, last = max(first, 0), max(last, 0)
            signed_for = zone + 1 if flaw == "zone" else min(zone, 255)
            account, made = self.actors[person], tuple(Order(Side(o[0]), *o[1:]) for o in orders)
            bundle = Bundle(account, signed_for, self._nonce(person, nonce), first, last, made)
            signer = "outsider" if flaw == "forged" and person != "outsider" else person
            signature = self._signature(signer, bundle)
            if flaw == "changed":
                bundle = replace(bundle, orders=(*made, Order(Side.BID, 1, 100)))
            found.append((SignedBundle(bundle, signature), signer == person and flaw != "changed"))
        batch = b"".join(signed.pack() for signed, _ in found)
        self.m.batches[batch] = [(signed.bundle, good) for signed, good in found]
        if early:
            self.epoch_ends(1)
        for _ in range(1 + twice):
            self.do("outsider", "Trading", "enterBundles", zone, batch)

    @rule(
        person=people,
        i=small,
        flaw=sometimes("forged", "other tick"),
        epochs=st.sampled_from((0, 0, 0, 1)),
    )
    def cancel_is_relayed(self, person: str, i: int, flaw: str | None, epochs: int) -> None:
        person = self._aim(person, self._has_orders)
        account = self.m.accounts[self.actors[person]]
        if not account.orders:
            return
        index = i % len(account.orders)
        entered = account.orders[index]
        tick = entered.tick % 1023 + 1 if flaw == "other tick" else entered.tick
        order = Order(Side(entered.side), tick, entered.quantity_wh or 100)
        message = CancelOrder(self.actors[person], account.epoch + epochs, index, order)
        number = order_id(self.actors[person], account.epoch + epochs, index)
        forged = "outsider" if flaw == "forged" else None
        signature = self._note("CancelOrder", person, (number, order.pack()), message, forged)
        self.do("outsider", "Trading", "cancelOrderFor", number, order.pack(), signature)

    @rule(
        person=anybody,
        nonce=st.sampled_from(("next", "gap", "used")),
        how=st.sampled_from(("self", "signed", "forged")),
    )
    def messages_are_cancelled(self, person: str, nonce: str, how: str) -> None:
        number = self._nonce(person, nonce)
        if how == "self":
            self.do(person, "Trading", "cancelUpTo", number)
            return
        forged = "keeper" if how == "forged" else None
        message = CancelUpTo(self.actors[person], number)
        signature = self._note("CancelUpTo", person, (number,), message, forged)
        self.do("outsider", "Trading", "cancelUpToFor", self.actors[person], number, signature)

    @rule(
        person=anybody,
        asset=assets,
        part=st.sampled_from(("all", "half", "a unit", "beyond", "inexact")),
        to=st.sampled_from(("self", "other")),
        nonce=st.sampled_from(("next", "next", "next", "gap", "used")),
        flaw=sometimes("forged", "expired"),
    )
    def withdrawal_is_relayed(self, person: str, asset: int, part: str, to: str, nonce: str, flaw: str | None) -> None:
        unit, account = self.m.unit_wei[asset], self.actors[person]
        free = self.m.accounts[account].free[asset]
        units = {"all": free, "half": free // 2, "a unit": 1, "beyond": free + 1, "inexact": 1}[part]
        wei = units * unit + (part == "inexact")
        receiver = account if to == "self" else self.actors["newcomer"]
        deadline = self.m.now - 10 if flaw == "expired" else self.m.now + 10_000
        message = Withdraw(account, Asset(asset), wei, receiver, self._nonce(person, nonce), deadline)
        fields = (asset, wei, receiver, message.nonce, deadline)
        signature = self._note("Withdraw", person, fields, message, "keeper" if flaw == "forged" else None)
        self.do("outsider", "Trading", "withdrawFor", account, *fields, signature)

    @rule(
        person=anybody,
        asset=assets,
        amount=deposit_amounts,
        flaw=sometimes("expired", "forged", "old nonce", "other amount"),
    )
    def deposit_is_relayed(self, person: str, asset: int, amount: str, flaw: str | None) -> None:
        permit = self._permit(person, asset, self._deposit_wei(person, asset, amount), flaw)
        self.do("keeper", "Trading", "depositWithPermitFor", self.actors[person], asset, *permit)

    @rule(person=anybody, enabled=st.booleans())
    def contract_wallet_is_set(self, person: str, enabled: bool) -> None:
        self.do(person, "Trading", "setContractWallet", enabled)

    def _has_orders(self, account: str) -> bool:
        return any(self.m.accounts[account].escrow)

    @rule(picks=st.lists(small, max_size=8), twice=st.booleans())
    def settle(self, picks: list[int], twice: bool) -> None:
        accounts = [self.everyone[i % len(self.everyone)] for i in picks]
        for _ in range(1 + twice):
            self.do("outsider", "Trading", "settle", accounts)

    # ------------------------------------------------------------------------- regulator and distributors

    @rule(
        zone=st.sampled_from((1, 1, 2, 2, 9)),
        what=st.one_of(
            st.tuples(st.just("setPaused"), st.sampled_from((False, False, False, True))),
            st.tuples(st.just("setOrderCap"), st.sampled_from((0, 0, 0, 0, 3, 40, 2**24 - 1, 2**24))),
        ),
    )
    def zone_is_changed(self, zone: int, what: tuple[str, int]) -> None:
        self.do("regulator", "Trading", what[0], zone, what[1])

    @rule(zone=st.sampled_from((1, 3)), cap=st.sampled_from((0, 0, 2**24)))
    def zone_is_opened(self, zone: int, cap: int) -> None:
        self.do("regulator", "Trading", "openZone", zone, cap)

    @rule(
        what=st.sampled_from(("register", "active", "suspended", "zone", "zone", "unknown")),
        person=anybody,
        zone=st.sampled_from((1, 1, 2, 2, 3, 9)),
    )
    def participant_is_changed(self, what: str, person: str, zone: int) -> None:
        account = self.actors[person]
        if what == "register":
            newcomer = self.actors["newcomer"]
            account = account if newcomer in self.m.participants else newcomer
            self.do("distributor", "Registry", "registerUser", account if zone != 3 else ZERO, zone, NO_REF)
        elif what == "zone":
            account = self.actors[self._aim(person, self._has_orders)] if zone == 1 else account
            self.do("distributor", "Registry", "setZone", account, zone)
        else:
            status = {"active": ACTIVE, "suspended": SUSPENDED, "unknown": 0}[what]
            if what == "active":
                # Whoever is suspended comes back sooner or later.
                accounts = [a for a, p in self.m.participants.items() if p.status == SUSPENDED]
                account = accounts[0] if accounts else account
            self.do("distributor", "Registry", "setStatus", account, status)

    @rule(i=st.integers(0, 1000), actor=st.sampled_from(("outsider", "consumer", "minter", "keeper", "distributor")))
    def trespass(self, i: int, actor: str) -> None:
        """Somebody calls what is not for them."""
        calls = sorted(_DUMMIES)
        contract, function = calls[i % len(calls)]
        if RESTRICTED[(contract, function)] not in self.m.roles[self.actors[actor]]:
            refused = self.do(actor, contract, function, *_DUMMIES[(contract, function)])
            assert refused.name == "AccessManagedUnauthorized"

    # ------------------------------------------------------------------------- meters

    def _new_key(self) -> tuple[str, int]:
        """Address and curve of a key that nobody has; every third is of P-256."""
        number = len(self.meter_keys) + 1
        secret = machine_key(f"meter {number}")
        curve = P256 if number % 3 == 0 else SECP256K1
        key = p256_key(secret.to_bytes()) if curve == P256 else secret
        # Before the market hears of it: a call that is refused may succeed when it comes again.
        self.meter_keys[_key_address(key)] = key
        return _key_address(key), curve

    def _assign(self, person: str, kind: int, watt: tuple[int, int], registers: tuple[int, int]):
        meter_id = meter_id_bytes(f"meter-{len(self.m.meters)}")
        config = (self.actors[person], *self._new_key(), kind, int(kind == PROSUMER), *watt, *registers)
        return self.do("distributor", "Registry", "assignMeter", meter_id, config)

    @rule(
        person=anybody,
        kind=st.sampled_from((PROSUMER, CONSUMER)),
        watt=st.sampled_from((1, 5_000, 2**40 - 1)),
        registers=st.tuples(st.sampled_from(REGISTERS), st.sampled_from(REGISTERS)),
        flaw=sometimes("id", "exists", "kind", "import", "export", "source", "key", "no key"),
    )
    def meter_is_assigned(self, person: str, kind: int, watt: int, registers: tuple, flaw: str | None) -> None:
        if flaw is None:
            if len(self.m.meters) < 14:
                self._assign(person, kind, (watt, watt if kind == PROSUMER else 0), registers)
            return
        meter_id = meter_id_bytes(f"meter-{len(self.m.meters)}")
        if flaw in ("id", "exists"):
            meter_id = bytes(32) if flaw == "id" else next(iter(self.m.meters))
        key = {"key": next(iter(self.m.keys)), "no key": ZERO}.get(flaw, address_of(machine_key("never used")))
        config = (
            self.actors[person],
            key,
            SECP256K1,
            0 if flaw == "kind" else kind,
            int((kind == PROSUMER) != (flaw == "source")),
            0 if flaw == "import" else watt,
            watt if (kind == PROSUMER) != (flaw == "export") else 0,
            *registers,
        )
        self.do("distributor", "Registry", "assignMeter", meter_id, config)

    @rule(
        i=small,
        growth=st.sampled_from(("none", "some", "limit", "beyond", "back", "endless")),
        initial=st.tuples(st.sampled_from(REGISTERS), st.sampled_from(REGISTERS)),
        flaw=sometimes("key", "no key", "unknown"),
    )
    def meter_is_replaced(self, i: int, growth: str, initial: tuple, flaw: str | None) -> None:
        meter_id = self._meter(i)
        meter, (address, curve) = self.m.meters[meter_id], self._new_key()
        final = [self._grown(meter, d, growth, self.m.now) for d in (0, 1)]
        address = {"key": meter.key, "no key": ZERO}.get(flaw, address)
        if flaw == "unknown":
            meter_id = meter_id_bytes("nowhere")
        self.do("distributor", "Registry", "replaceMeter", meter_id, address, curve, *final, *initial)

    @rule(i=small, what=st.sampled_from(("active", "revoked", "revoked", "unknown")))
    def meter_is_revoked(self, i: int, what: str) -> None:
        revoked = [meter_id for meter_id, meter in self.m.meters.items() if meter.status != ACTIVE]
        if what == "active":
            self.do("distributor", "Registry", "revokeMeter", self._meter(i))
        elif what == "revoked" and revoked:
            self.do("distributor", "Registry", "revokeMeter", revoked[i % len(revoked)])
        else:
            self.do("distributor", "Registry", "revokeMeter", meter_id_bytes("nowhere"))

    def _meter(self, i: int) -> bytes:
        meters = list(self.m.meters)
        return meters[i % len(meters)]

    # ------------------------------------------------------------------------- readings

    growths = st.sampled_from(("none", "some", "some", "some", "limit", "limit", "beyond", "beyond", "back", "absurd"))

    @rule(
        picks=st.lists(st.tuples(small, growths, growths), min_size=1, max_size=5),
        after=st.sampled_from((0, 60, 900, 900, 3_600)),
        late=st.sampled_from((0, 0, 0, 0, 1, 59, 450)),
        flaw=sometimes("key", "tampered", "elsewhere", "future", "unknown"),
        delivery=st.sampled_from(("now", "now", "now", "now", "twice", "backwards", "lost", "outsider")),
    )
    def meters_are_read(self, picks: list, after: int, late: int, flaw: str | None, delivery: str) -> None:
        if after:
            self._wait_until(self.m.now + after, 1)
        made = []
        for i, import_growth, export_growth in picks:
            made.append(self._read(self._meter(i), import_growth, export_growth, self.m.now - late, flaw))
            flaw = None  # one of the batch is enough
        self.pool = [*self.pool, *made][-POOL:]
        if delivery == "lost":
            return
        if delivery == "backwards":
            made.reverse()
        self._submit("outsider" if delivery == "outsider" else "minter", made * (1 + (delivery == "twice")))

    @precondition(lambda self: self.pool)
    @rule(picks=st.lists(st.integers(0, POOL), max_size=6))
    def deliver(self, picks: list[int]) -> None:
        """What was read some time ago, delivered or not: late, again, out of order."""
        self._submit("minter", [self.pool[-1 - i % len(self.pool)] for i in picks])

    @precondition(lambda self: any(meter.former for meter in self.m.meters.values()))
    @rule(
        i=small,
        dated=st.sampled_from(("between", "between", "between", "newest", "replaced", "later")),
        grown=st.sampled_from(("none", "some", "some", "final", "beyond", "back")),
        week=st.sampled_from((None,) * 8 + (-1, 0, 1)),
        times=st.sampled_from((1, 1, 2)),
    )
    def replaced_device_is_read(self, i: int, dated: str, grown: str, week: int | None, times: int) -> None:
        """What an old device had still to tell."""
        devices = [(m, key) for m, meter in self.m.meters.items() for key in meter.former]
        meter_id, key = devices[-1 - i % len(devices)]
        device = self.m.meters[meter_id].former[key]
        since, *newest = device.newest
        until, *final = device.final
        if week is not None and self.m.now < until + LATE_S:
            self._wait_until(until + LATE_S + week, 1)
        end = {"between": (since + until + 1) // 2, "newest": since, "replaced": until, "later": until + 1}[dated]
        registers = [
            {"none": n, "some": (n + f + 1) // 2, "final": f, "beyond": f + 1, "back": max(0, n - 1)}[grown]
            for n, f in zip(newest, final, strict=True)
        ]
        reading = self._signed(self.meter_keys[key], PlainReading(_text(meter_id), end, *registers))
        self.pool = [*self.pool, reading][-POOL:]
        self._submit("minter", [reading] * times)

    def _submit(self, actor: str, readings: list[Reading]) -> None:
        ordered = sorted(readings, key=lambda reading: bool(reading.public_key))
        keys = [reading.public_key for reading in ordered if reading.public_key]
        self.do(actor, "Metering", "submitReadings", [reading.entry for reading in ordered], keys)

    def _grown(self, meter, direction: int, growth: str, end: int) -> int:
        """A register at `end`, by what the market would make of its growth."""
        limit = meter.rated[direction] * max(0, end - meter.interval_end) * 11 // 36_000
        grown = {
            "none": 0,
            "some": min(limit, 1 + limit * 5 // 13),
            "limit": limit,
            "beyond": limit + 1,
            "back": -1,
            "absurd": 2**47,
            "endless": 2**56,
        }[growth]
        return min(MAX_UINT64, max(0, meter.registers[direction] + grown))

    def _read(self, meter_id: bytes, import_growth: str, export_growth: str, end: int, flaw: str | None) -> Reading:
        meter = self.m.meters[meter_id]
        if flaw == "future":
            end = self.m.now + 10
        registers = [self._grown(meter, d, g, end) for d, g in enumerate((import_growth, export_growth))]
        key = machine_key("never used") if flaw == "key" else self.meter_keys[meter.key]
        contract = self.m.at["Trading" if flaw == "elsewhere" else "Metering"]
        plain = PlainReading("nowhere" if flaw == "unknown" else _text(meter_id), end, *registers)
        exported = registers[1] + (flaw == "tampered" and registers[1] < MAX_UINT64)
        return self._signed(key, plain, exported, contract)

    def _signed(
        self, key: MeterKey, plain: PlainReading, exported: int | None = None, contract: str | None = None
    ) -> Reading:
        """A reading as it is handed in, perhaps with another export than was signed, or signed for elsewhere."""
        here = self.m.at["Metering"]
        domain = MeterDomain(31337, contract or here)
        signed = sign(plain, domain, key.to_bytes()) if isinstance(key, PrivateKey) else sign_p256(plain, domain, key)
        exported = plain.export_wh if exported is None else exported
        public_key = (signed.public_key[:32], signed.public_key[32:]) if signed.public_key else ()
        numbers = (plain.interval_end, plain.import_wh, exported)
        reading = Reading(meter_id_bytes(plain.meter_id), *numbers, signed.r, signed.vs, public_key)
        if exported == plain.export_wh and domain.verifying_contract == here:
            self.m.signers[reading] = _key_address(key)
        return reading

    @rule(
        i=small,
        growth=st.sampled_from(("some", "limit")),
        first=st.sampled_from(("seconds", "period", "period")),
        then=st.sampled_from(("grace is ending", "grace ends", "seconds", "period")),
        keeper=st.sampled_from(("dead", "dead", "late", "alive")),
    )
    def import_grows_old(self, i: int, growth: str, first: str, then: str, keeper: str) -> None:
        """What was imported waits for the end of its period, and of the grace after it."""
        self.keeper = keeper
        meter_id = self._meter(i)
        reading = self._read(meter_id, growth, "none", self.m.now, None)
        self.pool = [*self.pool, reading][-POOL:]
        self._submit("minter", [reading])
        for kind in (first, then):
            self.time_passes(kind=kind, n=7, blocks=1)

    @rule(i=small, release=st.sampled_from((True, True, False)))
    def parked_growth_is_decided(self, i: int, release: bool) -> None:
        waiting = [n for n, p in enumerate(self.m.parked, 1) if p.status == WAITING]
        number = waiting[i % len(waiting)] if waiting and i < 13 else i % (len(self.m.parked) + 2)
        self.do("distributor", "Metering", "releaseParked" if release else "rejectParked", number)

    # ------------------------------------------------------------------------- retiring

    def _imports(self, account: str) -> bool:
        return self.m.imports[account].outstanding > 0

    @rule(person=people, wh=st.sampled_from((0, 1, 1_000, 2**200, 2**200)), aimed=st.booleans())
    def retire(self, person: str, wh: int, aimed: bool) -> None:
        if aimed:
            person = self._aim(person, self._imports)
        self.do(person, "Metering", "retire", wh)

    @rule(picks=st.lists(small, max_size=7))
    def retire_for(self, picks: list[int]) -> None:
        self.do("outsider", "Metering", "retireFor", [self.everyone[i % len(self.everyone)] for i in picks])

    @rule(
        person=people,
        amount=st.sampled_from(("all", "one", "none", "beyond")),
        allowed=st.sampled_from((0, 1, 1, 1)),
        funded=st.booleans(),
    )
    def retire_from_wallet(self, person: str, amount: str, allowed: int, funded: bool) -> None:
        person = self._aim(person, self._imports)
        outstanding = self.m.imports[self.actors[person]].outstanding
        wh = {"all": outstanding, "one": 1, "none": 0, "beyond": outstanding + 1}[amount]
        if funded:
            self._give(person, ENERGY, wh * WH_WEI)
        self._approve(person, ENERGY, wh * WH_WEI * allowed, "Metering")
        self.do(person, "Metering", "retireFromWallet", wh)

    @rule(person=anybody, amount=st.sampled_from(("all", "one", "none", "beyond", "endless")))
    def surrender(self, person: str, amount: str) -> None:
        free_wh = self.m.accounts[self.actors[person]].free[ENERGY] // WH
        wh = {"all": free_wh, "one": 1, "none": 0, "beyond": free_wh + 1, "endless": 2**255}[amount]
        self.do(person, "Metering", "surrender", wh)

    @rule(person=people, enabled=st.booleans())
    def auto_retire(self, person: str, enabled: bool) -> None:
        self.do(person, "Metering", "setAutoRetire", enabled)

    # ------------------------------------------------------------------------- oracle

    def _request_number(self, i: int) -> bytes:
        known = [*self.m.requests, bytes(32), bytes(31) + b"\7"]
        return known[i % len(known)]

    @rule(
        actor=st.sampled_from((*PEOPLE, "outsider", "oracle_operator")),
        subject=st.one_of(small, st.sampled_from(("tariff", "tariff", "nobody", "unknown"))),
        times=st.sampled_from((1, 1, 1, 1, 1, 1, 11)),
    )
    def data_is_requested(self, actor: str, subject: int | str, times: int) -> None:
        if isinstance(subject, int):
            kind, name = METER, self._meter(subject)
        elif subject == "unknown":
            kind, name = METER, meter_id_bytes("nowhere")
        else:
            kind, name = 1, bytes(32) if subject == "nobody" else subject.encode().ljust(32, b"\0")
        for _ in range(times):
            self.do(actor, "OracleClient", "requestEnergyData", kind, name)

    @precondition(lambda self: self.m.requests)
    @rule(
        i=small,
        reading=st.sampled_from(("fresh", "fresh", "held", "of another", "old", "tampered")),
        value=st.sampled_from((0, -1, 1_000, 1_099, 1_101, 2**95 - 1, -(2**95), 2**95, -(2**255))),
        actor=st.sampled_from((*OPERATORS * 3, "outsider")),
    )
    def data_is_delivered(self, i: int, reading: str, value: int, actor: str) -> None:
        pending = self.m.pending
        number = pending[i % len(pending)] if pending and i < 12 else self._request_number(i)
        request = self.m.requests.get(number)
        if request is not None and request.kind == METER:
            delivered = self._reading_for(request.subject, reading, i)
            data = encode(READING_TYPES, (delivered.entry,)) + b"".join(delivered.public_key)
        else:
            data = encode(("int256",), (value,))
        self.do(actor, "OracleClient", "fulfillEnergyData", number, data)

    def _reading_for(self, meter_id: bytes, kind: str, i: int) -> Reading:
        meter = self.m.meters[meter_id]
        if kind == "held":
            newest = (meter_id, meter.interval_end, *meter.registers)
            return next((r for r in self.pool if r[:4] == newest), Reading(*newest, bytes(32), bytes(32)))
        if kind == "old" and self.pool:
            return self.pool[i % len(self.pool)]
        other = self._meter(i) if kind == "of another" else meter_id
        reading = self._read(other, "some", "limit", self.m.now, "tampered" if kind == "tampered" else None)
        self.pool = [*self.pool, reading][-POOL:]
        return reading

    @rule(
        actor=st.sampled_from((*OPERATORS, "outsider")),
        active=st.booleans(),
    )
    def panel_is_changed(self, actor: str, active: bool) -> None:
        self.do("regulator", "OracleClient", "setOperator", self.actors[actor], active)

    @rule(quorum=st.sampled_from((1, 1, 3, 3, 0, 2, 5)), tolerance_bp=st.sampled_from((0, 1_000, 10_000, 10_001)))
    def quorum_is_changed(self, quorum: int, tolerance_bp: int) -> None:
        self.do("regulator", "OracleClient", "setPanel", quorum, tolerance_bp)

    @rule(picks=st.lists(small, max_size=4))
    def requests_are_timed_out(self, picks: list[int]) -> None:
        numbers = [self._request_number(i) for i in picks]
        self.do("outsider", "OracleClient", "timeOutRequests", numbers)

    # ------------------------------------------------------------------------- after each step

    @invariant()
    def everything_agrees(self) -> None:
        Stats.steps += 1
        self.steps += 1
        expected = self._views()
        answers = self.world.read([key for key, _ in expected])
        for (key, values), answer in zip(expected, answers, strict=True):
            contract, function, _ = key
            outputs = functions(contract)[function].outputs
            if answer != encode(outputs, values):
                raise AssertionError(f"{key}: shows {decode(outputs, answer)}, not {values}")
        self.m.check()
        self._everybody_can_withdraw()
        self._order_of_settling_does_not_matter()

    def _views(self):
        """(contract, function, arguments) and what it must return."""
        m = self.m
        everyone = tuple(self.everyone)
        meters = tuple(m.meters)
        views = [
            (("Trading", "currentEpoch", ()), (m.epoch,)),
            (("Trading", "totals", ()), tuple(m.totals)),
            (("Trading", "accountsOf", (everyone,)), (m.account_views(self.everyone),)),
            (("Metering", "importsOf", (everyone,)), (m.import_views(self.everyone),)),
            (("Metering", "registersOf", (meters,)), ([(x.interval_end, *x.registers) for x in m.meters.values()],)),
            (("Metering", "parkedCount", ()), (len(m.parked),)),
            (("Registry", "users", (0, 100)), (list(m.participants),)),
            (("OracleClient", "pendingRequests", (0, 100)), (m.pending,)),
            (("OracleClient", "checkUpkeep", (b"",)), m.check_upkeep()),
            (("OracleClient", "checkUpkeep", (_SECOND_ZONE,)), m.check_upkeep(2, 1, 3)),
        ]
        for zone in (1, 2):
            z = m.zones[zone]
            views.append((("Trading", "zoneOf", (zone,)), (m.zone_view(zone),)))
            views.append((("Trading", "clearingDue", (zone,)), (m.is_due(zone), z.epoch)))
            if z.epoch < m.epoch:
                views.append((("Trading", "resultOf", (zone, z.epoch)), (m.result_view(zone, z.epoch),)))
            else:
                views.append((("Trading", "indicativeResult", (zone,)), (m.indicative_view(zone),)))
        # What one step breaks does not mend itself: of the many, a few are looked at in turn.
        turn = self.steps
        for n in (turn, turn + 3):
            address = self.everyone[n % len(self.everyone)]
            views.append((("Trading", "ordersOf", (address,)), (m.order_views(address),)))
        address, p = self._in_turn(m.participants, turn)
        record = (p.registered_at, p.zone, p.status, len(p.meters), p.ref)
        views.append((("Registry", "participantOf", (address,)), (record,)))
        for asset, token in enumerate(TOKENS):
            views.append(((token, "totalSupply", ()), (m.tokens[asset].supply,)))
            balances = m.tokens[asset].balances
            holders = (m.at["Trading"], self.everyone[turn % 7], self.everyone[(turn + 4) % 7])
            views += [((token, "balanceOf", (holder,)), (balances[holder],)) for holder in holders]
        meter_id, meter = self._in_turn(m.meters, turn)
        views.append((("Registry", "meterOf", (meter_id,)), (_meter_view(meter),)))
        if m.parked:
            n = 1 + turn % len(m.parked)
            p = m.parked[n - 1]
            views.append((("Metering", "parkedOf", (n,)), ((p.meter, p.owner, *p.energy, p.status),)))
        if m.requests:
            number, r = self._in_turn(m.requests, turn)
            shown = (r.requester, r.kind, r.status, r.block, r.quorum, len(r.answers), r.subject)
            views.append((("OracleClient", "requestOf", (number,)), (shown,)))
            views.append((("OracleClient", "nonceOf", (r.requester,)), (m.asked[r.requester],)))
        views.append((("OracleClient", "panel", ()), (m.panel, m.quorum, m.tolerance_bp)))
        operator = self.actors[OPERATORS[turn % len(OPERATORS)]]
        o = m.operators[operator]
        views.append(
            (("OracleClient", "operatorOf", (operator,)), ((operator in m.panel, o.asked, o.answered, o.outliers),))
        )
        for name, datum in m.data.items():
            views.append((("OracleClient", "datumOf", (name,)), (datum,)))
        return views

    @staticmethod
    def _in_turn(known: dict, turn: int):
        return list(known.items())[turn % len(known)]

    def _everybody_can_withdraw(self) -> None:
        m, w, trading = self.m, self.world, self.m.at["Trading"]
        left = [token.balances[trading] for token in m.tokens]
        with w.rolled_back():
            for address in self.everyone:
                for asset in (ENERGY, MONEY):
                    wei = m.accounts[address].free[asset] * m.unit_wei[asset]
                    if wei:
                        w.try_out(address, "Trading", _WITHDRAW + encode(_WITHDRAW_TYPES, (asset, wei, address)))
                        left[asset] -= wei
            held = w.read([(token, "balanceOf", (trading,)) for token in TOKENS])
        assert [int.from_bytes(answer, "big") for answer in held] == left
        for asset in (ENERGY, MONEY):
            locked = sum(a.escrow[asset] for a in m.accounts.values())
            kept = (locked + m.dust[asset]) * m.unit_wei[asset] + m.donated_wei[asset]
            assert left[asset] == kept, "what nobody owns is escrow, dust and donations"

    def _order_of_settling_does_not_matter(self) -> None:
        m, w = self.m, self.world
        unsettled = [a for a in self.everyone if m.is_unsettled(m.accounts[a])]
        if not unsettled:
            return
        if w.tick * (1 + 2 * len(unsettled)) >= m.epoch_start(m.epoch + 1) - m.now:
            return  # the blocks that settling takes would end the epoch, and that changes balances
        view = ("Trading", "accountsOf", (tuple(self.everyone),))
        expected = encode(functions("Trading")["accountsOf"].outputs, (m.account_views(self.everyone),))
        turn = self.steps % len(unsettled)
        turned = unsettled[turn:] + unsettled[:turn]
        for plan in ([[a] for a in turned], [turned[::-1] * 2]):
            with w.rolled_back():
                for accounts in plan:
                    w.try_out(self.everyone[-1], "Trading", _SETTLE + encode(("address[]",), (accounts,)))
                    assert w.read([view])[0] == expected, f"settling {accounts} of {plan} changed a balance"
        if w.tick == 0:
            with w.rolled_back():
                w.move_to(m.epoch_start(m.epoch + 200), m.block + 1)
                # Escrow of the open epoch would be settled, too: only who has none compares.
                # So would what rests of standing orders, which expire.
                if all((a.epoch < m.epoch or not a.orders) and not any(a.escrow) for a in m.accounts.values()):
                    assert w.read([view])[0] == expected, "settling later changes a balance"

    def teardown(self) -> None:
        """All results ever, and the open book."""
        m = self.m
        for (zone, epoch), ended in m.ended.items():
            shown = self.world.read([("Trading", "resultOf", (zone, epoch))])[0]
            assert shown == encode(functions("Trading")["resultOf"].outputs, (m.result_view(zone, epoch),))
            Stats.epochs += 1
            Stats.traded += ended.result.traded
            Stats.rationed += ended.result.long_side != 0
        for zone in (1, 2):
            (answer,) = self.world.read([("Trading", "book", (zone,))])
            bids, asks = [0] * 1023, [0] * 1023
            for order in m.open_orders(zone):
                (asks if order.side else bids)[order.tick - 1] += order.quantity_wh
            assert answer == encode(("uint64[]", "uint64[]"), (bids, asks))


def _pack(side: int, tick: int, quantity_wh: int, life: int = 0) -> int:
    return life << 35 | side << 34 | tick << 24 | quantity_wh


def _plain(value: object) -> object:
    return value.lower() if isinstance(value, str) and value.startswith("0x") else value


def _text(meter_id: bytes) -> str:
    return meter_id.rstrip(b"\0").decode()


def _key_address(key: MeterKey) -> str:
    return address_of(key) if isinstance(key, PrivateKey) else key_address(p256_public_key(key))


def _meter_view(x) -> tuple:
    return x.key, x.key_type, x.status, x.kind, x.source, x.assigned_at, x.owner, *x.rated


_PERMIT_TYPEHASH = keccak(text="Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)")
_DOMAIN_TYPEHASH = keccak(text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_SECOND_ZONE = encode(("uint8", "uint256", "uint256"), (2, 1, 3))
_WITHDRAW_TYPES = ("uint8", "uint256", "address")
_WITHDRAW = functions("Trading")["withdraw"].selector
_SETTLE = functions("Trading")["settle"].selector
_CONFIG = (ZERO, ZERO, 0, 0, 0, 0, 0, 0, 0)
_DUMMIES: dict[tuple[str, str], tuple] = {
    ("Registry", "registerUser"): (ZERO, 1, NO_REF),
    ("Registry", "setStatus"): (ZERO, 1),
    ("Registry", "setZone"): (ZERO, 1),
    ("Registry", "assignMeter"): (NO_REF, _CONFIG),
    ("Registry", "replaceMeter"): (NO_REF, ZERO, 0, 0, 0, 0, 0),
    ("Registry", "revokeMeter"): (NO_REF,),
    ("GridToken", "mint"): (ZERO, 1, NO_REF),
    ("BahtToken", "issue"): (ZERO, 1, NO_REF),
    ("BahtToken", "redeem"): (ZERO, 1, NO_REF),
    ("Trading", "matchOrders"): (1,),
    ("Trading", "setAccount"): (ZERO, 1, 1),
    ("Trading", "credit"): ([], []),
    ("Trading", "retire"): ([], []),
    ("Trading", "openZone"): (7, 0),
    ("Trading", "setOrderCap"): (1, 0),
    ("Trading", "setPaused"): (1, True),
    ("Metering", "submitReadings"): ([], []),
    ("Metering", "releaseParked"): (1,),
    ("Metering", "rejectParked"): (1,),
    ("Metering", "openMeter"): (NO_REF, ZERO, ZERO, 0, 0, 0, 0),
    ("Metering", "replaceMeter"): (NO_REF, ZERO, 0, 0, 0, 0),
    ("Metering", "closeMeter"): (NO_REF,),
    ("OracleClient", "fulfillEnergyData"): (NO_REF, b""),
    ("OracleClient", "setOperator"): (ZERO, True),
    ("OracleClient", "setPanel"): (1, 0),
}
assert _DUMMIES.keys() == RESTRICTED.keys()
