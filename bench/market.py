"""A market to measure: deployed as everywhere else, on an anvil of its own, every key, time and number fixed.

Nothing here depends on the machine, the clock or chance, so a receipt is the same in every run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from eth_utils.crypto import keccak

from busbar import errors
from busbar.chain import Call, Chain, KeySigner, Outcome, create_orders_call, enter_bundles_call
from busbar.deployment import Parameters, deploy, parameters_path
from busbar.devnet import Devnet, dev_signer
from busbar.orders import Order, Side, order_id
from busbar.readings import KeyType, Reading, SignedReading, meter_id_bytes
from busbar.signing import Bundle, SignedBundle
from busbar.units import GRID_WEI_PER_WH, Asset

GENESIS = 1_773_421_200
"""2026-03-14T00:00+07:00: start of epoch 0."""
START = GENESIS + 2 * 86_400 + 60
"""Time of the chain's first block: days after genesis, as words of day 0 hold zeros that no later day has."""
ZONE = 1
BAHT = 10**18
MAINNET_GAS = 60_000_000
"""Gas of a block of Ethereum since 2025-11; a permissioned chain sets its own."""

FIRST_IMPORT_WH, FIRST_EXPORT_WH = 5_000_000, 3_000_000
"""Registers of every meter when it is assigned."""
_METER_PREFIX = {KeyType.SECP256K1: "BENCH", KeyType.P256: "P-256"}
"""How ids of meters begin, by the curve of their key; of one length, as an id is calldata."""
RATED_W = 10**9
"""Rated power of every meter: no growth is implausible."""

_PLENTY = {Asset.ENERGY: 10**8 * GRID_WEI_PER_WH, Asset.MONEY: 10**6 * BAHT}
_SMALL_BATCH, _MIDDLE_BATCH, _FULL_BATCH = 100, 60, 8
"""Transactions that surely fit a block together: of below 200,000 gas, of 300,000, of 100 orders each."""


def key(name: str) -> bytes:
    """The private key of a name: worth nothing, the same always."""
    return keccak(text=f"busbar bench {name}")


class Draw:
    """Numbers that look random and are the same on every version of Python."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._drawn = 0

    def between(self, lowest: int, highest: int) -> int:
        """The next number of a range, both ends included."""
        self._drawn += 1
        number = int.from_bytes(keccak(text=f"{self._seed} {self._drawn}"), "big")
        return lowest + number % (highest - lowest + 1)

    def order(self, side: Side | None = None) -> Order:
        """An order of a household's size at any tick."""
        chosen = Side(self.between(0, 1)) if side is None else side
        return Order(chosen, self.between(1, 1023), self.between(100, 9_999))


