"""The compiled market in an EVM inside this process, for volume: thousands of transactions a second, no node.

Same bytecode as on a chain (busbar/abi), real Authority with the market maker's role, gas as a receipt would say.
Driven by name like the shipped client, and refusing with the same named errors.
"""

from dataclasses import dataclass
from functools import cache

from busbar.chain import decode_revert, load_artifact
from busbar.clearing import Balance, LongSide, Result
from busbar.orders import Order
from busbar.units import ENERGY_UNIT_WEI, GRID_WEI_PER_WH, SATANG_WEI, Money
from eth_abi import decode, encode
from eth_utils.abi import abi_to_signature
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from pyrevm import EVM, BlockEnv, Env

GENESIS = 1_773_421_200
EPOCH_SECONDS = 900
MAKER_ROLE = 4
ZONE = 1


def address(number: int) -> str:
    """An account that nobody needs a key for."""
    return to_checksum_address(number.to_bytes(20, "big"))


REGULATOR, KEEPER = address(0x1001), address(0x1002)


@dataclass(frozen=True, slots=True)
class Held:
    """An account's balances, settled as of now."""

    free: Balance
    escrow: Balance


@dataclass(frozen=True, slots=True)
class Function:
    """How a contract's function is called."""

    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def _type(parameter) -> str:
    kind = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(_type, parameter['components']))}){kind[len('tuple') :]}"


@cache
def functions(contract: str) -> dict[str, Function]:
    """A contract's functions by name; overloads do not matter here."""
    return {
        entry["name"]: Function(
            keccak(text=abi_to_signature(entry))[:4],
            tuple(map(_type, entry["inputs"])),
            tuple(map(_type, entry["outputs"])),
        )
        for entry in load_artifact(contract)["abi"]
        if entry["type"] == "function"
    }


class Revm:
    """A deployed market in process. `gas_used` is that of the last transaction, the 21,000 and refunds included."""

    def __init__(self, order_cap: int = 0) -> None:
        self.evm = EVM(spec_id="PRAGUE")
        self.gas_used = 0
        self.addresses: dict[str, str] = {}
        self.to_time(GENESIS)
        authority = self._deploy("Authority", ["address"], [REGULATOR])
        grid = self._deploy("GridToken", ["address"], [authority])
        baht = self._deploy("BahtToken", ["address"], [authority])
        self._deploy(
            "Trading",
            ["address"] * 3 + ["uint256"] * 4,
            [authority, grid, baht, SATANG_WEI, GENESIS, EPOCH_SECONDS, 0],
        )
        trading = self.addresses["Trading"]
        selector = functions("Trading")["matchOrders"].selector
        self.send(REGULATOR, "Authority", "setTargetFunctionRole", trading, [selector], MAKER_ROLE)
        self.send(REGULATOR, "Authority", "grantRole", MAKER_ROLE, KEEPER, 0)
        self.send(REGULATOR, "Trading", "openZone", ZONE, order_cap)
        self.to_time(GENESIS + 60)

    # ---- time

    @property
    def epoch(self) -> int:
        return (self.now - GENESIS) // EPOCH_SECONDS

    def to_time(self, timestamp: int) -> None:
        self.now = timestamp
        self.evm.set_block_env(BlockEnv(number=1 + timestamp - GENESIS, timestamp=timestamp))

    def next_epoch(self, count: int = 1) -> None:
        self.to_time(GENESIS + (self.epoch + count) * EPOCH_SECONDS)

    # ---- transactions and views

    def send(self, sender: str, contract: str, function: str, *args):
        """Runs one transaction and keeps what it did; a refusal is raised by name."""
        data, kind = self._data(contract, function, args)
        # Each transaction starts cold, and its refunds count against what stood before it.
        self.evm.commit()
        try:
            answer = self.evm.message_call(sender, self.addresses[contract], calldata=data)
        except RuntimeError as problem:
            raise self._why(problem) from None
        self.gas_used = self.evm.result.gas_used
        return self._values(kind, answer)

    def view(self, contract: str, function: str, *args):
        data, kind = self._data(contract, function, args)
        answer = self.evm.message_call(REGULATOR, self.addresses[contract], calldata=data, is_static=True)
        return self._values(kind, answer)
