"""A community joins a market: who takes part with which meters, and which of its days are replayed when.

The enrolment is one small file. Every process of a replay (gateway, agents, keeper, report) reads it and then looks at
the chain; none needs to talk to another.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from busbar import errors, tools
from busbar import meter_keys as keystores
from busbar.agents import Agent, Corridor, Role, TariffClock
from busbar.chain import Call, Chain, Outcome, Signer
from busbar.community import Community, CommunityMeter, Registers, load_community
from busbar.devnet import dev_meter_key, dev_signer
from busbar.meters import SimulatedMeters
from busbar.readings import MeterKey, Reading, meter_id_bytes
from busbar.tariff import FLAT_MARGINAL_PLAN, Tariff, load_tariff

ENROLMENT_FILE = "enrolment.json"
FIRST_PARTICIPANT = 10
"""Development account of the first participant; those before are the authorities' and operators'."""
UTILITY = 7
"""Development account of the utility."""

THB_WEI = 10**18

ENROL_BATCH = 50
"""Transactions broadcast together."""


class EnrolmentError(errors.BusbarError):
    """An enrolment file is missing or malformed, or does not fit the community."""


class Participant(BaseModel):
    """A participant and where its development key is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    role: Role
    dev_account: int
    meter_ids: list[str]


class Enrolment(BaseModel):
    """Who takes part, and when which data is replayed.

    Attributes:
        community_file: The community's CSV.
        sha256: Its hash: the enrolment fits no other data.
        first_interval: First replayed interval of the community.
        intervals: How many are replayed.
        chain_start: Chain time at which the first one starts; the start of an epoch.
        epoch_seconds: Epoch length; one interval is replayed an epoch.
        interval_s: Length of the community's intervals.
        zone: Everybody's zone.
        seed: Seed of the agents' limits.
        tariff_file: Dated tariffs.
        plan: Retail plan.
        meter_keystores: Folder of the keystores that the meters sign with; the development chain's keys without.
        participants: Everybody, the utility last.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    community_file: str
    sha256: str
    first_interval: int
    intervals: int
    chain_start: int
    epoch_seconds: int
    interval_s: int
    zone: int
    seed: int
    tariff_file: str
    plan: str = FLAT_MARGINAL_PLAN
    meter_keystores: str | None = None
    participants: list[Participant]

    def save(self, folder: Path) -> Path:
        """Writes the file into a folder and returns its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / ENROLMENT_FILE
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return path

    @staticmethod
    def load(path: Path) -> "Enrolment":
        """Reads an enrolment file.

        Raises:
            EnrolmentError: It is missing or malformed.
        """
        try:
            return Enrolment.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise EnrolmentError(f"{path} is missing: `busbar enrol --out FOLDER` writes one") from None
        except ValidationError as problem:
            first = problem.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise EnrolmentError(f"{path}: {f'{where}: ' if where else ''}{first['msg']}") from None

    def community(self) -> Community:
        """The community it is for.

        Raises:
            EnrolmentError: The file has changed since.
        """
        community = load_community(Path(self.community_file))
        if community.sha256 != self.sha256:
            raise EnrolmentError(f"{self.community_file} has changed since the enrolment was written: enrol again")
        return community

    @property
    def replayed(self) -> range:
        """The replayed intervals of the community."""
        return range(self.first_interval, self.first_interval + self.intervals)

    @property
    def chain_end(self) -> int:
        """Chain time at which the last interval ends."""
        return self.chain_start + self.intervals * self.epoch_seconds

    def data_time(self, community: Community, timestamp: int) -> datetime:
        """The time in the data that a chain time stands for; they differ where dates were moved."""
        elapsed = (timestamp - self.chain_start) * self.interval_s // self.epoch_seconds
        return community.start_of(self.first_interval) + timedelta(seconds=elapsed)

    def trading_epochs(self, first_epoch: int) -> range:
        """Epochs in which the replayed intervals are traded: each in the one after it ends."""
        return range(first_epoch + 1, first_epoch + 1 + self.intervals)


