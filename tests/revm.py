"""The compiled market in an EVM inside this process, for volume: thousands of transactions a second, no node.

Same bytecode as on a chain (busbar/abi), the real Authority, refusals by the same named errors. Storage stays warm
from one transaction to the next here, so gas is measured on a node: see tests/contracts/test_gas.py.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from eth_abi import decode, encode
from eth_utils.abi import abi_to_signature
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from pyrevm import EVM, BlockEnv

from busbar.chain import decode_revert, linked, load_artifact
from busbar.clearing import Balance, LongSide, Result
from busbar.orders import Order, order_id
from busbar.units import ENERGY_UNITS_PER_WH, GRID_WEI_PER_WH, SATANG_WEI, Money

GENESIS = 1_773_421_200
EPOCH_SECONDS = 900
ZONE = 1


def address(number: int) -> str:
    """An account that needs no key."""
    return to_checksum_address(number.to_bytes(20, "big"))


REGULATOR = address(0x1001)
"""Holds the administrator's role, and so every role that was given to nobody."""


@dataclass(frozen=True, slots=True)
class Held:
    """An account's free and locked balances, settled as of now."""

    free: Balance
    escrow: Balance


@dataclass(frozen=True, slots=True)
class _Function:
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Revm:
    """A deployed market in this process, with one zone and no cap on its orders."""

    def __init__(self) -> None:
        self.evm = EVM(spec_id="PRAGUE")
        self.addresses: dict[str, str] = {}
        self.to_time(GENESIS)
        authority = self._deploy("Authority", ("address",), (REGULATOR,))
        grid = self._deploy("GridToken", ("address",), (authority,))
        baht = self._deploy("BahtToken", ("address",), (authority,))
        self._deploy("Auction", (), ())
        types = ("address",) * 3 + ("uint256",) * 4
        self._deploy("Trading", types, (authority, grid, baht, SATANG_WEI, GENESIS, EPOCH_SECONDS, 0))
        self.send(REGULATOR, "Trading", "openZone", ZONE, 0)
        self.to_time(GENESIS + 60)

    # ---- time

    @property
    def epoch(self) -> int:
        return (self.now - GENESIS) // EPOCH_SECONDS

    def to_time(self, timestamp: int) -> None:
        self.now = timestamp
        self.evm.set_block_env(BlockEnv(number=1 + timestamp - GENESIS, timestamp=timestamp))

    def next_epoch(self, count: int = 1) -> int:
        """Moves to the start of a later epoch and returns the number of the one left."""
        ended = self.epoch
        self.to_time(GENESIS + (ended + count) * EPOCH_SECONDS)
        return ended

    # ---- set-up and verbs

    def participant(self, number: int, energy_wh: int, money_units: int) -> str:
        """A registered account with free energy and money."""
        account = address(0x2000 + number)
        trading = self.addresses["Trading"]
        self.send(REGULATOR, "Trading", "setAccount", account, 1, ZONE)
        if energy_wh:
            self.send(REGULATOR, "GridToken", "mint", trading, energy_wh * GRID_WEI_PER_WH, bytes(32))
            self.send(REGULATOR, "Trading", "credit", [account], [energy_wh])
        if money_units:
            wei = Money(SATANG_WEI).to_wei(money_units)
            self.send(REGULATOR, "BahtToken", "issue", account, wei, bytes(32))
            self.send(account, "BahtToken", "approve", trading, wei)
            self.send(account, "Trading", "deposit", 1, wei)
        return account

    def enter(self, account: str, orders: Sequence[Order]) -> int:
        return self.send(account, "Trading", "createOrders", [order.pack() for order in orders])

    def cancel(self, account: str, index: int) -> None:
        self.send(account, "Trading", "cancelOrder", order_id(account, self.epoch, index))

    # ---- reading

    def held(self, accounts: Sequence[str]) -> list[Held]:
        return [
            Held(Balance(energy, money), Balance(locked_energy, locked_money))
            for *_, energy, money, locked_energy, locked_money, _ in self.view("Trading", "accountsOf", list(accounts))
        ]

    def result(self, epoch: int) -> Result:
        return _to_result(self.view("Trading", "resultOf", ZONE, epoch))

    def indicative(self) -> Result:
        return _to_result(self.view("Trading", "indicativeResult", ZONE))

    def book(self) -> tuple[dict[int, int], dict[int, int]]:
        """Wh by tick of bids and asks, empty ticks left out."""
        bids, asks = (
            {tick: volume for tick, volume in enumerate(volumes, 1) if volume}
            for volumes in self.view("Trading", "book", ZONE)
        )
        return bids, asks

    def totals(self) -> Balance:
        return Balance(*self.view("Trading", "totals"))

    def tokens(self) -> Balance:
        """Token balances of Trading in accounting units."""
        grid, baht = (self.view(token, "balanceOf", self.addresses["Trading"]) for token in ("GridToken", "BahtToken"))
        return Balance(grid // (GRID_WEI_PER_WH // ENERGY_UNITS_PER_WH), Money(SATANG_WEI).from_wei(baht))

    # ---- the EVM

    def send(self, sender: str, contract: str, function: str, *args):
        """Runs a transaction and keeps what it did, or raises the error it was refused with."""
        answer = self._call(sender, contract, function, args, is_static=False)
        self.evm.reset_transient_storage()
        return answer

    def view(self, contract: str, function: str, *args):
        return self._call(REGULATOR, contract, function, args, is_static=True)

    def _call(self, sender: str, contract: str, name: str, args, *, is_static: bool):
        function = _functions(contract)[name]
        data = function.selector + encode(function.inputs, args)
        try:
            answer = self.evm.message_call(sender, self.addresses[contract], calldata=data, is_static=is_static)
        except RuntimeError as problem:
            output = re.search(r"output: 0x([0-9a-f]*)", str(problem))
            if output is None:
                raise
            raise decode_revert(bytes.fromhex(output[1])) from None
        values = decode(function.outputs, bytes(answer))
        return values[0] if len(values) == 1 else values

    def _deploy(self, name: str, types: Sequence[str], args: Sequence[object]) -> str:
        code = bytes.fromhex(linked(load_artifact(name), self.addresses)[2:]) + encode(types, args)
        self.addresses[name] = to_checksum_address(self.evm.deploy(REGULATOR, code))
        return self.addresses[name]


def _type(parameter) -> str:
    kind = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(_type, parameter['components']))}){kind[len('tuple') :]}"


@cache
def _functions(contract: str) -> dict[str, _Function]:
    return {
        entry["name"]: _Function(
            keccak(text=abi_to_signature(entry))[:4],
            tuple(map(_type, entry["inputs"])),
            tuple(map(_type, entry["outputs"])),
        )
        for entry in load_artifact(contract)["abi"]
        if entry["type"] == "function"
    }


def _to_result(values) -> Result:
    price2, lower, upper, long_side, filled, offered, volume = values
    assert price2 == lower + upper
    return Result(lower, upper, LongSide(long_side), filled, offered, volume)
