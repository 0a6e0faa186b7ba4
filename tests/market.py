"""One deployed market for tests: the shipped client on a real anvil, with actors named by their role.

A test mentions only what matters to it: everybody is registered, meters are assigned and money is there unless it says
otherwise. Chain time moves only when a test moves it, a second a block.
"""

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from busbar import tools
from busbar.chain import (
    Account,
    Call,
    Chain,
    KeySigner,
    Outcome,
    create_orders_call,
    decode_revert,
    enter_bundles_call,
)
from busbar.deployment import Parameters, deploy, parameters_path
from busbar.devnet import Devnet, dev_meter_key, dev_signer
from busbar.errors import BusbarError
from busbar.orders import Order, Side, order_id
from busbar.readings import KeyType, Reading, SignedReading, meter_id_bytes
from busbar.signing import Bundle, SignedBundle
from busbar.signing import sign as sign_message
from busbar.units import ENERGY_UNITS_PER_WH, GRID_WEI_PER_WH, SATANG_WEI

DAY = 1_773_421_200
"""2026-03-14T00:00+07:00; epoch 0 of the tests' market starts here."""

ENERGY, MONEY = 0, 1
BAHT = 10**18
ZONE = 1
SECP256K1, P256 = KeyType.SECP256K1, KeyType.P256


@dataclass(frozen=True)
class Actors:
    """Accounts by role. `outsider` is registered nowhere and holds no role."""

    regulator: KeySigner
    distributor: KeySigner
    other_distributor: KeySigner
    oracle_operator: KeySigner
    minter: KeySigner
    keeper: KeySigner
    issuer: KeySigner
    producer: KeySigner
    other_producer: KeySigner
    third_producer: KeySigner
    consumer: KeySigner
    other_consumer: KeySigner
    third_consumer: KeySigner
    outsider: KeySigner

    @property
    def participants(self):
        return (
            self.producer,
            self.other_producer,
            self.third_producer,
            self.consumer,
            self.other_consumer,
            self.third_consumer,
        )


ACTORS = Actors(*[dev_signer(i) for i in (0, 1, 2, 3, 4, 5, 6, 20, 21, 22, 23, 24, 25, 30)])