def plan(
    community: Community,
    community_file: Path,
    intervals: range,
    *,
    chain_start: int,
    epoch_seconds: int,
    seed: int,
    zone: int = 1,
    tariff_file: Path | None = None,
    tariff_plan: str = FLAT_MARGINAL_PLAN,
    meter_keystores: Path | None = None,
) -> Enrolment:
    """The enrolment of a community with one participant a meter, and the utility."""
    participants = [
        Participant(
            name=meter.meter_id, role=Role(meter.role), dev_account=FIRST_PARTICIPANT + i, meter_ids=[meter.meter_id]
        )
        for i, meter in enumerate(community.meters)
    ]
    participants.append(Participant(name="utility", role=Role.UTILITY, dev_account=UTILITY, meter_ids=[]))
    return Enrolment(
        community_file=str(community_file.resolve()),
        sha256=community.sha256,
        first_interval=intervals.start,
        intervals=len(intervals),
        chain_start=chain_start,
        epoch_seconds=epoch_seconds,
        interval_s=community.interval_s,
        zone=zone,
        seed=seed,
        tariff_file=str((tariff_file or default_tariff_file()).resolve()),
        plan=tariff_plan,
        meter_keystores=None if meter_keystores is None else str(meter_keystores.resolve()),
        participants=participants,
    )


def chosen(community: Community, day: date | None, days: int) -> tuple[date, range]:
    """The first day and the intervals to replay; without a day, the community's first complete one.

    Raises:
        CommunityError: The community does not hold these days, or no complete day at all.
    """
    available = community.available_days()
    first = day or (available[0] if available else community.start.date())
    return first, community.intervals(first, days)


def default_tariff_file() -> Path:
    """The dated tariffs that ship with Busbar."""
    return tools.project_root() / "data" / "tariffs" / "thailand.csv"


def registers_before(community: Community, meter: CommunityMeter, interval: int) -> Registers:
    """A meter's registers when an interval starts."""
    if interval == 0:
        return community.initial_registers(meter)
    return community.registers(meter)[interval - 1]


def simulated_meters(enrolment: Enrolment, community: Community) -> SimulatedMeters:
    """The community's meters with their readings on the chain's clock and their keys."""
    readings = {}
    for meter in community.meters:
        registers = community.registers(meter)
        readings[meter.meter_id] = [
            Reading(
                meter.meter_id,
                enrolment.chain_start + (n + 1) * enrolment.epoch_seconds,
                registers[i].import_wh,
                registers[i].export_wh,
            )
            for n, i in enumerate(enrolment.replayed)
        ]
    return SimulatedMeters(readings, meter_keys(enrolment, community))


def meter_keys(enrolment: Enrolment, community: Community) -> dict[str, MeterKey]:
    """Keys of the simulated meters, by id.

    Raises:
        keys.KeyUnusableError: A keystore cannot be opened.
    """
    if enrolment.meter_keystores is None:
        return {meter.meter_id: MeterKey(dev_meter_key(i)) for i, meter in enumerate(community.meters)}
    folder = Path(enrolment.meter_keystores)
    return {meter.meter_id: keystores.load(keystores.path_of(folder, meter.meter_id)) for meter in community.meters}


def make_meter_keys(folder: Path, community: Community, curve: keystores.Curve) -> None:
    """Makes a key for every meter that has none in the folder.

    Raises:
        keys.KeyUnusableError: No password was given.
    """
    for i, meter in enumerate(community.meters):
        with suppress(FileExistsError):
            keystores.new(keystores.path_of(folder, meter.meter_id), curve.of(i))


def agents(enrolment: Enrolment) -> list[Agent]:
    """An agent for every participant."""
    return [Agent(p.name, p.role, dev_signer(p.dev_account), tuple(p.meter_ids)) for p in enrolment.participants]


