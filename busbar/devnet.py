"""A chain on this machine: anvil under the rules of the chains the market is made for.

Osaka rules, zero base fee, the transaction gas cap on, chain id 31337. Three ways of moving on: a block a transaction
(`automine`), a block every so many seconds, or only when told (`mine`), which is how an accelerated replay runs.
"""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Self

from eth_account import Account as EthAccount

from busbar import errors, tools
from busbar.chain import KeySigner, Node

CHAIN_ID = 31337
DEFAULT_PORT = 8545
DEV_MNEMONIC = "test test test test test test test test test test test junk"
"""Foundry's published mnemonic: worth nothing anywhere, and the only keys in this repository."""

BLOCK_GAS_LIMIT = 30_000_000


_LISTENING = "Listening on 127.0.0.1:"
"""What anvil says once the port is its own."""


class DevnetError(errors.BusbarError):
    """The local chain did not start, or cannot go back to the state asked for."""


@cache
def dev_signer(index: int) -> KeySigner:
    """The signer of a development account: index 0 to 9 are anvil's own, which hold test ether."""
    EthAccount.enable_unaudited_hdwallet_features()
    return KeySigner(EthAccount.from_mnemonic(DEV_MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}"))


@cache
def dev_meter_key(index: int) -> bytes:
    """Key of a simulated meter's security module, from a branch of its own."""
    EthAccount.enable_unaudited_hdwallet_features()
    account = EthAccount.from_mnemonic(DEV_MNEMONIC, account_path=f"m/44'/60'/1'/0/{index}")
    return bytes(account.key)


def anvil_command(
    port: int, *, timestamp: int | None, block_time_s: float | None, automine: bool, chain_id: int = CHAIN_ID
) -> list[str]:
    """The command line that starts anvil under this market's rules."""
    command = [str(tools.anvil_binary()), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--chain-id", str(chain_id), "--hardfork", "osaka", "--mnemonic", DEV_MNEMONIC]
    command += ["--block-base-fee-per-gas", "0", "--gas-price", "0", "--gas-limit", str(BLOCK_GAS_LIMIT)]
    # Real chains cap a transaction at 16,777,216 gas (EIP-7825).
    command += ["--enable-tx-gas-limit"]
    if timestamp is not None:
        command += ["--timestamp", str(timestamp)]
    if block_time_s is not None:
        command += ["--block-time", str(block_time_s)]
    elif not automine:
        command += ["--no-mining"]
    return command


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _in_use(port: int) -> bool:
    with socket.socket() as probe:
        # As anvil does: a port is free at once when its last owner is gone.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


class Devnet:
    """A running anvil. Use it as a context manager: it is stopped, and its files removed, in the end.

    Args:
        port: TCP port; 0 for a free one.
        timestamp: Unix time of the first block; now if None.
        block_time_s: Seconds between blocks; None for `automine` or blocks on demand.
        automine: A block for each transaction; otherwise `mine` makes them.
        keep_history: Keep every old state in memory, for tests that look back; long runs need it off.
        chain_id: Another chain's id, for tests of what must not be mixed up.
        state: File that the chain is kept in: read at the start if it exists, written by `save`.

    Raises:
        DevnetError: The port is somebody else's, or anvil did not start.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        timestamp: int | None = None,
        block_time_s: float | None = None,
        automine: bool = False,
        keep_history: bool = False,
        chain_id: int = CHAIN_ID,
        state: Path | None = None,
    ) -> None:
        if port and _in_use(port):
            raise DevnetError(f"port {port} is in use: name another")
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = anvil_command(
            self.port, timestamp=timestamp, block_time_s=block_time_s, automine=automine, chain_id=chain_id
        )
        self._state = state
        if state is not None:
            command += ["--state", str(state), "--preserve-historical-states"]
        # Old states go to disk under the home folder, unless told otherwise, and stay after a kill.
        self._folder = Path(tempfile.mkdtemp(prefix="busbar-anvil-"))
        command += ["--cache-path", str(self._folder)]
        if not keep_history:
            command += ["--prune-history", "256"]
        self._log = (self._folder / "anvil.log").open("wb")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.node = Node(self.url)
        self._wait()
        if block_time_s is None:
            # Chain time moves with blocks and not with this machine's clock: a run can be repeated exactly.
            self.node.request("anvil_setBlockTimestampInterval", 1)

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            ended = self._process.poll() is not None
            said = (self._folder / "anvil.log").read_text(errors="replace").strip().splitlines()
            if ended:
                self.stop()
                raise DevnetError(f"anvil did not start: {said[-1] if said else 'it said nothing'}")
            # Before that, whoever answers on the port is another chain.
            if any(line.startswith(_LISTENING) for line in said):
                return
            if time.monotonic() > deadline:
                self.stop()
                raise DevnetError("anvil did not start within 20 s")
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        """Process id of the chain."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether the chain's process is there, even if it does not answer."""
        return self._process.poll() is None

    def mine(self, timestamp: int | None = None) -> None:
        """Makes a block, at `timestamp` if one is named, otherwise a second after the last."""
        if timestamp is not None:
            self.node.request("evm_setNextBlockTimestamp", hex(timestamp))
        self.node.request("evm_mine")

    def snapshot(self) -> str:
        """A name for the present state, for `restore`."""
        return str(self.node.request("evm_snapshot"))

    def restore(self, name: str) -> None:
        """Takes the chain back to a snapshot; it can be used once.

        Raises:
            DevnetError: It was used already, or never taken.
        """
        if not self.node.request("evm_revert", name):
            raise DevnetError(f"there is no snapshot {name} to go back to: each can be used once")

    def save(self) -> None:
        """Stops the chain in order and keeps it in the file it was started with.

        Raises:
            DevnetError: It did not stop.
        """
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            raise DevnetError(f"the chain did not write {self._state} within 60 s") from None
        self.stop()

    def stop(self) -> None:
        """Stops the chain and removes its files. Harmless when repeated."""
        # Nothing of it is kept, so it is not asked: after a long run that takes it seconds.
        self._process.kill()
        self._process.wait()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextlib.contextmanager
def at_pace(node: Node, seconds: float) -> Iterator[None]:
    """While it lasts, the chain makes a block every `seconds` by itself."""
    node.request("evm_setIntervalMining", int(seconds))
    try:
        yield
    finally:
        node.request("evm_setIntervalMining", 0)