class Market:
    """The deployed system and the shorthand tests use. `m.chain` is the shipped client."""

    def __init__(self, devnet: Devnet, folder: Path) -> None:
        self.devnet = devnet
        self.actors = ACTORS
        self.chain = Chain(devnet.url, after_send=devnet.mine)
        parameters = Parameters.load(parameters_path("devnet"))
        self.parameters = parameters
        self.record = deploy(self.chain, ACTORS.regulator, parameters, folder / "record.json")
        self.register(*ACTORS.participants)
        for participant in ACTORS.participants:
            self.fund(participant, 1_000)

    # ---- time

    @property
    def epoch(self) -> int:
        return self.chain.calendar.epoch_at(self.chain.head().timestamp)

    def to_epoch(self, epoch: int, offset_s: int = 0) -> None:
        """Makes a block `offset_s` after the start of an epoch."""
        self.devnet.mine(self.chain.calendar.start(epoch) + offset_s)

    def next_epoch(self, count: int = 1) -> int:
        """Moves to the start of the next epoch (or the one after `count`), and returns its number."""
        epoch = self.epoch + count
        self.to_epoch(epoch)
        return epoch

    def pass_time(self, seconds: int) -> None:
        self.devnet.mine(self.chain.head().timestamp + seconds)

    # ---- set-up

    def register(self, *participants: KeySigner, zone: int = ZONE) -> None:
        calls = [Call("Registry", "registerUser", (p.address, zone, bytes(32))) for p in participants]
        self._all([(self.actors.distributor, call) for call in calls])

    def fund(self, participant: KeySigner, baht: int) -> None:
        """Issues baht to a participant and deposits it."""
        wei = baht * BAHT
        trading = self.chain.addresses["Trading"]
        self.chain.send(self.actors.issuer, Call("BahtToken", "issue", (participant.address, wei, bytes(32))))
        self.chain.send(participant, Call("BahtToken", "approve", (trading, wei)))
        self.chain.send(participant, Call("Trading", "deposit", (MONEY, wei)))

    def give_energy(self, participant: KeySigner, energy_wh: int) -> None:
        """Mints GRID to a participant's wallet, as a plain minter, and deposits it."""
        self.mint_to_wallet(participant, energy_wh)
        wei = energy_wh * GRID_WEI_PER_WH
        self.chain.send(participant, Call("GridToken", "approve", (self.chain.addresses["Trading"], wei)))
        self.chain.send(participant, Call("Trading", "deposit", (ENERGY, wei)))

    def mint_to_wallet(self, participant: KeySigner, energy_wh: int) -> None:
        minter = self.actors.minter
        held, _ = self.chain.view("Authority", "hasRole", 8, minter.address)
        if not held:
            self.chain.send(self.actors.regulator, Call("Authority", "grantRole", (8, minter.address, 0)))
        wei = energy_wh * GRID_WEI_PER_WH
        self.chain.send(minter, Call("GridToken", "mint", (participant.address, wei, bytes(32))))

    def assign_meter(
        self,
        meter_id: str,
        owner: KeySigner,
        *,
        key: bytes | None = None,
        key_type: KeyType = SECP256K1,
        kind: int = 1,
        source: int | None = None,
        import_w: int = 10_000,
        export_w: int | None = None,
        import_wh: int = 5_000_000,
        export_wh: int = 3_000_000,
        by: KeySigner | None = None,
    ) -> bytes:
        """Assigns a meter (a prosumer's solar one unless told otherwise) and returns its private key."""
        key = key or dev_meter_key(sum(meter_id.encode()) * 31 % 977)
        source = (1 if kind == 1 else 0) if source is None else source
        export_w = (5_000 if kind == 1 else 0) if export_w is None else export_w
        config = (
            owner.address,
            key_type.address(key),
            key_type,
            kind,
            source,
            import_w,
            export_w,
            import_wh,
            export_wh,
        )
        call = Call("Registry", "assignMeter", (meter_id_bytes(meter_id), config))
        self.chain.send(by or self.actors.distributor, call)
        return key

    def meter(self, meter_id: str, owner: KeySigner, **config) -> "SimulatedMeter":
        """Assigns a meter (see `assign_meter`) of huge rated power, unless told otherwise, and gives its double."""
        config = {"import_w": 10**9, "export_w": 10**9 if config.get("kind", 1) == 1 else 0, **config}
        key = self.assign_meter(meter_id, owner, **config)
        return SimulatedMeter(
            self,
            meter_id,
            key,
            config.get("import_wh", 5_000_000),
            config.get("export_wh", 3_000_000),
            config.get("key_type", SECP256K1),
        )

    def signed(
        self,
        meter_id: str,
        key: bytes,
        interval_end: int,
        import_wh: int,
        export_wh: int,
        key_type: KeyType = SECP256K1,
    ) -> SignedReading:
        return key_type.sign(Reading(meter_id, interval_end, import_wh, export_wh), self.chain.meter_domain, key)

    def replace_meter(
        self,
        meter: "SimulatedMeter",
        key: bytes,
        final: tuple[int, int],
        initial: tuple[int, int],
        *,
        key_type: KeyType = SECP256K1,
        by: KeySigner | None = None,
    ) -> Outcome:
        """Puts a device with another key in a meter's place; registers are (import, export)."""
        args = (meter_id_bytes(meter.meter_id), key_type.address(key), key_type, *final, *initial)
        return self.chain.send(by or self.actors.distributor, Call("Registry", "replaceMeter", args))

    def submit(self, *readings: SignedReading, by: KeySigner | None = None) -> Outcome:
        return self.chain.send(by or self.actors.minter, self.chain.submit_readings_call(readings))

    # ---- verbs

    def sell(self, participant: KeySigner, tick: int, energy_wh: int) -> Outcome:
        return self.chain.send(participant, Call("Trading", "createSellOrder", (tick, energy_wh)))

    def buy(self, participant: KeySigner, tick: int, energy_wh: int) -> Outcome:
        return self.chain.send(participant, Call("Trading", "createBuyOrder", (tick, energy_wh)))

    def enter(self, participant: KeySigner, *orders: Order) -> Outcome:
        return self.chain.send(participant, create_orders_call(orders))

    def cancel(self, participant: KeySigner, order: int) -> Outcome:
        return self.chain.send(participant, Call("Trading", "cancelOrder", (order,)))

    def bundle(
        self,
        participant: KeySigner,
        *orders: Order,
        nonce: int = 0,
        epochs: tuple[int, int] | None = None,
        zone: int = ZONE,
    ) -> Bundle:
        """Orders for one message; valid in the present epoch unless told otherwise."""
        first, last = epochs or (self.epoch, self.epoch)
        return Bundle(participant.address, zone, nonce, first, last, orders)

    def signed_orders(self, participant: KeySigner, *orders: Order, **message) -> SignedBundle:
        """The same, signed by its account."""
        bundle = self.bundle(participant, *orders, **message)
        return SignedBundle.by(bundle, self.chain.trading_domain, bytes(participant.account.key))

    def relay(self, *bundles: SignedBundle, zone: int = ZONE) -> Outcome:
        """Somebody without any role or money in the market brings signed bundles."""
        return self.chain.send(self.actors.outsider, enter_bundles_call(zone, bundles))

    def signature(self, participant: KeySigner, message) -> bytes:
        return sign_message(message, self.chain.trading_domain, bytes(participant.account.key))

    def permit(
        self, owner: KeySigner, asset: int, wei: int, deadline: int = 2**63
    ) -> tuple[int, int, int, bytes, bytes]:
        """Amount, deadline and signature of an ERC-2612 permit for Trading."""
        token = ("GridToken", "BahtToken")[asset]
        _, name, version, chain_id, contract, _, _ = self.chain.view(token, "eip712Domain")
        fields = ("owner", "address"), ("spender", "address"), ("value", "uint256"), ("nonce", "uint256")
        signed = owner.account.sign_typed_data(
            {"name": name, "version": version, "chainId": chain_id, "verifyingContract": contract},
            {"Permit": [{"name": n, "type": kind} for n, kind in (*fields, ("deadline", "uint256"))]},
            {
                "owner": owner.address,
                "spender": self.chain.addresses["Trading"],
                "value": wei,
                "nonce": self.chain.view(token, "nonces", owner.address),
                "deadline": deadline,
            },
        )
        return wei, deadline, signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")

    def permit_deposit_call(self, owner: KeySigner, asset: int, wei: int) -> Call:
        """Somebody's deposit, with a permit."""
        return Call("Trading", "depositWithPermitFor", (owner.address, asset, *self.permit(owner, asset, wei)))

    def skipped(self, outcome: Outcome) -> list[tuple[str, int, BusbarError]]:
        """Account, nonce and the named reason of every bundle that was skipped."""
        events = self.events(outcome, "BundleSkipped")
        return [(e.args["account"], e.args["nonce"], decode_revert(e.args["reason"])) for e in events]

    def clear(self, by: KeySigner | None = None, zone: int = ZONE) -> Outcome:
        return self.chain.send(by or self.actors.keeper, Call("Trading", "matchOrders", (zone,)))

    def settle(self, *participants: KeySigner) -> Outcome:
        addresses = [p.address for p in participants]
        return self.chain.send(self.actors.outsider, Call("Trading", "settle", (addresses,)))

    def withdraw(self, participant: KeySigner, asset: int, wei: int, to: str | None = None) -> Outcome:
        return self.chain.send(participant, Call("Trading", "withdraw", (asset, wei, to or participant.address)))

    def order_id(self, participant: KeySigner, index: int = 0, epoch: int | None = None) -> int:
        return order_id(participant.address, self.epoch if epoch is None else epoch, index)

    def returned(self, sender: KeySigner, contract: str, function: str, *args):
        """What a call would return, were it sent now."""
        return self.chain.read([Call(contract, function, args)], sender=sender.address)[0]

    # ---- reading

    def account(self, participant: KeySigner) -> Account:
        return self.chain.accounts([participant.address])[0]

    def free_wh(self, participant: KeySigner) -> int:
        """Whole free Wh; fails if there is a fraction."""
        whole, rest = divmod(self.account(participant).energy_free_uwh, ENERGY_UNITS_PER_WH)
        assert rest == 0
        return whole

    def events(self, outcome: Outcome, name: str | None = None):
        found = self.chain.decode_logs(outcome.logs)
        return [event for event in found if name is None or event.name == name]

    def token_balance(self, token: str, who: str) -> int:
        return self.chain.view(token, "balanceOf", who)

    # ---- other markets

    def another_trading(self, quote_helper: str | None = None, **changes) -> Chain:
        """A second Trading with zone 1 open and our participants active in it, on a client of its own.

        `changes` replace constructor arguments; `quote_helper` names a contract of tests/solidity to be its money.
        """
        chain = Chain(self.devnet.url, self.chain.addresses, after_send=self.devnet.mine)
        if quote_helper:
            changes["quote"] = self.deploy_helper(chain, quote_helper)
        arguments = {
            "authority": chain.addresses["Authority"],
            "grid": chain.addresses["GridToken"],
            "quote": chain.addresses["BahtToken"],
            "tick_wei": SATANG_WEI,
            "genesis": DAY,
            "epoch_seconds": 900,
            "cancel_cutoff_s": 0,
        }
        chain.deploy(self.actors.regulator, "Trading", list((arguments | changes).values()))
        chain.send(self.actors.regulator, Call("Trading", "openZone", (ZONE, 0)))
        for participant in self.actors.participants:
            chain.send(self.actors.regulator, Call("Trading", "setAccount", (participant.address, 1, ZONE)))
        return chain

    def deploy_helper(self, chain: Chain, name: str, *args) -> str:
        """Deploys a contract of tests/solidity, attached to `chain` by its name, and returns its address."""
        path = tools.project_root() / ".cache" / "test-abi" / f"{name}.json"
        artifact = json.loads(path.read_text(encoding="utf-8"))
        with patch("busbar.chain.load_artifact", lambda _: artifact):
            return chain.deploy(self.actors.regulator, name, args)[0]

    def _all(self, batch) -> None:
        for outcome in self.chain.send_many(batch):
            if outcome.error:
                raise outcome.error