class DatedTariff(TariffClock):
    """The enrolment's tariff, at the time in the data that a chain time stands for."""

    def __init__(self, enrolment: Enrolment, community: Community) -> None:
        self._enrolment = enrolment
        self._community = community
        self._loaded: Tariff | None = None

    def at(self, timestamp: int) -> tuple[Tariff, datetime]:
        """The tariff that holds at a chain time, and the time in the data."""
        when = self._enrolment.data_time(self._community, timestamp)
        if self._loaded is None or not self._loaded.holds_from <= when.date() <= self._loaded.holds_to:
            self._loaded = load_tariff(Path(self._enrolment.tariff_file), when.date(), self._enrolment.plan)
        return self._loaded, when

    def corridor(self, timestamp: int) -> Corridor:
        """Buyback and retail, rounded so that nobody offers below the one or bids above the other."""
        tariff, when = self.at(timestamp)
        return Corridor(tariff.buyback_tick, tariff.retail_limit_tick(when), tariff.buyback_bid_tick)

    def check(self) -> None:
        """Looks up every price a replay will need, so that it does not stop halfway.

        Raises:
            TariffError: The tariff does not hold throughout.
        """
        for n in range(self._enrolment.intervals + 1):
            self.corridor(self._enrolment.chain_start + n * self._enrolment.epoch_seconds)


def check_registers(chain: Chain, enrolment: Enrolment, community: Community) -> None:
    """Looks whether the chain has nothing of these meters that is ahead of where the data begin.

    Raises:
        EnrolmentError: It has: a register never goes back, so that no reading of these days would be accepted.
    """
    meters = {meter.meter_id: meter for meter in community.meters}
    for held in chain.registers([meter_id for meter_id in chain.meter_ids() if meter_id in meters]):
        begins = registers_before(community, meters[held.meter_id], enrolment.first_interval)
        for name in ("import", "export"):
            at_wh, from_wh = getattr(held, f"{name}_wh"), getattr(begins, f"{name}_wh")
            if at_wh > from_wh:
                raise EnrolmentError(
                    f"{held.meter_id} has an {name} register of {at_wh} Wh on the chain, and the data of these days "
                    f"begin at {from_wh} Wh: take a later day, or another market"
                )


def enrol(
    chain: Chain,
    enrolment: Enrolment,
    community: Community,
    *,
    distributors: Sequence[Signer],
    issuer: Signer,
) -> list[Outcome]:
    """Registers everybody and every meter that is not registered yet, and funds accounts that were never funded.

    Returns:
        The outcome of every transaction sent.

    Raises:
        BusbarError: A transaction was refused; what was done before it stands, and a second run goes on.
    """
    work = _Enrolling(chain, enrolment, community, tuple(distributors), issuer)
    work.register_participants()
    work.assign_meters()
    work.fund()
    return work.outcomes


