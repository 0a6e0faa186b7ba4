"""The market as its manual describes it, in plain Python: the ledger that the state machines hold the contracts to.

Where the contracts are lazy the model is not. The moment an epoch ends, its auction is held by the reference
(`busbar.clearing`), judged from first principles, and booked to everybody; import ages epoch by epoch. What the
contracts settle sooner or later, in whatever order, must therefore always look like this. Beside that the model knows
the few things in which laziness shows on purpose: which epoch still waits to be cleared, whose old orders are listed.

A verb either returns what the contract returns, having booked it and noted its events, or raises `Refused` with the
contract's error and every one of its values, having changed nothing: all checks come before the first change.

Energy in micro-Wh or Wh, money in money units, tokens in wei, times in seconds of chain time; addresses have checksums.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from busbar import clearing
from busbar.clearing import Result
from busbar.orders import Order, Side
from busbar.signing import Bundle
from tests.machines.abi import encode, refusal

ENERGY, MONEY = 0, 1
UNKNOWN, ACTIVE, SUSPENDED = 0, 1, 2
REVOKED = 2
PROSUMER, CONSUMER = 1, 2
WAITING, RELEASED, REJECTED = 1, 2, 3
METER, DATUM = 0, 1
PENDING, FULFILLED, TIMED_OUT = 1, 2, 3
CLEAR, TIME_OUT, RETIRE = 0, 1, 2

WH = 10**6
"""Micro-Wh in a Wh."""
WH_WEI = 10**15
"""GRID wei in a Wh."""
ENERGY_UNIT_WEI = 10**9
MAX_UNITS = ((1 << 60) - 1, (1 << 75) - 1)
"""Most energy and most money the market holds."""
LATE_S = 7 * 86_400
"""How long after its replacement a device's readings are recorded."""
MAX_OPERATORS = 15
MAX_DATUM = 2**95 - 1
MAX_ALLOWANCE = 2**256 - 1

PERIOD, GRACE = 96, 4
TIMEOUT_BLOCKS = 100
MAX_PENDING = 10
"""Requests that one account may have pending."""
MAX_IMPORT = (1 << 56) - 1
"""Most import that a participant can have outstanding of one period, Wh."""
MAX_REGISTER_WH = (1 << 48) - 1
"""Largest register that a meter shows."""
MAX_CAP = (1 << 24) - 1
"""Largest cap on orders."""
MAX_ORDERS = 100
MIN_ORDER = 100
"""Smallest order, Wh."""
MAX_LIFE = 96
MAX_METERS = 10
UPKEEP_BATCH = 100
ZERO = "0x" + "0" * 40
NO_ID = bytes(32)

RESTRICTED = {
    ("Registry", "registerUser"): "distributor",
    ("Registry", "setStatus"): "distributor",
    ("Registry", "setZone"): "distributor",
    ("Registry", "assignMeter"): "distributor",
    ("Registry", "replaceMeter"): "distributor",
    ("Registry", "revokeMeter"): "distributor",
    ("GridToken", "mint"): "token minter",
    ("BahtToken", "issue"): "issuer",
    ("BahtToken", "redeem"): "issuer",
    ("Trading", "matchOrders"): "market maker",
    ("Trading", "setAccount"): "registry",
    ("Trading", "credit"): "metering",
    ("Trading", "retire"): "metering",
    ("Trading", "openZone"): "admin",
    ("Trading", "setOrderCap"): "admin",
    ("Trading", "setPaused"): "admin",
    ("Metering", "submitReadings"): "minter",
    ("Metering", "releaseParked"): "distributor",
    ("Metering", "rejectParked"): "distributor",
    ("Metering", "openMeter"): "registry",
    ("Metering", "replaceMeter"): "registry",
    ("Metering", "closeMeter"): "registry",
    ("OracleClient", "fulfillEnergyData"): "oracle operator",
    ("OracleClient", "setOperator"): "admin",
    ("OracleClient", "setPanel"): "admin",
}
"""Who may do what, after market_design.md section 5 and the manuals."""


class Refused(Exception):
    """The contract must refuse, with this error and these values."""

    def __init__(self, name: str, *values: object) -> None:
        self.name = name
        self.values = values
        super().__init__(name, *values)


class Log(NamedTuple):
    contract: str
    event: str
    values: tuple


@dataclass(slots=True)
class Entered:
    """An order in the book of its epoch; `quantity_wh` becomes 0 when it is cancelled, and what rests of it later."""

    side: int
    tick: int
    quantity_wh: int
    life: int = 0

    def order(self) -> Order:
        return Order(Side(self.side), self.tick, self.quantity_wh)

    def pack(self) -> int:
        return self.life << 35 | self.side << 34 | self.tick << 24 | self.quantity_wh


@dataclass(slots=True)
class Account:
    status: int = UNKNOWN
    zone: int = 0
    free: list[int] = field(default_factory=lambda: [0, 0])
    escrow: list[int] = field(default_factory=lambda: [0, 0])
    nonce: int = 0
    """Lowest that a signed message may still use."""
    epoch: int = 0
    orders: list[Entered] = field(default_factory=list)
    """Of the newest epoch in which it entered any, cancelled ones included; booked when that epoch ends."""
    listed: bool = False
    """Whether the contract still lists them: from entry until it writes the settlement down, or nothing rests."""
    standing: bool = False
    """Whether one of them was entered to stand longer than its epoch."""
    too_small: list[int] = field(default_factory=list)
    """Places of standing orders of which too little is left; the contract says so when it writes that down."""


@dataclass(slots=True)
class Zone:
    open: bool = False
    paused: bool = False
    epoch: int = 0
    cleared: bool = False
    counted: int = 0
    cap: int = 0


@dataclass(slots=True)
class Token:
    supply: int = 0
    balances: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    allowances: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    nonces: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def move(self, source: str, target: str, wei: int) -> None:
        self.balances[source] -= wei
        self.balances[target] += wei

    def require(self, owner: str, spender: str, wei: int, allowance: int | None = None) -> None:
        allowed = self.allowances[(owner, spender)] if allowance is None else allowance
        if allowed < wei:
            raise Refused("ERC20InsufficientAllowance", spender, allowed, wei)
        self.require_balance(owner, wei)

    def require_balance(self, owner: str, wei: int) -> None:
        if self.balances[owner] < wei:
            raise Refused("ERC20InsufficientBalance", owner, self.balances[owner], wei)

    def spend(self, owner: str, spender: str, wei: int) -> None:
        if self.allowances[(owner, spender)] != MAX_ALLOWANCE:
            self.allowances[(owner, spender)] -= wei

    def mint(self, to: str, wei: int) -> None:
        self.supply += wei
        self.balances[to] += wei

    def burn(self, source: str, wei: int) -> None:
        self.supply -= wei
        self.balances[source] -= wei


@dataclass(slots=True)
class Participant:
    registered_at: int
    zone: int
    status: int
    ref: bytes
    meters: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Former:
    """A device that was replaced."""

    newest: tuple[int, int, int]
    """Its newest reading: interval end, import, export."""
    final: tuple[int, int, int]
    """When it was replaced, and its final registers."""


@dataclass(slots=True)
class Meter:
    key: str
    key_type: int
    status: int
    kind: int
    source: int
    assigned_at: int
    owner: str
    rated: tuple[int, int]
    """Import and export, W."""
    interval_end: int
    registers: tuple[int, int]
    """Import and export, Wh."""
    opened: tuple[int, int]
    """Registers at which this device began to count."""
    earlier: tuple[int, int] = (0, 0)
    """Growth of the devices before it."""
    former: dict[str, Former] = field(default_factory=dict)
    """The devices before it, by the address of their key."""

    def growth(self, direction: int) -> int:
        return self.earlier[direction] + self.registers[direction] - self.opened[direction]


@dataclass(slots=True)
class Imports:
    current: int = 0
    previous: int = 0
    grid: int = 0
    manual: bool = False
    retired: int = 0

    @property
    def outstanding(self) -> int:
        return self.current + self.previous


@dataclass(slots=True)
class Parked:
    meter: bytes
    owner: str
    energy: tuple[int, int]
    status: int = WAITING


@dataclass(slots=True)
class Request:
    requester: str
    kind: int
    status: int
    block: int
    subject: bytes
    quorum: int
    answers: list[tuple[str, int]] = field(default_factory=list)
    """(operator, value) in the order they came."""

    @property
    def median(self) -> int:
        """The middle one of the answers that made the quorum."""
        return statistics.median_low(value for _, value in self.answers[: self.quorum])