@dataclass
class SimulatedMeter:
    """A meter and its registers: `read` lets them grow and signs; the reading is returned, not submitted."""

    market: Market
    meter_id: str
    key: bytes
    import_wh: int
    export_wh: int
    key_type: KeyType = SECP256K1

    def read(self, import_wh: int = 0, export_wh: int = 0, at: int | None = None) -> SignedReading:
        """Signs the registers after growing by so much, at `at` or the time of the chain's next block."""
        self.import_wh += import_wh
        self.export_wh += export_wh
        at = self.market.chain.head().timestamp + 1 if at is None else at
        return self.market.signed(self.meter_id, self.key, at, self.import_wh, self.export_wh, self.key_type)


@contextmanager
def reverts(error, **values):
    """Expects exactly this named error, with at least these values."""
    with pytest.raises(error) as caught:
        yield caught
    assert type(caught.value) is error
    assert {name: _plain(caught.value.values[name]) for name in values} == {n: _plain(v) for n, v in values.items()}


def is_refusal(problem, error, **values):
    """Whether this is exactly the named error, with at least these values."""
    assert type(problem) is error, repr(problem)
    assert {name: _plain(problem.values[name]) for name in values} == {n: _plain(v) for n, v in values.items()}
    return True


def _plain(value):
    """Addresses compare whatever their case."""
    return value.lower() if isinstance(value, str) and value.startswith("0x") else value


def bid(tick: int, energy_wh: int) -> Order:
    return Order(Side.BID, tick, energy_wh)


def ask(tick: int, energy_wh: int) -> Order:
    return Order(Side.ASK, tick, energy_wh)