class _Enrolling:
    def __init__(
        self,
        chain: Chain,
        enrolment: Enrolment,
        community: Community,
        distributors: tuple[Signer, ...],
        issuer: Signer,
    ) -> None:
        self.chain = chain
        self.enrolment = enrolment
        self.community = community
        self.distributors = distributors
        self.issuer = issuer
        self.agents = agents(enrolment)
        self.outcomes: list[Outcome] = []

    def register_participants(self) -> None:
        known = set(self.chain.participants())
        batch = []
        for i, agent in enumerate(self.agents):
            if agent.signer.address not in known:
                # An opaque reference; the distributor's own records say who it is.
                call = Call(
                    "Registry", "registerUser", (agent.signer.address, self.enrolment.zone, bytes(32)), "register"
                )
                batch.append((self.distributors[i % len(self.distributors)], call))
        self._send(batch)

    def assign_meters(self) -> None:
        known = set(self.chain.meter_ids())
        owners = {m: agent.signer.address for agent in self.agents for m in agent.meter_ids}
        keys = meter_keys(self.enrolment, self.community)
        batch: list[tuple[Signer, Call]] = []
        for i, meter in enumerate(self.community.meters):
            if meter.meter_id not in known:
                config = self._meter_config(meter, owners[meter.meter_id], keys[meter.meter_id])
                call = Call("Registry", "assignMeter", (meter_id_bytes(meter.meter_id), config), label="assign meter")
                batch.append((self.distributors[i % len(self.distributors)], call))
        self._send(batch)

    def _meter_config(self, meter: CommunityMeter, owner: str, key: MeterKey) -> tuple[object, ...]:
        e = self.enrolment
        prosumer = meter.role == "prosumer"
        before = registers_before(self.community, meter, e.first_interval)
        # A replay with shorter epochs squeezes the same energy into less time.
        import_w, export_w = (
            -(-watts * e.interval_s // e.epoch_seconds)
            for watts in (self.community.rated_import_w(meter), self.community.rated_export_w(meter))
        )
        kind, source = (1, 1) if prosumer else (2, 0)
        return (owner, key.address, int(key.key_type), kind, source, import_w, export_w if prosumer else 0, *before)

    def fund(self) -> None:
        """Baht for all that an account could want to buy; only for accounts that never held any."""
        # Issued twice is issued twice: with nonces older than the look, a second enrolling at the same time is refused.
        nonces = self.chain.nonces([self.issuer.address])
        accounts = self.chain.accounts([agent.signer.address for agent in self.agents])
        poor = [
            (agent, self._budget_wei(agent))
            for agent, account in zip(self.agents, accounts, strict=True)
            if account.money_free_units + account.money_escrow_units == 0
        ]
        held = self.chain.read([Call("BahtToken", "balanceOf", (agent.signer.address,)) for agent, _ in poor])
        trading = self.chain.addresses["Trading"]
        issue = [
            (self.issuer, Call("BahtToken", "issue", (agent.signer.address, budget - has, bytes(32)), "issue"))
            for (agent, budget), has in zip(poor, held, strict=True)
            if has < budget
        ]
        self._send(issue, nonces)
        self._send([(a.signer, Call("BahtToken", "approve", (trading, budget), "approve")) for a, budget in poor])
        self._send([(a.signer, Call("Trading", "deposit", (1, budget), "deposit")) for a, budget in poor])

    def _budget_wei(self, agent: Agent) -> int:
        """Whole baht for all its import at the highest retail limit, or for all exports at buyback twice over."""
        corridors = DatedTariff(self.enrolment, self.community)
        if agent.role is Role.UTILITY:
            export = sum(self.community.export_wh(m, i) for m in self.community.meters for i in self.enrolment.replayed)
            return _whole_baht_wei(export * 2, corridors.corridor(self.enrolment.chain_start).buyback_tick)
        meters = [self.community.meter(m) for m in agent.meter_ids]
        energy = sum(self.community.import_wh(m, i) for m in meters for i in self.enrolment.replayed)
        ends = (self.enrolment.chain_start + n * self.enrolment.epoch_seconds for n in range(self.enrolment.intervals))
        return _whole_baht_wei(energy, max(corridors.corridor(t).retail_tick for t in ends))

    def _send(self, batch: Sequence[tuple[Signer, Call]], nonces: Mapping[str, int] | None = None) -> None:
        for start in range(0, len(batch), ENROL_BATCH):
            outcomes = self.chain.send_many(batch[start : start + ENROL_BATCH], nonces)
            self.outcomes += outcomes
            for outcome in outcomes:
                if outcome.error is not None:
                    raise outcome.error
            if nonces is not None:
                sent = Counter(outcome.sender for outcome in outcomes)
                nonces = {address: nonce + sent[address] for address, nonce in nonces.items()}


def _whole_baht_wei(energy_wh: int, tick: int) -> int:
    """Baht for an amount of energy at a satang tick, rounded up to whole baht, and a hundred more."""
    return (-(-energy_wh * tick // 100_000) + 100) * THB_WEI