@dataclass(slots=True)
class Operator:
    asked: int = 0
    answered: int = 0
    outliers: int = 0


class Reading(NamedTuple):
    """As `IMetering.SignedReading`, with the public key that comes beside it."""

    meter: bytes
    interval_end: int
    import_wh: int
    export_wh: int
    r: bytes
    vs: bytes
    public_key: tuple[bytes, ...] = ()
    """x and y of a P-256 key."""

    @property
    def entry(self) -> tuple:
        return self[:6]


class Taken(NamedTuple):
    """What a reading that counts does."""

    reading: Reading
    growth: tuple[int, int]
    parked: tuple[int, int]


class Ended(NamedTuple):
    """An epoch that is over."""

    result: Result
    orders: tuple[Order, ...]


_verbs: dict[tuple[str, str], Callable] = {}


def verb(contract: str, function: str):
    def register(method):
        _verbs[(contract, function)] = method
        return method

    return register


class Model:
    """The market's books. Construct it, tell it the roles, and call verbs as the contracts are called."""

    def __init__(
        self,
        addresses: dict[str, str],
        *,
        now: int,
        block: int,
        genesis: int,
        epoch_seconds: int = 900,
        tick_wei: int = 10**16,
        cancel_cutoff: int = 0,
    ) -> None:
        self.at = addresses
        self.now, self.block = now, block
        self.genesis, self.epoch_seconds, self.cancel_cutoff = genesis, epoch_seconds, cancel_cutoff
        self.unit_wei = (ENERGY_UNIT_WEI, tick_wei // (2 * 10**9))
        self.roles: dict[str, set[str]] = defaultdict(set)
        self.logs: list[Log] = []
        # Trading
        self.accounts: dict[str, Account] = defaultdict(Account)
        self.zones: dict[int, Zone] = defaultdict(Zone)
        self.ended: dict[tuple[int, int], Ended] = {}
        self.totals = [0, 0]
        self.dust = [0, 0]
        self.donated_wei = [0, 0]
        self.signed: set[tuple] = set()
        """What accounts signed: kind of message, its fields as the contract takes them, signature."""
        self.batches: dict[bytes, list[tuple[Bundle, bool]]] = {}
        """Batches of bundles as handed in; and whether each was signed by its account as it stands there."""
        # tokens, by asset
        self.tokens = (Token(), Token())
        self.plainly_minted_wei = 0
        self.burnt_wei = 0
        self.permits: dict[tuple, int] = {}
        """Signed permits, as handed in: the nonce each was signed for."""
        # Registry
        self.participants: dict[str, Participant] = {}
        self.meters: dict[bytes, Meter] = {}
        self.keys: dict[str, bytes] = {}
        # Metering
        self.imports: dict[str, Imports] = defaultdict(Imports)
        self.parked: list[Parked] = []
        self.signers: dict[Reading, str] = {}
        """Whose key signed a reading, and for this market."""
        # OracleClient
        self.requests: dict[bytes, Request] = {}
        self.asked: dict[str, int] = defaultdict(int)
        self.pending: list[bytes] = []
        self.data: dict[bytes, tuple[int, int, bytes]] = {}
        self.panel: list[str] = []
        self.quorum, self.tolerance_bp = 1, 1_000
        self.operators: dict[str, Operator] = defaultdict(Operator)

    # ------------------------------------------------------------------------- time

    @property
    def epoch(self) -> int:
        return (self.now - self.genesis) // self.epoch_seconds

    def epoch_start(self, epoch: int) -> int:
        return self.genesis + epoch * self.epoch_seconds

    def move_to(self, now: int, block: int) -> None:
        """Time passes, and what time alone brings about happens."""
        before = self.epoch
        self.now, self.block = now, block
        if self.epoch > before:
            for zone in [number for number, zone in self.zones.items() if zone.open]:
                self._hold_auction(zone, before)
            for account in self.accounts.values():
                self._expire(account)
        for epoch in range(before + 1, self.epoch + 1):
            self._age_imports(epoch % PERIOD)

    def _hold_auction(self, zone: int, epoch: int) -> None:
        """Clears and books an epoch that has just ended."""
        traders = [a for a in self.accounts.values() if a.zone == zone and a.epoch == epoch and a.orders]
        if not traders:
            return
        live = [(a, entered.order()) for a in traders for entered in a.orders if entered.quantity_wh]
        orders = tuple(order for _, order in live)
        result = clearing.clear_orders(orders)
        judge_auction(orders, result)
        dust = clearing.dust(result, orders)
        for account, order in live:
            back = clearing.settle(result, order)
            account.free[ENERGY] += back.energy_units
            account.free[MONEY] += back.money_units
        for account in traders:
            account.escrow = [0, 0]
            if account.standing:
                self._leave(account, result)
        self.dust[ENERGY] += dust.energy_units
        self.dust[MONEY] += dust.money_units
        self.ended[(zone, epoch)] = Ended(result, orders)

    def _leave(self, account: Account, result: Result) -> None:
        """What is left of standing orders rests; the escrow of all orders is free already."""
        account.too_small = []
        for place, entered in enumerate(account.orders):
            left_wh = clearing.remainder(result, entered.order()) if entered.quantity_wh and entered.life else 0
            if 0 < left_wh < MIN_ORDER:
                account.too_small.append(place)
            entered.quantity_wh = left_wh if left_wh >= MIN_ORDER else 0
            self._lock(account, entered, 1)

    def _expire(self, account: Account) -> None:
        """Of what rests, that whose last epoch is over goes free."""
        for entered in account.orders if account.standing else ():
            if entered.life < self.epoch - account.epoch:
                self._lock(account, entered, -1)
                entered.quantity_wh = 0

    def _lock(self, account: Account, entered: Entered, sign: int) -> None:
        for asset, units in enumerate(_escrow(entered)):
            account.free[asset] -= sign * units
            account.escrow[asset] += sign * units

    def _age_imports(self, epoch_of_period: int) -> None:
        for ledger in self.imports.values():
            if epoch_of_period == 0:
                assert ledger.previous == 0, "import of the period before the last is long closed"
                ledger.previous, ledger.current = ledger.current, 0
            elif epoch_of_period == GRACE:
                ledger.grid += ledger.previous
                ledger.previous = 0

    # ------------------------------------------------------------------------- calling

    def call(self, sender: str, contract: str, function: str, args: tuple):
        """What the contract returns. Raises `Refused` if it must refuse."""
        self.logs = []
        role = RESTRICTED.get((contract, function))
        if role is not None and role not in self.roles[sender]:
            raise Refused("AccessManagedUnauthorized", sender)
        return _verbs[(contract, function)](self, sender, *args)

    def _log(self, contract: str, event: str, *values: object) -> None:
        self.logs.append(Log(contract, event, values))

    # ------------------------------------------------------------------------- tokens

    def token(self, contract: str) -> Token:
        return self.tokens[ENERGY if contract == "GridToken" else MONEY]

    def _asset_of(self, contract: str) -> int:
        return ENERGY if contract == "GridToken" else MONEY

    @verb("GridToken", "mint")
    def mint(self, _: str, to: str, wei: int, meter: bytes) -> None:
        self.tokens[ENERGY].mint(to, wei)
        self.plainly_minted_wei += wei
        if to == self.at["Trading"]:
            self.donated_wei[ENERGY] += wei
        self._log("GridToken", "Minted", to, wei, meter)

    @verb("GridToken", "burn")
    def burn(self, sender: str, wei: int) -> None:
        self.tokens[ENERGY].require_balance(sender, wei)
        self._burn(sender, wei)

    @verb("BahtToken", "issue")
    def issue(self, _: str, to: str, wei: int, ref: bytes) -> None:
        self.tokens[MONEY].mint(to, wei)
        if to == self.at["Trading"]:
            self.donated_wei[MONEY] += wei
        self._log("BahtToken", "Issued", to, wei, ref)

    @verb("BahtToken", "redeem")
    def redeem(self, sender: str, source: str, wei: int, ref: bytes) -> None:
        token = self.tokens[MONEY]
        if source != sender:
            token.require(source, sender, wei)
        token.require_balance(source, wei)
        if source != sender:
            token.spend(source, sender, wei)
        token.burn(source, wei)
        self._log("BahtToken", "Redeemed", source, wei, ref)

    def transfer(self, contract: str, sender: str, to: str, wei: int) -> bool:
        token = self.token(contract)
        token.require_balance(sender, wei)
        token.move(sender, to, wei)
        if to == self.at["Trading"]:
            self.donated_wei[self._asset_of(contract)] += wei
        return True

    def approve(self, contract: str, sender: str, spender: str, wei: int) -> bool:
        self.token(contract).allowances[(sender, spender)] = wei
        return True

    def permit(self, contract: str, *permit) -> None:
        owner, spender, wei, deadline = permit[:4]
        if self.now > deadline:
            raise Refused("ERC2612ExpiredSignature", deadline)
        if not self._is_signed(contract, permit):
            # Who the signer of anything else would be is nobody's business; the machine does not compare it.
            raise Refused("ERC2612InvalidSigner")
        self.token(contract).nonces[owner] += 1
        self.token(contract).allowances[(owner, spender)] = wei

    def _is_signed(self, contract: str, permit: tuple) -> bool:
        return self.permits.get((contract, *permit)) == self.token(contract).nonces[permit[0]]

    def _burn(self, source: str, wei: int) -> None:
        self.tokens[ENERGY].burn(source, wei)
        self.burnt_wei += wei

    # ------------------------------------------------------------------------- Trading: in and out

    @verb("Trading", "deposit")
    def deposit(self, sender: str, asset: int, wei: int) -> None:
        self._deposit(sender, asset, wei, None)

    @verb("Trading", "depositWithPermit")
    def deposit_with_permit(self, sender: str, asset: int, wei: int, deadline: int, v: int, r: bytes, s: bytes) -> None:
        contract = ("GridToken", "BahtToken")[asset]
        permit = (sender, self.at["Trading"], wei, deadline, v, r, s)
        good = self.now <= deadline and self._is_signed(contract, permit)
        self._deposit(sender, asset, wei, wei if good else None)
        if good:
            self.token(contract).nonces[sender] += 1

    @verb("Trading", "depositWithPermitFor")
    def deposit_with_permit_for(
        self, _: str, owner: str, asset: int, wei: int, deadline: int, v: int, r: bytes, s: bytes
    ) -> None:
        contract = ("GridToken", "BahtToken")[asset]
        if self.now > deadline:
            raise Refused("ERC2612ExpiredSignature", deadline)
        if not self._is_signed(contract, (owner, self.at["Trading"], wei, deadline, v, r, s)):
            raise Refused("ERC2612InvalidSigner")
        self._deposit(owner, asset, wei, wei)
        self.token(contract).nonces[owner] += 1

    def _deposit(self, sender: str, asset: int, wei: int, permitted: int | None) -> None:
        self._require_active(sender)
        units = self._to_units(asset, wei)
        if self.totals[asset] + units > MAX_UNITS[asset]:
            raise Refused("MarketCapReached", asset, self.totals[asset] + units, MAX_UNITS[asset])
        token, trading = self.tokens[asset], self.at["Trading"]
        token.require(sender, trading, wei, permitted)
        if permitted is not None:
            token.allowances[(sender, trading)] = permitted
        token.spend(sender, trading, wei)
        token.move(sender, trading, wei)
        self.totals[asset] += units
        self.accounts[sender].free[asset] += units
        self._log("Trading", "Deposited", sender, asset, wei)

    @verb("Trading", "withdraw")
    def withdraw(self, sender: str, asset: int, wei: int, to: str) -> None:
        self._withdraw(sender, asset, wei, to, None)

    @verb("Trading", "withdrawFor")
    def withdraw_for(
        self, _: str, owner: str, asset: int, wei: int, to: str, nonce: int, deadline: int, signature: bytes
    ) -> None:
        if self.now > deadline:
            raise Refused("DeadlinePassed", deadline)
        self._require_signed(owner, "Withdraw", asset, wei, to, nonce, deadline, signature)
        self._require_usable(owner, nonce)
        self._withdraw(owner, asset, wei, to, nonce)

    def _withdraw(self, sender: str, asset: int, wei: int, to: str, nonce: int | None) -> None:
        if to == ZERO:
            raise Refused("ZeroAddress")
        units = self._to_units(asset, wei)
        account = self.accounts[sender]
        if units > account.free[asset]:
            raise Refused("InsufficientFree", sender, asset, account.free[asset], units)
        self._write_down(account)
        if nonce is not None:
            self._use_nonce(sender, nonce)
        account.free[asset] -= units
        self.totals[asset] -= units
        self.tokens[asset].move(self.at["Trading"], to, wei)
        if to == self.at["Trading"]:
            self.donated_wei[asset] += wei
        self._log("Trading", "Withdrawn", sender, asset, to, wei)

    def _to_units(self, asset: int, wei: int) -> int:
        units, rest = divmod(wei, self.unit_wei[asset])
        if wei == 0 or rest:
            raise Refused("InexactAmount", asset, wei, self.unit_wei[asset])
        return units

    def _require_active(self, sender: str) -> None:
        status = self.accounts[sender].status
        if status == UNKNOWN:
            raise Refused("NotRegistered", sender)
        if status == SUSPENDED:
            raise Refused("AccountSuspended", sender)

    # ------------------------------------------------------------------------- Trading: orders

    @verb("Trading", "createSellOrder")
    def create_sell_order(self, sender: str, tick: int, quantity_wh: int) -> int:
        return self._enter_one(sender, Side.ASK, tick, quantity_wh)

    @verb("Trading", "createBuyOrder")
    def create_buy_order(self, sender: str, tick: int, quantity_wh: int) -> int:
        return self._enter_one(sender, Side.BID, tick, quantity_wh)

    def _enter_one(self, sender: str, side: int, tick: int, quantity_wh: int) -> int:
        _require_valid(tick, quantity_wh)
        return self.create_orders(sender, [side << 34 | tick << 24 | quantity_wh])

    @verb("Trading", "createOrders")
    def create_orders(self, sender: str, packed: list[int]) -> int:
        if not packed:
            raise Refused("NoOrders")
        self._require_active(sender)
        zone = self.accounts[sender].zone
        if self.zones[zone].paused:
            raise Refused("ZonePaused", zone)
        kept = deepcopy((self.accounts[sender], self.zones[zone]))
        try:
            self._clear_if_due(zone)
            self._roll(sender)
            self._require_admissible(sender, packed)
        except Refused:
            self.accounts[sender], self.zones[zone] = kept
            raise
        first = self._place(sender, packed)
        self._log("Trading", "OrdersEntered", sender, self.epoch, zone, first, tuple(packed))
        return order_id(sender, self.epoch, first)

    def _own_orders(self, account: Account) -> int:
        return len(account.orders) if account.epoch == self.epoch else 0

    def _counted(self, zone: Zone) -> int:
        return zone.counted if zone.epoch == self.epoch and not zone.cleared else 0

    def _require_admissible(self, sender: str, packed: list[int]) -> None:
        account = self.accounts[sender]
        zone, mine = self.zones[account.zone], self._own_orders(account)
        if mine + len(packed) > MAX_ORDERS:
            raise Refused("TooManyOrders", sender, mine + len(packed))
        counted = len(packed) - (mine == 0)
        if counted and zone.cap and self._counted(zone) + counted > zone.cap:
            raise Refused("EpochFull", account.zone, self.epoch, zone.cap)
        needed = self._needed(packed)
        for asset in (ENERGY, MONEY):
            if needed[asset] > account.free[asset]:
                raise Refused("InsufficientFree", sender, asset, account.free[asset], needed[asset])

    def _needed(self, packed: list[int]) -> list[int]:
        return [sum(units) for units in zip(*[_escrow(self._unpack(word)) for word in packed], strict=True)]

    def _place(self, sender: str, packed: list[int], age: int = 0) -> int:
        """Books orders that may enter, `age` epochs after their life began; gives the index of the first."""
        account = self.accounts[sender]
        zone, mine, needed = self.zones[account.zone], self._own_orders(account), self._needed(packed)
        if mine == 0:
            account.epoch, account.orders, account.standing = self.epoch, [], False
        account.listed = True
        entered = [self._unpack(word) for word in packed]
        account.standing = account.standing or any(order.life for order in entered)
        account.orders += [replace(order, life=max(0, order.life - age)) for order in entered]
        for asset in (ENERGY, MONEY):
            account.free[asset] -= needed[asset]
            account.escrow[asset] += needed[asset]
        counted = self._counted(zone) + len(packed) - (mine == 0)
        zone.epoch, zone.cleared, zone.counted = self.epoch, False, counted
        return mine

    # ------------------------------------------------------------------------- Trading: standing orders

    @verb("Trading", "roll")
    def roll(self, _: str, accounts: list[str]) -> int:
        rolled = 0
        for address in accounts:
            try:
                rolled += self._roll(address)
            except Refused as problem:
                self._log("Trading", "RollSkipped", address, refusal(problem.name, problem.values))
        return rolled

    def _roll(self, address: str) -> bool:
        """Enters what rests of an account's standing orders into the present epoch; refused, they rest."""
        account = self.accounts[address]
        if not account.standing or account.epoch == self.epoch:
            return False
        self._write_down(account)
        orders = [entered for entered in account.orders if entered.quantity_wh]
        if not orders:
            return False
        zone = self.zones[account.zone]
        if account.status == SUSPENDED:
            raise Refused("AccountSuspended", address)
        if zone.paused:
            raise Refused("ZonePaused", account.zone)
        counted = self._counted(zone) + len(orders) - 1
        if len(orders) > 1 and zone.cap and counted > zone.cap:
            raise Refused("EpochFull", account.zone, self.epoch, zone.cap)
        account.orders = [replace(entered, life=entered.life - self.epoch + account.epoch) for entered in orders]
        account.epoch, account.standing = self.epoch, any(entered.life for entered in account.orders)
        zone.epoch, zone.cleared, zone.counted = self.epoch, False, counted
        packed = b"".join(entered.pack().to_bytes(6, "big") for entered in account.orders)
        self._log("Trading", "OrdersRolled", address, self.epoch, account.zone, packed)
        return True

    # ------------------------------------------------------------------------- Trading: signed messages

    @verb("Trading", "enterBundles")
    def enter_bundles(self, _: str, zone: int, batch: bytes) -> int:
        if not self.zones[zone].open:
            raise Refused("UnknownZone", zone)
        if self.zones[zone].paused:
            raise Refused("ZonePaused", zone)
        self._clear_if_due(zone)
        entered = 0
        for bundle, signed in self.batches[batch]:
            try:
                self._enter_bundle(zone, bundle, signed)
                entered += 1
            except Refused as problem:
                reason = refusal(problem.name, problem.values)
                self._log("Trading", "BundleSkipped", bundle.account, bundle.nonce, reason)
        return entered

    def _enter_bundle(self, zone: int, bundle: Bundle, signed: bool) -> None:
        account, packed = self.accounts[bundle.account], [order.pack() for order in bundle.orders]
        self._require_active(bundle.account)
        if account.zone != zone:
            raise Refused("OtherZone", bundle.account, account.zone, zone)
        if not bundle.first_epoch <= self.epoch <= bundle.last_epoch:
            raise Refused("OutsideEpochs", self.epoch, bundle.first_epoch, bundle.last_epoch)
        self._require_usable(bundle.account, bundle.nonce)
        self._roll(bundle.account)
        self._require_admissible(bundle.account, packed)
        if not signed or bundle.zone != zone:
            raise Refused("BadSignature", bundle.account)
        first = self._place(bundle.account, packed, self.epoch - bundle.first_epoch)
        packed = [entered.pack() for entered in account.orders[first:]]
        account.nonce = bundle.nonce + 1
        place = self.epoch << 48 | zone << 40 | first << 32 | bundle.nonce
        if len(packed) == 1:
            self._log("Trading", "SignedOrderEntered", bundle.account, place << 48 | packed[0])
        else:
            orders = b"".join(word.to_bytes(6, "big") for word in packed)
            self._log("Trading", "BundleEntered", bundle.account, place, orders)

    @verb("Trading", "cancelUpTo")
    def cancel_up_to(self, sender: str, nonce: int) -> None:
        self._require_usable(sender, nonce)
        self._use_nonce(sender, nonce)

    @verb("Trading", "cancelUpToFor")
    def cancel_up_to_for(self, _: str, account: str, nonce: int, signature: bytes) -> None:
        self._require_signed(account, "CancelUpTo", nonce, signature)
        self.cancel_up_to(account, nonce)

    @verb("Trading", "setContractWallet")
    def set_contract_wallet(self, sender: str, enabled: bool) -> None:
        # Nobody here is a contract, so there is nobody to ask.
        self._log("Trading", "ContractWalletSet", sender, enabled)

    def _require_signed(self, account: str, kind: str, *fields: object) -> None:
        if (account, kind, *fields) not in self.signed:
            raise Refused("BadSignature", account)

    def _require_usable(self, account: str, nonce: int) -> None:
        lowest = self.accounts[account].nonce
        if nonce < lowest or nonce == 2**32 - 1:
            raise Refused("InvalidNonce", account, nonce, lowest)

    def _use_nonce(self, account: str, nonce: int) -> None:
        self.accounts[account].nonce = nonce + 1
        self._log("Trading", "NonceUsed", account, nonce)

    def _unpack(self, word: int) -> Entered:
        if word >> 42:
            raise Refused("InvalidOrder", word)
        order = Entered(word >> 34 & 1, word >> 24 & 1023, word & (1 << 24) - 1, word >> 35)
        if order.life > MAX_LIFE:
            raise Refused("InvalidLife", order.life)
        _require_valid(order.tick, order.quantity_wh)
        return order

    @verb("Trading", "cancelOrder")
    def cancel_order(self, sender: str, number: int) -> None:
        if number & (1 << 160) - 1 != int(sender, 16):
            raise Refused("NotOrderOwner", number, sender)
        self._cancel(sender, number, None)

    @verb("Trading", "cancelOrderFor")
    def cancel_order_for(self, _: str, number: int, packed: int, signature: bytes) -> None:
        owner = to_checksum_address((number & (1 << 160) - 1).to_bytes(20, "big"))
        self._require_signed(owner, "CancelOrder", number, packed, signature)
        self._cancel(owner, number, packed)

    def _cancel(self, sender: str, number: int, expected: int | None) -> None:
        index, epoch = number >> 160 & 255, number >> 168
        account = self.accounts[sender]
        is_open = epoch == self.epoch
        if (not is_open and not account.standing) or account.epoch != epoch or index >= len(account.orders):
            raise Refused("OrderNotOpen", number)
        if is_open and self.now + self.cancel_cutoff >= self.epoch_start(epoch + 1):
            raise Refused("CancelClosed", number, self.cancel_cutoff)
        entered = account.orders[index]
        if entered.quantity_wh == 0:
            raise Refused("OrderNotOpen", number)
        if expected is not None:
            body, wh = (1 << 35) - (1 << 24), (1 << 24) - 1
            fits = entered.quantity_wh == expected & wh if is_open else entered.quantity_wh <= expected & wh
            if not fits or (entered.pack() ^ expected) & body:
                raise Refused("OtherOrder", number, entered.pack(), expected)
        self._write_down(account)
        self._log("Trading", "OrderCancelled", sender, epoch, account.zone, index, entered.pack())
        self._lock(account, entered, -1)
        entered.quantity_wh = 0

    # ------------------------------------------------------------------------- Trading: clearing and settling

    @verb("Trading", "matchOrders")
    def match_orders(self, _: str, zone: int) -> None:
        if not self.is_due(zone):
            raise Refused("NothingToClear", zone, self.epoch)
        self._clear_if_due(zone)

    def is_due(self, zone: int) -> bool:
        z = self.zones[zone]
        return z.open and not z.cleared and z.epoch < self.epoch

    def _clear_if_due(self, number: int) -> None:
        """The contract clears the zone's ended epoch if nobody has: nobody's balance depends on it."""
        if not self.is_due(number):
            return
        zone = self.zones[number]
        zone.cleared = True
        self._log("Trading", "EpochCleared", number, zone.epoch, as_view(self.ended[(number, zone.epoch)].result))

    def _write_down(self, account: Account) -> None:
        """The contract writes down the settlement of ended orders, and clears their epoch if nobody has."""
        if not self.is_unsettled(account):
            return
        self._clear_if_due(account.zone)
        told = sum(1 << i for i in account.too_small if account.orders[i].life >= self.epoch - account.epoch)
        if account.standing and told:
            address = next(address for address, held in self.accounts.items() if held is account)
            self._log("Trading", "StandingOrdersEnded", address, account.epoch, account.zone, told)
        account.too_small = []
        if not self._rests(account):
            account.listed = account.standing = False

    def _rests(self, account: Account) -> bool:
        """Whether anything rests of an account's orders of an ended epoch."""
        return account.standing and account.epoch < self.epoch and any(account.escrow)

    def is_unsettled(self, account: Account) -> bool:
        return account.listed and account.epoch < self.epoch

    @verb("Trading", "settle")
    def settle(self, _: str, accounts: list[str]) -> None:
        for account in accounts:
            self._write_down(self.accounts[account])

    def _set_account(self, address: str, status: int, zone: int) -> None:
        account = self.accounts[address]
        self._require_movable(address, zone)
        self._write_down(account)
        account.status, account.zone = status, zone
        self._log("Trading", "AccountSet", address, status, zone)

    def _require_movable(self, address: str, zone: int) -> None:
        account = self.accounts[address]
        if not self.zones[zone].open:
            raise Refused("UnknownZone", zone)
        open_ = account.orders and account.epoch == self.epoch
        if account.zone != zone and (open_ or self._rests(account)):
            raise Refused("UnsettledOrders", address, account.epoch)

    @verb("Trading", "openZone")
    def open_zone(self, _: str, zone: int, cap: int) -> None:
        if self.zones[zone].open:
            raise Refused("ZoneAlreadyOpen", zone)
        _require_cap(cap)
        self.zones[zone] = Zone(open=True, cleared=True, cap=cap)
        self._log("Trading", "ZoneSet", zone, False, cap)

    @verb("Trading", "setOrderCap")
    def set_order_cap(self, _: str, zone: int, cap: int) -> None:
        z = self._open_zone(zone)
        _require_cap(cap)
        z.cap = cap
        self._log("Trading", "ZoneSet", zone, z.paused, cap)

    @verb("Trading", "setPaused")
    def set_paused(self, _: str, zone: int, paused: bool) -> None:
        z = self._open_zone(zone)
        z.paused = paused
        self._log("Trading", "ZoneSet", zone, paused, z.cap)

    def _open_zone(self, zone: int) -> Zone:
        if not self.zones[zone].open:
            raise Refused("UnknownZone", zone)
        return self.zones[zone]

    # ------------------------------------------------------------------------- Registry

    @verb("Registry", "registerUser")
    def register_user(self, _: str, account: str, zone: int, ref: bytes) -> None:
        if account == ZERO:
            raise Refused("ZeroAddress")
        if account in self.participants:
            raise Refused("AlreadyRegistered", account)
        self._require_movable(account, zone)
        self.participants[account] = Participant(self.now, zone, ACTIVE, ref)
        self._log("Registry", "UserRegistered", account, zone, ref)
        self._set_account(account, ACTIVE, zone)

    @verb("Registry", "setStatus")
    def set_status(self, _: str, account: str, status: int) -> None:
        if status == UNKNOWN:
            raise Refused("InvalidStatus", status)
        participant = self._known(account)
        participant.status = status
        self._log("Registry", "StatusSet", account, status)
        self._set_account(account, status, participant.zone)

    @verb("Registry", "setZone")
    def set_zone(self, _: str, account: str, zone: int) -> None:
        participant = self._known(account)
        self._require_movable(account, zone)
        participant.zone = zone
        self._log("Registry", "ZoneMoved", account, zone)
        self._set_account(account, participant.status, zone)

    def _known(self, account: str) -> Participant:
        if account not in self.participants:
            raise Refused("NotRegistered", account)
        return self.participants[account]

    @verb("Registry", "assignMeter")
    def assign_meter(self, _: str, meter_id: bytes, config: tuple) -> None:
        owner, key, key_type, kind, source, import_w, export_w, import_wh, export_wh = config
        if meter_id == NO_ID:
            raise Refused("InvalidMeter", meter_id, "meterId")
        if meter_id in self.meters:
            raise Refused("MeterExists", meter_id)
        participant = self._known(owner)
        if len(participant.meters) >= MAX_METERS:
            raise Refused("TooManyMeters", owner, MAX_METERS)
        for wrong, name in (
            (kind == 0, "kind"),
            (import_w == 0, "ratedImportW"),
            ((kind == PROSUMER) != (export_w != 0), "ratedExportW"),
            ((kind == PROSUMER) != (source != 0), "source"),
        ):
            if wrong:
                raise Refused("InvalidMeter", meter_id, name)
        self._require_key(key, meter_id)
        _require_registers(meter_id, import_wh, export_wh)
        self.keys[key] = meter_id
        participant.meters.append(meter_id)
        registers = (import_wh, export_wh)
        self.meters[meter_id] = Meter(
            key, key_type, ACTIVE, kind, source, self.now, owner, (import_w, export_w), self.now, registers, registers
        )
        self._log("Registry", "MeterAssigned", meter_id, owner, config)
        self._log("Metering", "RegisterOpened", meter_id, self.now, import_wh, export_wh)

    @verb("Registry", "replaceMeter")
    def replace_meter(self, _: str, meter_id: bytes, key: str, key_type: int, *registers: int) -> None:
        meter = self._active_meter(meter_id)
        final, initial = registers[:2], registers[2:]
        self._require_key(key, meter_id)
        if final[0] < meter.registers[0] or final[1] < meter.registers[1]:
            raise Refused("FinalRegisterTooLow", meter_id, *meter.registers)
        _require_registers(meter_id, *final)
        _require_registers(meter_id, *initial)
        growth = (final[0] - meter.registers[0], final[1] - meter.registers[1])
        parked = self._implausible(meter, self.now - meter.interval_end, growth)
        self._require_room([(meter.owner, growth[0] - parked[0], growth[1] - parked[1])])
        old_key = meter.key
        self.keys[key] = meter_id
        meter.earlier = tuple(e + f - o for e, f, o in zip(meter.earlier, final, meter.opened, strict=True))
        meter.former[old_key] = Former((meter.interval_end, *meter.registers), (self.now, *final))
        meter.key_type = key_type
        meter.key, meter.interval_end, meter.registers, meter.opened = key, self.now, initial, initial
        self._log("Registry", "MeterReplaced", meter_id, old_key, key, key_type, *registers)
        self._log("Metering", "RegisterOpened", meter_id, self.now, *initial)
        self._book_growth(meter_id, growth, parked)
        self._log_mint(growth[1] - parked[1])

    @verb("Registry", "revokeMeter")
    def revoke_meter(self, _: str, meter_id: bytes) -> None:
        self._active_meter(meter_id).status = REVOKED
        self._log("Registry", "MeterRevoked", meter_id)

    def _active_meter(self, meter_id: bytes) -> Meter:
        if meter_id not in self.meters:
            raise Refused("UnknownMeter", meter_id)
        if self.meters[meter_id].status == REVOKED:
            raise Refused("MeterIsRevoked", meter_id)
        return self.meters[meter_id]

    def _require_key(self, key: str, meter_id: bytes) -> None:
        if key == ZERO:
            raise Refused("InvalidMeter", meter_id, "key")
        if key in self.keys:
            raise Refused("KeyInUse", key, self.keys[key])

    # ------------------------------------------------------------------------- Metering: readings

    @verb("Metering", "submitReadings")
    def submit_readings(self, _: str, entries: list[tuple], keys: list[tuple[bytes, bytes]]) -> int:
        if not entries:
            raise Refused("NoReadings")
        if len(keys) > len(entries):
            raise Refused("TooManyKeys", len(keys), len(entries))
        of_each = [()] * (len(entries) - len(keys)) + keys
        judged = self._judge([Reading(*entry, key) for entry, key in zip(entries, of_each, strict=True)])
        self._require_room(self._bookings(judged))
        return self._take(judged)

    def _judge(self, readings: list[Reading]) -> list[tuple[Reading, int, Taken | None]]:
        """(reading, reason to skip it, what it does) of each, the earlier ones of the batch being in force already.

        One that is neither skipped nor does anything is a late one, to be recorded.
        """
        former = {(m, key): device.newest for m, meter in self.meters.items() for key, device in meter.former.items()}
        newest = {m: (meter.interval_end, *meter.registers) for m, meter in self.meters.items()}
        judged = []
        for reading in readings:
            reason = self._skip_reason(reading, newest.get(reading.meter))
            taken = None
            if reason == 4 and self.meters[reading.meter].former:
                signer = self.signers.get(reading)
                reason = self._late_reason(reading, former.get((reading.meter, signer)))
                if reason == 0:
                    former[(reading.meter, signer)] = reading[1:4]
            elif reason == 0:
                end, *registers = newest[reading.meter]
                growth = (reading.import_wh - registers[0], reading.export_wh - registers[1])
                meter = self.meters[reading.meter]
                taken = Taken(reading, growth, self._implausible(meter, reading.interval_end - end, growth))
                newest[reading.meter] = reading[1:4]
            judged.append((reading, reason, taken))
        return judged

    def _skip_reason(self, reading: Reading, newest: tuple[int, int, int] | None) -> int:
        if newest is None:
            return 1
        meter = self.meters[reading.meter]
        if meter.status == REVOKED:
            return 2
        if reading.interval_end > self.now:
            return 3
        if reading.interval_end <= newest[0]:
            return 4
        if reading.import_wh < newest[1] or reading.export_wh < newest[2]:
            return 5
        if max(reading.import_wh, reading.export_wh) > MAX_REGISTER_WH:
            return 7
        return 0 if self.signers.get(reading) == meter.key else 6

    def _late_reason(self, reading: Reading, newest: tuple[int, int, int] | None) -> int:
        """Why a reading that is not newer is skipped, or 0 if it is to be recorded as a replaced device's."""
        if newest is None:
            return 4
        replaced_at, *final = self.meters[reading.meter].former[self.signers[reading]].final
        if reading.interval_end > replaced_at:
            return 6
        if self.now > replaced_at + LATE_S:
            return 8
        if reading.interval_end <= newest[0]:
            return 4
        if reading.import_wh < newest[1] or reading.export_wh < newest[2]:
            return 5
        return 9 if reading.import_wh > final[0] or reading.export_wh > final[1] else 0

    def _implausible(self, meter: Meter, elapsed: int, growth: tuple[int, int]) -> tuple[int, int]:
        """The growth that is more than rated power x time x 1.1 allows."""
        return tuple(
            wh if wh * 3600 * 10 > watt * elapsed * 11 else 0 for wh, watt in zip(growth, meter.rated, strict=True)
        )

    def _bookings(self, judged) -> list[tuple[str, int, int]]:
        return [
            (self.meters[t.reading.meter].owner, t.growth[0] - t.parked[0], t.growth[1] - t.parked[1])
            for _, _, t in judged
            if t is not None
        ]

    def _require_room(self, booked: list[tuple[str, int, int]]) -> None:
        """Whether what is to be booked, (owner, import, export) in Wh, fits: all the import first, then the export."""
        current: dict[str, int] = {}
        for owner, import_wh, _ in booked:
            current[owner] = current.get(owner, self.imports[owner].current) + import_wh
            if import_wh and current[owner] > MAX_IMPORT:
                raise Refused("ImportOverflow", current[owner])
        total = self.totals[ENERGY]
        for _, _, wh in booked:
            total += wh * WH
            if total > MAX_UNITS[ENERGY]:
                raise Refused("MarketCapReached", ENERGY, total, MAX_UNITS[ENERGY])

    def _take(self, judged) -> int:
        accepted = minted = 0
        for reading, reason, taken in judged:
            if taken is None and reason == 0:
                self.meters[reading.meter].former[self.signers[reading]].newest = reading[1:4]
                self._log("Metering", "LateReadingRecorded", *reading[:4])
                continue
            if taken is None:
                self._log("Metering", "ReadingSkipped", reading.meter, reading.interval_end, reason)
                continue
            accepted += 1
            meter = self.meters[reading.meter]
            meter.interval_end, meter.registers = reading.interval_end, (reading.import_wh, reading.export_wh)
            self._log("Metering", "ReadingAccepted", *reading[:4])
            self._book_growth(reading.meter, taken.growth, taken.parked)
            minted += taken.growth[1] - taken.parked[1]
        self._log_mint(minted)
        return accepted

    def _book_growth(self, meter_id: bytes, growth: tuple[int, int], parked: tuple[int, int]) -> None:
        owner = self.meters[meter_id].owner
        if any(parked):
            self.parked.append(Parked(meter_id, owner, parked))
            self._log("Metering", "GrowthParked", len(self.parked), meter_id, owner, *parked)
        self._book(owner, growth[0] - parked[0], growth[1] - parked[1])

    def _book(self, owner: str, import_wh: int, export_wh: int) -> None:
        self.imports[owner].current += import_wh
        self.accounts[owner].free[ENERGY] += export_wh * WH
        self.totals[ENERGY] += export_wh * WH
        self.tokens[ENERGY].mint(self.at["Trading"], export_wh * WH_WEI)

    def _log_mint(self, wh: int) -> None:
        if wh:
            self._log("GridToken", "Minted", self.at["Trading"], wh * WH_WEI, NO_ID)

    @verb("Metering", "releaseParked")
    def release_parked(self, _: str, number: int) -> None:
        parked = self._waiting(number)
        self._require_room([(parked.owner, *parked.energy)])
        parked.status = RELEASED
        self._log("Metering", "ParkedReleased", number)
        self._book(parked.owner, *parked.energy)
        self._log_mint(parked.energy[1])

    @verb("Metering", "rejectParked")
    def reject_parked(self, _: str, number: int) -> None:
        self._waiting(number).status = REJECTED
        self._log("Metering", "ParkedRejected", number)

    def _waiting(self, number: int) -> Parked:
        if not 1 <= number <= len(self.parked) or self.parked[number - 1].status != WAITING:
            raise Refused("NothingParked", number)
        return self.parked[number - 1]

    # ------------------------------------------------------------------------- Metering: retiring

    @verb("Metering", "retire")
    def retire(self, sender: str, maximum_wh: int) -> int:
        burnt = min(maximum_wh, self.imports[sender].outstanding, self._free_wh(sender))
        if burnt == 0:
            raise Refused("NothingToRetire", sender)
        self._write_down(self.accounts[sender])
        self._burn_from_account(sender, burnt)
        self._discharge(sender, burnt, from_wallet=False)
        return burnt

    @verb("Metering", "retireFor")
    def retire_for(self, _: str, accounts: list[str]) -> int:
        """Each is asked for all its import at the start; one named twice gives at most what it has, but no more than
        its import, or the whole call is refused."""
        wanted = [0 if self.imports[a].manual else self.imports[a].outstanding for a in accounts]
        free = {a: self._free_wh(a) for a in accounts}
        left = {a: self.imports[a].outstanding for a in accounts}
        burnt = []
        for account, wh in zip(accounts, wanted, strict=True):
            burnt.append(min(wh, free[account]))
            free[account] -= burnt[-1]
        for account, wh in zip(accounts, burnt, strict=True):
            if wh > left[account]:
                raise Refused("MoreThanOutstanding", account, wh, left[account])
            left[account] -= wh
        for account in accounts:
            self._write_down(self.accounts[account])
        for account, wh in zip(accounts, burnt, strict=True):
            if wh:
                self._burn_from_account(account, wh)
                self._discharge(account, wh, from_wallet=False)
        return sum(burnt)

    @verb("Metering", "retireFromWallet")
    def retire_from_wallet(self, sender: str, wh: int) -> None:
        outstanding = self.imports[sender].outstanding
        if wh == 0:
            raise Refused("NothingToRetire", sender)
        if wh > outstanding:
            raise Refused("MoreThanOutstanding", sender, wh, outstanding)
        token, metering = self.tokens[ENERGY], self.at["Metering"]
        token.require(sender, metering, wh * WH_WEI)
        token.spend(sender, metering, wh * WH_WEI)
        self._burn(sender, wh * WH_WEI)
        self._discharge(sender, wh, from_wallet=True)

    @verb("Metering", "surrender")
    def surrender(self, sender: str, wh: int) -> None:
        if wh == 0:
            raise Refused("NothingToRetire", sender)
        if self._free_wh(sender) < wh:
            raise Refused("NotEnoughGrid", sender, wh, self._free_wh(sender))
        self._write_down(self.accounts[sender])
        self._burn_from_account(sender, wh)
        self._log("Metering", "Surrendered", sender, wh)

    @verb("Metering", "setAutoRetire")
    def set_auto_retire(self, sender: str, enabled: bool) -> None:
        self.imports[sender].manual = not enabled
        self._log("Metering", "AutoRetireSet", sender, enabled)

    def _free_wh(self, account: str) -> int:
        return self.accounts[account].free[ENERGY] // WH

    def _burn_from_account(self, account: str, wh: int) -> None:
        self.accounts[account].free[ENERGY] -= wh * WH
        self.totals[ENERGY] -= wh * WH
        self._burn(self.at["Trading"], wh * WH_WEI)

    def _discharge(self, account: str, wh: int, *, from_wallet: bool) -> None:
        ledger = self.imports[account]
        oldest = min(wh, ledger.previous)
        ledger.previous -= oldest
        ledger.current -= wh - oldest
        ledger.retired += wh
        self._log("Metering", "Retired", account, oldest, wh - oldest, from_wallet)

    # ------------------------------------------------------------------------- OracleClient

    @verb("OracleClient", "requestEnergyData")
    def request_energy_data(self, sender: str, kind: int, subject: bytes) -> bytes:
        participant = self.participants.get(sender)
        active = participant is not None and participant.status == ACTIVE
        if not active and "oracle operator" not in self.roles[sender]:
            raise Refused("NotAllowedToRequest", sender)
        if subject == NO_ID:
            raise Refused("EmptySubject")
        if kind == METER and subject not in self.meters:
            raise Refused("UnknownMeter", subject)
        if sum(self._pending_request(n).requester == sender for n in self.pending) == MAX_PENDING:
            raise Refused("TooManyRequests", sender, MAX_PENDING)
        number = keccak(bytes.fromhex(sender[2:]) + self.asked[sender].to_bytes(32, "big"))
        self.asked[sender] += 1
        self.requests[number] = Request(sender, kind, PENDING, self.block, subject, self.quorum if kind == DATUM else 0)
        if kind == DATUM:
            for operator in self.panel:
                self.operators[operator].asked += 1
        self.pending.append(number)
        self._log("OracleClient", "EnergyDataRequested", number, sender, kind, subject)
        return number

    @verb("OracleClient", "fulfillEnergyData")
    def fulfill_energy_data(self, sender: str, number: bytes, data: bytes) -> None:
        request = self.requests.get(number)
        if request is None or request.kind == METER or request.status != FULFILLED:
            request = self._pending_request(number)
        if self.block > request.block + TIMEOUT_BLOCKS:
            raise Refused("RequestExpired", number, request.block + TIMEOUT_BLOCKS)
        if request.kind == DATUM:
            self._answer(sender, number, request, int.from_bytes(data, "big", signed=True))
            return
        judged = self._judge_delivered(number, request.subject, data)
        self._close(number, FULFILLED)
        self._log("OracleClient", "EnergyDataFulfilled", number, sender, request.subject, data)
        self._take(judged)

    def _answer(self, sender: str, number: bytes, request: Request, value: int) -> None:
        if sender not in self.panel:
            raise Refused("NotOnPanel", sender)
        if not -MAX_DATUM - 1 <= value <= MAX_DATUM:
            raise Refused("DatumOutOfRange", number, value)
        if len(request.answers) == MAX_OPERATORS:
            raise Refused("TooManyAnswers", number, MAX_OPERATORS)
        if sender in dict(request.answers):
            raise Refused("AnsweredAlready", number, sender)
        request.answers.append((sender, value))
        self.operators[sender].answered += 1
        self._log("OracleClient", "DatumAnswered", number, sender, value)
        unjudged = request.answers[request.quorum :][-1:]
        if len(request.answers) == request.quorum:
            unjudged = request.answers
            self._close(number, FULFILLED)
            self.data[request.subject] = (request.median, self.now, number)
            shown = request.median.to_bytes(32, "big", signed=True)
            self._log("OracleClient", "EnergyDataFulfilled", number, sender, request.subject, shown)
        for operator, answer in unjudged:
            if abs(answer - request.median) * 10_000 > abs(request.median) * self.tolerance_bp:
                self.operators[operator].outliers += 1
                self._log("OracleClient", "DatumOutlier", number, operator, answer, request.median)

    @verb("OracleClient", "setOperator")
    def set_operator(self, _: str, operator: str, active: bool) -> None:
        if active == (operator in self.panel):
            raise Refused("PanelUnchanged", operator, active)
        if active:
            if len(self.panel) == MAX_OPERATORS:
                raise Refused("TooManyOperators", MAX_OPERATORS)
            self.panel.append(operator)
        else:
            if len(self.panel) - 1 < self.quorum:
                raise Refused("InvalidQuorum", self.quorum, len(self.panel) - 1)
            _remove(self.panel, operator)
        self._log("OracleClient", "OperatorSet", operator, active)

    @verb("OracleClient", "setPanel")
    def set_panel(self, _: str, quorum: int, tolerance_bp: int) -> None:
        if quorum % 2 == 0 or quorum > len(self.panel):
            raise Refused("InvalidQuorum", quorum, len(self.panel))
        if tolerance_bp > 10_000:
            raise Refused("InvalidTolerance", tolerance_bp, 10_000)
        self.quorum, self.tolerance_bp = quorum, tolerance_bp
        self._log("OracleClient", "PanelSet", quorum, tolerance_bp)

    def _judge_delivered(self, number: bytes, subject: bytes, data: bytes):
        words = [data[i : i + 32] for i in range(0, len(data), 32)]
        numbers = (int.from_bytes(word, "big") for word in words[1:4])
        reading = Reading(words[0], *numbers, *words[4:6], tuple(words[6:]))
        if reading.meter != subject:
            raise Refused("WrongMeter", number, subject, reading.meter)
        judged = self._judge([reading])
        meter = self.meters[subject]
        taken = judged[0][2]
        held = (meter.interval_end, *meter.registers) == reading[1:4] and self.signers.get(reading) == meter.key
        if taken is None and not held:
            raise Refused("ReadingRefused", number, subject)
        self._require_room(self._bookings(judged))
        return judged

    @verb("OracleClient", "timeOutRequests")
    def time_out_requests(self, _: str, numbers: list[bytes]) -> None:
        closed = set()
        for number in numbers:
            if number in closed:
                raise Refused("RequestNotPending", number, TIMED_OUT)
            request = self._pending_request(number)
            if self.block <= request.block + TIMEOUT_BLOCKS:
                raise Refused("RequestNotExpired", number, request.block + TIMEOUT_BLOCKS)
            closed.add(number)
        for number in numbers:
            self._close(number, TIMED_OUT)
            self._log("OracleClient", "RequestTimedOut", number)

    def _pending_request(self, number: bytes) -> Request:
        status = self.requests[number].status if number in self.requests else 0
        if status != PENDING:
            raise Refused("RequestNotPending", number, status)
        return self.requests[number]

    def _close(self, number: bytes, status: int) -> None:
        self.requests[number].status = status
        _remove(self.pending, number)

    def check_upkeep(self, zone: int = 1, offset: int = 0, limit: int = UPKEEP_BATCH) -> tuple[bool, bytes]:
        if self.is_due(zone):
            return True, upkeep(CLEAR, encode(("uint8",), (zone,)))
        expired = [n for n in self.pending if self.block > self._pending_request(n).block + TIMEOUT_BLOCKS]
        if expired:
            return True, upkeep(TIME_OUT, encode(("bytes32[]",), (expired[:UPKEEP_BATCH],)))
        accounts = [a for a in list(self.participants)[offset : offset + limit] if self._is_retirable(a)]
        if accounts:
            return True, upkeep(RETIRE, encode(("address[]",), (accounts,)))
        return False, b""

    def _is_retirable(self, account: str) -> bool:
        ledger = self.imports[account]
        return not ledger.manual and ledger.outstanding > 0 and self._free_wh(account) > 0

    @verb("OracleClient", "performUpkeep")
    def perform_upkeep(self, sender: str, data: bytes) -> None:
        kind, payload = int.from_bytes(data[:32], "big"), data[96:]
        if kind == CLEAR:
            self.match_orders(sender, int.from_bytes(payload[:32], "big"))
        elif kind == TIME_OUT:
            numbers = _array(payload)
            if not numbers:
                raise Refused("NothingToDo")
            self.time_out_requests(sender, numbers)
        elif kind == RETIRE:
            by_word = {int(a, 16).to_bytes(32, "big"): a for a in self.accounts}
            accounts = [by_word[word] for word in _array(payload)]
            if not any(
                self._free_wh(a) and self.imports[a].outstanding and not self.imports[a].manual for a in accounts
            ):
                raise Refused("NothingToDo")
            self.retire_for(sender, accounts)
        else:
            raise Refused("UnknownUpkeep", kind)

    # ------------------------------------------------------------------------- what the views must show

    def account_views(self, addresses: list[str]) -> list[tuple]:
        views = []
        for address in addresses:
            a = self.accounts[address]
            count = len(a.orders) if a.epoch == self.epoch or self._rests(a) else 0
            standing = 2 if self._rests(a) else int(a.standing and a.epoch == self.epoch)
            views.append((a.status, a.zone, a.epoch, count, a.nonce, *a.free, *a.escrow, standing))
        return views

    def order_views(self, address: str) -> list[tuple]:
        a = self.accounts[address]
        if not a.listed or (a.standing and a.epoch < self.epoch and not self._rests(a)):
            return []
        return [
            (order_id(address, a.epoch, i), e.side == Side.BID, e.tick, e.quantity_wh, a.epoch + e.life)
            for i, e in enumerate(a.orders)
        ]

    def import_views(self, addresses: list[str]) -> list[tuple]:
        period = self.epoch // PERIOD
        ledgers = [self.imports[a] for a in addresses]
        return [(period, x.current, x.previous, x.grid, not x.manual) for x in ledgers]

    def zone_view(self, number: int) -> tuple:
        z = self.zones[number]
        return z.open, z.paused, z.epoch, z.cleared, z.counted, z.cap

    def open_orders(self, zone: int) -> list[Order]:
        return [
            entered.order()
            for a in self.accounts.values()
            if a.zone == zone and a.epoch == self.epoch
            for entered in a.orders
            if entered.quantity_wh
        ]

    def indicative_view(self, zone: int) -> tuple:
        return as_view(clearing.clear_orders(self.open_orders(zone)))

    def result_view(self, zone: int, epoch: int) -> tuple:
        ended = self.ended.get((zone, epoch))
        return as_view(ended.result if ended else Result.none())

    # ------------------------------------------------------------------------- invariants

    def check(self) -> None:
        """Invariants 1 and 2 and the import's, on books that were just found equal to the chain's to the unit.

        What flowed in and out is kept apart from what everybody has, so these can fail.
        """
        for asset in (ENERGY, MONEY):
            owned = sum(a.free[asset] + a.escrow[asset] for a in self.accounts.values())
            held_wei = self.tokens[asset].balances[self.at["Trading"]]
            assert owned + self.dust[asset] == self.totals[asset], "balances + escrow + dust = what entered and stayed"
            excess = held_wei - owned * self.unit_wei[asset]
            counted = self.dust[asset] * self.unit_wei[asset] + self.donated_wei[asset]
            assert excess == counted >= 0, "excess = counted dust + donations"
            assert min(min(a.free[asset], a.escrow[asset]) for a in self.accounts.values()) >= 0
        metered_wh = self._metered(1)
        grid = self.tokens[ENERGY]
        assert grid.supply == sum(grid.balances.values())
        assert grid.supply == metered_wh * WH_WEI + self.plainly_minted_wei - self.burnt_wei, "supply = minted - burnt"
        ledgers = self.imports.values()
        assert self._metered(0) == sum(x.outstanding + x.grid + x.retired for x in ledgers), "import is accounted for"

    def _metered(self, direction: int) -> int:
        """Growth that counts, Wh: what registers grew by, without what is parked or was rejected."""
        out = sum(parked.energy[direction] for parked in self.parked if parked.status != RELEASED)
        return sum(meter.growth(direction) for meter in self.meters.values()) - out


def _remove(members: list, member: object) -> None:
    """As OpenZeppelin's set removes: the last takes the place."""
    index, last = members.index(member), members.pop()
    if index < len(members):
        members[index] = last


for _contract in ("GridToken", "BahtToken"):
    for _function in ("transfer", "approve", "permit"):

        def _on_token(model: Model, sender: str, *args, contract: str = _contract, function: str = _function):
            if function == "permit":
                return model.permit(contract, *args)
            return getattr(model, function)(contract, sender, *args)

        _verbs[(_contract, _function)] = _on_token


def judge_auction(orders: tuple[Order, ...], result: Result) -> None:
    """Invariants 3 and 4 for one epoch, from first principles: the reference is judged, too."""
    assert result.volume_wh == greatest_volume(orders), "the volume is maximal"
    if not result.traded:
        assert result == Result.none()
        return
    price2, volume = result.price2, result.volume_wh * WH
    sums = {Side.BID: [0, 0], Side.ASK: [0, 0]}
    rationed = {Side.BID: 0, Side.ASK: 0}
    for order in orders:
        fill = clearing.fill(result, order)
        units = order.quantity_wh * WH
        sign = 1 if order.side is Side.BID else -1
        gain = sign * (2 * order.tick - price2)
        if gain > 0:
            assert fill.energy_units == units, "whoever gains trades whole"
        if gain < 0:
            assert fill.energy_units == 0, "nobody trades at a loss"
        assert 0 <= fill.energy_units <= units
        shared = gain == 0 and result.long_side == 1 + order.side
        limit = fill.energy_units * 2 * order.tick
        # The energy is off by less than a unit, and the money by less than another.
        slack = 2 * order.tick if shared else 0
        assert sign * (fill.money_units - limit) <= slack, "nobody trades beyond the limit"
        rationed[order.side] += shared
        sums[order.side][0] += fill.energy_units
        sums[order.side][1] += fill.money_units
    bought, paid = sums[Side.BID]
    sold, earned = sums[Side.ASK]
    bound = max(0, sum(rationed.values()) - 1)
    assert 0 <= sold - bought <= bound, "buys = sells to the dust bound"
    assert 0 <= paid - earned <= bound, "paid = earned to the dust bound"
    assert (bought if result.long_side == 2 else sold) == volume, "the short side trades the volume exactly"


def greatest_volume(orders: tuple[Order, ...]) -> int:
    """By hand: the dearest bid meets the cheapest ask for as long as neither loses."""
    bids = sorted(([o.tick, o.quantity_wh] for o in orders if o.side is Side.BID), reverse=True)
    asks = sorted([o.tick, o.quantity_wh] for o in orders if o.side is Side.ASK)
    volume = i = j = 0
    while i < len(bids) and j < len(asks) and bids[i][0] >= asks[j][0]:
        traded = min(bids[i][1], asks[j][1])
        volume += traded
        bids[i][1] -= traded
        asks[j][1] -= traded
        i += bids[i][1] == 0
        j += asks[j][1] == 0
    return volume


def _escrow(entered: Entered) -> tuple[int, int]:
    """An ask locks its energy, a bid the money that it pays at its limit."""
    energy = entered.quantity_wh * WH
    return (energy, 0) if entered.side == Side.ASK else (0, energy * 2 * entered.tick)


def order_id(account: str, epoch: int, index: int) -> int:
    return epoch << 168 | index << 160 | int(account, 16)


def upkeep(kind: int, payload: bytes) -> bytes:
    return encode(("uint8", "bytes"), (kind, payload))


def as_view(r: Result) -> tuple:
    """As `ITrading.EpochResult`."""
    return r.price2, r.lower_tick, r.upper_tick, r.long_side, r.filled_wh, r.offered_wh, r.volume_wh


def _require_valid(tick: int, quantity_wh: int) -> None:
    if not 1 <= tick <= 1023:
        raise Refused("InvalidTick", tick)
    if not 100 <= quantity_wh <= 10_000_000:
        raise Refused("InvalidQuantity", quantity_wh)


def _require_registers(meter_id: bytes, import_wh: int, export_wh: int) -> None:
    if max(import_wh, export_wh) > MAX_REGISTER_WH:
        raise Refused("RegisterOutOfRange", meter_id, import_wh, export_wh, MAX_REGISTER_WH)


def _require_cap(cap: int) -> None:
    if cap > MAX_CAP:
        raise Refused("InvalidOrderCap", cap, MAX_CAP)


def _array(payload: bytes) -> list[bytes]:
    """The words of an encoded array that is alone in its payload."""
    length = int.from_bytes(payload[32:64], "big")
    return [payload[64 + 32 * i : 96 + 32 * i] for i in range(length)]