class BenchMarket:
    """The deployed market and the verbs that are measured; each verb returns the gas of its receipt."""

    def __init__(self, devnet: Devnet, folder: Path) -> None:
        self.devnet = devnet
        self.chain = Chain(devnet.url, after_send=devnet.mine)
        roles = [dev_signer(i) for i in (0, 1, 4, 5, 6)]
        self.regulator, self.distributor, self.minter, self.keeper, self.issuer = roles
        self.outsider = KeySigner.from_key(key("outsider"))
        shipped = Parameters.load(parameters_path("devnet"))
        fixed = {
            "market": shipped.market.model_copy(update={"genesis": GENESIS}),
            "roles": shipped.roles.model_copy(update={"token_minters": ["dev:4"]}),
        }
        deploy(self.chain, self.regulator, shipped.model_copy(update=fixed), folder / "record.json")
        self.trading = self.chain.addresses["Trading"]

    # ---- time and state

    @property
    def epoch(self) -> int:
        """The open epoch."""
        return self.chain.calendar.epoch_at(self.chain.head().timestamp)

    def next_epoch(self, *, clear: bool = True) -> None:
        """Moves to the start of the next epoch; a keeper clears the ended one unless told otherwise."""
        self.devnet.mine(self.chain.calendar.end(self.epoch))
        if clear and self.chain.clearing_due(ZONE) is not None:
            self.clear()

    def to_time(self, timestamp: int) -> None:
        """Makes a block at a time."""
        self.devnet.mine(timestamp)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Takes the chain back afterwards, so that no measurement depends on another."""
        state = self.devnet.snapshot()
        try:
            yield
        finally:
            self.devnet.restore(state)

    # ---- set-up

    def send(self, signer: KeySigner, contract: str, function: str, *args: object) -> int:
        """Gas of one call."""
        return self.chain.send(signer, Call(contract, function, args)).gas_used

    def send_all(self, batch: Sequence[tuple[KeySigner, Call]], size: int = _SMALL_BATCH) -> list[Outcome]:
        """Sends calls that do not depend on each other, `size` a block.

        Raises:
            BusbarError: One of them was refused.
        """
        outcomes: list[Outcome] = []
        for start in range(0, len(batch), size):
            outcomes += self.chain.send_many(batch[start : start + size])
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        return outcomes

    def participants(self, name: str, count: int) -> list[KeySigner]:
        """Registers so many accounts."""
        found = [KeySigner.from_key(key(f"{name} {i}")) for i in range(count)]
        self.send_all(
            [(self.distributor, Call("Registry", "registerUser", (p.address, ZONE, bytes(32)))) for p in found]
        )
        return found

    def fund(self, participants: Sequence[KeySigner], *assets: Asset) -> None:
        """Gives participants more than they can spend, in the market; as much stays in their wallets."""
        for asset in assets or tuple(Asset):
            wei, token = _PLENTY[asset], token_of(asset)
            self.send_all([self._issue(p, asset, 2 * wei) for p in participants])
            self.send_all([(p, Call(token, "approve", (self.trading, wei))) for p in participants])
            self.send_all([(p, Call("Trading", "deposit", (asset, wei))) for p in participants])

    def issue(self, participant: KeySigner, asset: Asset, wei: int) -> None:
        """Puts tokens into a wallet."""
        self.send_all([self._issue(participant, asset, wei)])

    def _issue(self, participant: KeySigner, asset: Asset, wei: int) -> tuple[KeySigner, Call]:
        args = (participant.address, wei, bytes(32))
        if asset == Asset.MONEY:
            return self.issuer, Call("BahtToken", "issue", args)
        return self.minter, Call("GridToken", "mint", args)

    def assign_meters(self, owners: Sequence[KeySigner], curve: KeyType = KeyType.SECP256K1) -> list[str]:
        """A prosumer's meter for each owner; its key, on this curve, is that of its id."""
        meter_ids = [f"{_METER_PREFIX[curve]}-{i:06}" for i in range(len(owners))]
        calls = [
            Call(
                "Registry",
                "assignMeter",
                (
                    meter_id_bytes(meter_id),
                    (
                        *(owner.address, curve.address(key(meter_id)), curve, 1, 1),
                        *(RATED_W, RATED_W, FIRST_IMPORT_WH, FIRST_EXPORT_WH),
                    ),
                ),
            )
            for meter_id, owner in zip(meter_ids, owners, strict=True)
        ]
        self.send_all([(self.distributor, call) for call in calls], _MIDDLE_BATCH)
        return meter_ids

    # ---- verbs

    def enter(self, participant: KeySigner, orders: Sequence[Order]) -> int:
        """Enters orders in one call."""
        return self.chain.send(participant, create_orders_call(orders)).gas_used

    def sign(self, participant: KeySigner, nonce: int, orders: Sequence[Order]) -> SignedBundle:
        """A participant's bundle for the open epoch."""
        bundle = Bundle(participant.address, ZONE, nonce, self.epoch, self.epoch, tuple(orders))
        return SignedBundle.by(bundle, self.chain.trading_domain, bytes(participant.account.key))

    def relay(self, bundles: Sequence[SignedBundle]) -> int:
        """Somebody brings signed bundles, all of which enter.

        Raises:
            BusbarError: One was skipped.
        """
        outcome = self.chain.send(self.outsider, enter_bundles_call(ZONE, bundles))
        if any(event.name == "BundleSkipped" for event in self.chain.decode_logs(outcome.logs)):
            raise errors.BusbarError("a bundle was skipped")
        return outcome.gas_used

    def enter_all(self, batch: Sequence[tuple[KeySigner, Sequence[Order]]]) -> None:
        """Enters up to 100 orders for each of many participants."""
        self.send_all([(who, create_orders_call(orders)) for who, orders in batch], _FULL_BATCH)

    def buy(self, participant: KeySigner, tick: int, energy_wh: int) -> int:
        """Enters one bid the plain way."""
        return self.send(participant, "Trading", "createBuyOrder", tick, energy_wh)

    def sell(self, participant: KeySigner, tick: int, energy_wh: int) -> int:
        """Enters one ask the plain way."""
        return self.send(participant, "Trading", "createSellOrder", tick, energy_wh)

    def cancel(self, participant: KeySigner, index: int) -> int:
        """Cancels one of a participant's orders of the open epoch."""
        return self.send(participant, "Trading", "cancelOrder", order_id(participant.address, self.epoch, index))

    def clear(self) -> int:
        """A keeper clears the ended epoch."""
        return self.send(self.keeper, "Trading", "matchOrders", ZONE)

    def roll(self, participants: Sequence[KeySigner]) -> int:
        """Somebody rolls standing orders, all of which enter.

        Raises:
            BusbarError: An account was skipped.
        """
        outcome = self.chain.send(self.outsider, Call("Trading", "roll", ([p.address for p in participants],)))
        if len([e for e in self.chain.decode_logs(outcome.logs) if e.name == "OrdersRolled"]) != len(participants):
            raise errors.BusbarError("standing orders were not rolled")
        return outcome.gas_used

    def settle(self, participant: KeySigner) -> int:
        """Somebody settles a participant's ended orders."""
        return self.send(self.outsider, "Trading", "settle", [participant.address])

    def retire_for(self, participants: Sequence[KeySigner]) -> int:
        """Somebody retires participants' outstanding import."""
        return self.send(self.outsider, "Metering", "retireFor", [p.address for p in participants])

    def submit(self, readings: Sequence[SignedReading]) -> int:
        """The AMI service submits readings in one call."""
        return self.chain.send(self.minter, self.chain.submit_readings_call(readings)).gas_used

    def read(
        self, meter_ids: Sequence[str], import_wh: int, export_wh: int, curve: KeyType = KeyType.SECP256K1
    ) -> list[SignedReading]:
        """Readings as of a fresh block of meters whose registers have grown by so much since they were assigned."""
        self.devnet.mine()
        at = self.chain.head().timestamp
        return [
            curve.sign(
                Reading(meter_id, at, FIRST_IMPORT_WH + import_wh, FIRST_EXPORT_WH + export_wh),
                self.chain.meter_domain,
                key(meter_id),
            )
            for meter_id in meter_ids
        ]

    def deposit_with_permit(self, participant: KeySigner, asset: Asset, wei: int) -> int:
        """Deposits with a permit instead of an allowance."""
        token = token_of(asset)
        _, name, version, chain_id, contract, _, _ = self.chain.view(token, "eip712Domain")
        deadline = START + 365 * 86_400
        fields = ("owner", "address"), ("spender", "address"), ("value", "uint256"), ("nonce", "uint256")
        signed = participant.account.sign_typed_data(
            {"name": name, "version": version, "chainId": chain_id, "verifyingContract": contract},
            {"Permit": [{"name": n, "type": kind} for n, kind in (*fields, ("deadline", "uint256"))]},
            {
                "owner": participant.address,
                "spender": self.trading,
                "value": wei,
                "nonce": self.chain.view(token, "nonces", participant.address),
                "deadline": deadline,
            },
        )
        r, s = (part.to_bytes(32, "big") for part in (signed.r, signed.s))
        return self.send(participant, "Trading", "depositWithPermit", asset, wei, deadline, signed.v, r, s)

    def fits(self, readings: Sequence[SignedReading]) -> int | None:
        """Gas of submitting readings, or None if one transaction cannot hold them; the chain is as before."""
        with self.undone():
            try:
                return self.submit(readings)
            except errors.BusbarError:
                return None


def token_of(asset: Asset) -> str:
    """The token behind an asset."""
    return "BahtToken" if asset == Asset.MONEY else "GridToken"
