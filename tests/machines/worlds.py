"""The real contracts behind one face, so that one machine drives them in this process and on a node.

`RevmWorld` is an EVM in this process and takes no time; `AnvilWorld` is the shipped client on anvil, where every
transaction makes a block a second after the last. Both deploy the compiled code with the roles of busbar.deployment.
"""

import re
from collections.abc import Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

from eth_keys.datatypes import PrivateKey
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from pyrevm import EVM, BlockEnv, CfgEnv, Env

from busbar.chain import Call, Chain, KeySigner, decode_revert, linked, load_artifact
from busbar.deployment import CONTRACT_ROLES, PERMISSIONS, ROLES, Parameters, deploy, parameters_path
from busbar.devnet import Devnet
from busbar.units import SATANG_WEI
from tests.machines.abi import encode, events, functions
from tests.market import ACTORS, DAY

GENESIS = DAY
EPOCH_SECONDS = 900
CHAIN_ID = 31337
OUR_CONTRACTS = ("Registry", "Trading", "Metering", "OracleClient")

ROLE_HOLDERS = {
    "distributor": "distributor",
    "oracle operator": "oracle_operator",
    "minter": "minter",
    "market maker": "keeper",
    "issuer": "issuer",
    "token minter": "token_minter",
}
"""Which actor holds which role; the regulator is the administrator."""

OPERATORS = (ROLE_HOLDERS["oracle operator"], "second_operator", "third_operator")
"""Oracle operators, all on the panel from the start."""

PEOPLE = ("producer", "other_producer", "trader", "consumer", "other_consumer", "newcomer")
"""All but the newcomer are registered from the start."""

RawLog = tuple[str, tuple[bytes, ...], bytes]


class Answer(NamedTuple):
    """What a transaction brought; `returned` is None where it cannot be known."""

    returned: bytes | None
    logs: list[RawLog]


class World(Protocol):
    """What a machine drives."""

    addresses: dict[str, str]
    keys: dict[str, PrivateKey]
    """By actor."""
    now: int
    block: int
    tick: int
    """Seconds, and blocks, that a transaction takes."""

    def move_to(self, now: int, block: int) -> None: ...

    def send(self, sender: str, contract: str, function: str, args: tuple) -> Answer: ...

    def read(self, calls: Sequence[tuple[str, str, tuple]]) -> list[bytes]: ...

    def rolled_back(self): ...


@cache
def machine_key(actor: str) -> PrivateKey:
    return PrivateKey(keccak(text=f"busbar machine {actor}"))


@cache
def address_of(key: PrivateKey) -> str:
    return key.public_key.to_checksum_address()


def expected_logs(logs) -> list[RawLog]:
    return [(log.contract, *events(log.contract)[log.event].log(log.values)) for log in logs if _is_told(log.contract)]


def _is_told(contract: str) -> bool:
    return contract in OUR_CONTRACTS


class RevmWorld:
    """A deployed market in this process. Time and blocks move only when told."""

    tick = 0

    def __init__(self, cancel_cutoff: int = 0) -> None:
        self.evm = EVM(env=Env(cfg=CfgEnv(chain_id=CHAIN_ID)), spec_id="PRAGUE")
        self.addresses: dict[str, str] = {}
        actors = ("regulator", *ROLE_HOLDERS.values(), *OPERATORS[1:], *PEOPLE, "outsider")
        self.keys = {actor: machine_key(actor) for actor in actors}
        self._calldata: dict[tuple[str, str, tuple], bytes] = {}
        self.move_to(GENESIS + 60, 1_000)
        self._regulator = address_of(self.keys["regulator"])
        self._deploy_all(cancel_cutoff)
        self._names = {address.lower(): name for name, address in self.addresses.items()}

    def _deploy_all(self, cancel_cutoff: int) -> None:
        at = self.addresses
        authority = self._deploy("Authority", self._regulator)
        grid = self._deploy("GridToken", authority)
        baht = self._deploy("BahtToken", authority)
        self._deploy("Auction")
        trading = self._deploy("Trading", authority, grid, baht, SATANG_WEI, GENESIS, EPOCH_SECONDS, cancel_cutoff)
        metering = self._deploy("Metering", authority, trading, grid)
        registry = self._deploy("Registry", authority, trading, metering)
        self._deploy("OracleClient", authority, registry, trading, metering, ROLES["oracle operator"])
        for contract, by_role in PERMISSIONS.items():
            for role, names in by_role.items():
                selectors = [functions(contract)[name].selector.ljust(32, b"\0") for name in names]
                self._set_up("Authority", "setTargetFunctionRole", at[contract], selectors, ROLES[role])
        for contract, role in CONTRACT_ROLES:
            self._set_up("Authority", "grantRole", ROLES[role], at[contract], 0)
        for role, actor in ROLE_HOLDERS.items():
            self._set_up("Authority", "grantRole", ROLES[role], address_of(self.keys[actor]), 0)
        for actor in OPERATORS:
            operator = address_of(self.keys[actor])
            self._set_up("Authority", "grantRole", ROLES["oracle operator"], operator, 0)
            self._set_up("OracleClient", "setOperator", operator, True)
        self._set_up("OracleClient", "setPanel", 1, 1_000)

    def _deploy(self, name: str, *args: object) -> str:
        artifact = load_artifact(name)
        constructor = next((e for e in artifact["abi"] if e["type"] == "constructor"), {"inputs": []})
        types = tuple(parameter["type"] for parameter in constructor["inputs"])
        code = bytes.fromhex(linked(artifact, self.addresses)[2:]) + encode(types, args)
        self.addresses[name] = to_checksum_address(self.evm.deploy(self._regulator, code))
        return self.addresses[name]

    def _set_up(self, contract: str, function: str, *args: object) -> None:
        self._run(self._regulator, contract, functions(contract)[function].calldata(args))

    def move_to(self, now: int, block: int) -> None:
        self.now, self.block = now, block
        self.evm.set_block_env(BlockEnv(number=block, timestamp=now))

    def send(self, sender: str, contract: str, function: str, args: tuple) -> Answer:
        returned = self._run(sender, contract, functions(contract)[function].calldata(args))
        logs = []
        for log in self.evm.result.logs:
            name = self._names[log.address.lower()]
            if _is_told(name):
                topics, data = log.data
                logs.append((name, tuple(topics), bytes(data)))
        return Answer(returned, logs)

    def try_out(self, sender: str, contract: str, calldata: bytes) -> None:
        """A transaction of which nothing is wanted but that it succeeds."""
        self._run(sender, contract, calldata)

    def read(self, calls: Sequence[tuple[str, str, tuple]]) -> list[bytes]:
        call, reader, at = self.evm.message_call, self._regulator, self.addresses
        answers = []
        for key in calls:
            data = self._calldata.get(key)
            if data is None:
                contract, function, args = key
                data = self._calldata[key] = functions(contract)[function].calldata(args)
            answers.append(bytes(call(reader, at[key[0]], calldata=data, is_static=True)))
        return answers

    @contextmanager
    def rolled_back(self):
        state, now, block = self.evm.snapshot(), self.now, self.block
        try:
            yield
        finally:
            self.evm.revert(state)
            if (now, block) != (self.now, self.block):
                self.move_to(now, block)

    def _run(self, sender: str, contract: str, calldata: bytes) -> bytes:
        try:
            return bytes(self.evm.message_call(sender, self.addresses[contract], calldata=calldata))
        except RuntimeError as problem:
            output = re.search(r"output: 0x([0-9a-f]*)", str(problem))
            if output is None:
                raise
            raise decode_revert(bytes.fromhex(output[1])) from None
        finally:
            self.evm.reset_transient_storage()


def _parameters() -> Parameters:
    """The development chain's, but without zones, which the machine opens, and with a plain minter."""
    told = Parameters.load(parameters_path("devnet"))
    others = [address_of(machine_key(actor)) for actor in OPERATORS[1:]]
    changed = {
        "token_minters": [ACTORS.other_distributor.address],
        "oracle_operators": [ACTORS.oracle_operator.address, *others],
    }
    roles = told.roles.model_copy(update=changed)
    return told.model_copy(update={"zones": [], "roles": roles})


class AnvilWorld:
    """The shipped client on a node. Nothing is sent near the end of an epoch: the machine sees to it."""

    tick = 1

    def __init__(self, devnet: Devnet, folder: Path) -> None:
        self.devnet = devnet
        self.chain = Chain(devnet.url, after_send=devnet.mine)
        actors = ACTORS
        deploy(self.chain, actors.regulator, _parameters(), folder / "record.json")
        self.addresses = self.chain.addresses
        self.signers: dict[str, KeySigner] = {
            "regulator": actors.regulator,
            "distributor": actors.distributor,
            "oracle_operator": actors.oracle_operator,
            "minter": actors.minter,
            "keeper": actors.keeper,
            "issuer": actors.issuer,
            "token_minter": actors.other_distributor,
            "outsider": actors.outsider,
        }
        self.signers |= {name: KeySigner.from_key(machine_key(name).to_bytes()) for name in (*OPERATORS[1:], *PEOPLE)}
        self.keys = {name: PrivateKey(bytes(signer.account.key)) for name, signer in self.signers.items()}
        self._by_address = {signer.address: signer for signer in self.signers.values()}
        self._names = {address.lower(): name for name, address in self.addresses.items()}
        self._note()

    def _note(self) -> None:
        head = self.chain.head()
        self.now, self.block = head.timestamp, head.number

    def move_to(self, now: int, block: int) -> None:
        extra = block - self.block - 1
        if extra > 0:
            self.devnet.node.request("anvil_mine", hex(extra))
        self.devnet.mine(now)
        self._note()

    def send(self, sender: str, contract: str, function: str, args: tuple) -> Answer:
        outcome = self.chain.send(self._by_address[sender], Call(contract, function, args))
        self._note()
        logs = []
        for log in outcome.logs:
            name = self._names[log["address"].lower()]
            if _is_told(name):
                topics = tuple(bytes.fromhex(topic[2:]) for topic in log["topics"])
                logs.append((name, topics, bytes.fromhex(log["data"][2:])))
        return Answer(None, logs)

    def try_out(self, sender: str, contract: str, calldata: bytes) -> None:
        request = {"to": self.addresses[contract], "data": "0x" + calldata.hex(), "gas": 1_000_000}
        (tx,) = self.chain.broadcast([(self._by_address[sender], request)])
        receipt = self.devnet.node.request("eth_getTransactionReceipt", tx)
        assert int(receipt["status"], 16) == 1, f"{contract}: {calldata.hex()} of {sender} failed"

    def read(self, calls: Sequence[tuple[str, str, tuple]]) -> list[bytes]:
        values = self.chain.read([Call(*call) for call in calls])
        answers = []
        for (contract, function, _), value in zip(calls, values, strict=True):
            outputs = functions(contract)[function].outputs
            answers.append(encode(outputs, (value,) if len(outputs) == 1 else value))
        return answers

    @contextmanager
    def rolled_back(self):
        # A restored node mines on from where it was.
        state, now, block = self.devnet.snapshot(), self.now, self.block
        try:
            yield
        finally:
            self.devnet.restore(state)
            self.now, self.block = now, block
