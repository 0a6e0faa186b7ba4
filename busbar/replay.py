"""A community's days through the real market: what `make run` does.

Starts a chain, deploys, enrols the community, and lets gateway, keeper and agents work epoch by epoch: the same code
that runs as processes elsewhere. Afterwards everything is read back from the chain, audited and put into a `Run`.

Accelerated, the chain makes a block whenever something was sent and jumps to the next epoch when all is done. In real
time it makes a block every two seconds and the data's dates are moved to now.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from busbar import __version__, errors
from busbar.agents import Agents, Role
from busbar.chain import Chain, Event, Outcome
from busbar.clearing import fill
from busbar.community import Community, CommunityMeter, load_community
from busbar.deployment import Parameters, commit, deploy, parameters_path
from busbar.devnet import Devnet, dev_signer
from busbar.enrolment import DatedTariff, Enrolment, agents, chosen, enrol, plan, simulated_meters
from busbar.keeper import Keeper
from busbar.keys import signer
from busbar.ledger import KINDS, EpochBook, Ledger, PlacedOrder, audit, read_state, rebuild
from busbar.meters import Gateway
from busbar.orders import Side
from busbar.results import (
    CommunityInfo,
    EpochRow,
    FlowRow,
    GasRow,
    MarketInfo,
    ParticipantRow,
    ReadingRow,
    Run,
    RunInfo,
    TariffInfo,
    TickVolume,
    TradeRow,
)
from busbar.signing import EnteredBundle
from busbar.tariff import FLAT_MARGINAL_PLAN
from busbar.units import ENERGY_UNITS_PER_WH, PERIOD_EPOCHS

BLOCK_TIME_S = 2
"""Seconds between blocks in real time."""

SHORTEST_EPOCH_S = 10
"""Below this an epoch has too few seconds for its blocks."""

WEI_PER_UTHB = 10**12

LOG_BLOCKS = 500
"""Blocks to a request for events."""


class ReplayError(errors.BusbarError):
    """A replay was asked for that makes no sense, or a step of it was refused."""


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """What to replay, and how.

    Attributes:
        community_file: CSV in the documented format.
        day: First day; None for the community's first.
        days: How many days.
        seed: Seed of the agents' limits.
        out: Report folder.
        epoch_seconds: Length of an epoch; None for the data's interval. Another length moves the dates.
        real_time: Blocks by the clock instead of on demand.
        plan: Retail plan the savings are measured against.
    """

    community_file: Path
    day: date | None
    days: int
    seed: int
    out: Path
    epoch_seconds: int | None = None
    real_time: bool = False
    plan: str = FLAT_MARGINAL_PLAN


@dataclass(frozen=True, slots=True)
class Progress:
    """One cleared epoch, for whoever watches."""

    number: int
    total: int
    epoch: int
    when: datetime
    price2: int
    volume_wh: int
    orders: int
    gas: int


class Watcher(Protocol):
    """Is told how a replay gets on."""

    def stage(self, text: str) -> None:
        """A stage begins."""

    def epoch(self, progress: Progress) -> None:
        """An epoch is cleared."""


@dataclass(slots=True)
class _Replay:
    settings: ReplaySettings
    watch: Watcher
    devnet: Devnet
    chain: Chain
    community: Community
    parameters: Parameters
    enrolment: Enrolment
    outcomes: list[Outcome] = field(default_factory=list)
    orders: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """Orders entered, by epoch."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A replay that has come to its end, with its chain still running.

    Attributes:
        run: Everything found out. A failed audit check is reported in it, not raised.
        devnet: The chain.
        chain: Its market.
        community: Whose days they were.
        parameters: Who holds which role.
        enrolment: Who takes part, and when what was replayed.
    """

    run: Run
    devnet: Devnet
    chain: Chain
    community: Community
    parameters: Parameters
    enrolment: Enrolment


def replay(settings: ReplaySettings, watch: Watcher) -> Run:
    """As `replayed`, when nobody goes on with the chain."""
    with replayed(settings, watch) as done:
        return done.run


@contextmanager
def replayed(settings: ReplaySettings, watch: Watcher) -> Iterator[Replayed]:
    """Replays a community's days through a market of their own, and audits them; the chain runs until the block ends.

    Raises:
        CommunityError: The data is malformed; nothing was started.
        BusbarError: A step was refused.
    """
    began = time.monotonic()
    started_at = datetime.now(UTC)
    watch.stage("reading the community")
    community = load_community(settings.community_file)
    _, intervals = chosen(community, settings.day, settings.days)
    epoch_s = settings.epoch_seconds or community.interval_s
    if epoch_s < SHORTEST_EPOCH_S:
        raise ReplayError(f"--epoch-seconds {epoch_s} is too short: {SHORTEST_EPOCH_S} is the least")

    # The market is one settlement period old when the first interval starts, and the chain half a period.
    moved = settings.real_time
    start = int(time.time()) + 30 if moved else int(community.start_of(intervals.start).timestamp())
    enrolment = plan(
        community,
        settings.community_file,
        intervals,
        chain_start=start,
        epoch_seconds=epoch_s,
        seed=settings.seed,
        tariff_plan=settings.plan,
    )
    # Before anything is started: every day of the run must have a tariff.
    DatedTariff(enrolment, community).check()
    watch.stage("starting the chain")
    with Devnet(timestamp=start - PERIOD_EPOCHS // 2 * epoch_s) as devnet:
        chain = Chain(devnet.url, after_send=devnet.mine)
        parameters = Parameters.load(parameters_path("devnet"))
        market = parameters.market.model_copy(
            update={"genesis": start - PERIOD_EPOCHS * epoch_s, "epoch_seconds": epoch_s}
        )
        parameters = parameters.model_copy(update={"market": market, "url": devnet.url})
        work = _Replay(settings, watch, devnet, chain, community, parameters, enrolment)
        _prepare(work)
        if settings.real_time:
            _conduct_in_real_time(work)
        else:
            _conduct(work)
        watch.stage("auditing")
        run = _collect(work, started_at, began)
        yield Replayed(run, devnet, chain, community, parameters, enrolment)


def _prepare(work: _Replay) -> None:
    settings, chain = work.settings, work.chain
    settings.out.mkdir(parents=True, exist_ok=True)
    work.watch.stage("deploying")
    record = settings.out / "deployment.json"
    record.unlink(missing_ok=True)
    deploy(chain, signer(work.parameters.roles.regulator, chain.chain_id), work.parameters, record)
    work.watch.stage("enrolling")
    work.enrolment.save(settings.out)
    roles = work.parameters.roles
    work.outcomes += enrol(
        chain,
        work.enrolment,
        work.community,
        distributors=[signer(who, chain.chain_id) for who in roles.distributors],
        issuer=signer(roles.issuers[0], chain.chain_id),
    )
    if chain.head().timestamp >= work.enrolment.chain_start:
        raise ReplayError("enrolling took longer than the chain had before the data starts: lengthen --epoch-seconds")


@dataclass(frozen=True, slots=True)
class _Bots:
    keeper: Keeper
    gateway: Gateway
    agents: Agents


def _bots(work: _Replay) -> _Bots:
    chain, enrolment, roles = work.chain, work.enrolment, work.parameters.roles
    first = chain.calendar.epoch_at(enrolment.chain_start)
    return _Bots(
        Keeper(chain, signer(roles.market_makers[0], chain.chain_id), [enrolment.zone]),
        Gateway(chain, signer(roles.minters[0], chain.chain_id), simulated_meters(enrolment, work.community)),
        Agents(
            chain,
            agents(enrolment),
            DatedTariff(enrolment, work.community),
            enrolment.seed,
            enrolment.trading_epochs(first),
        ),
    )


def _conduct(work: _Replay) -> None:
    """Epoch after epoch: clear the last, read meters, retire, trade, and on to the next."""
    bots, enrolment = _bots(work), work.enrolment
    work.watch.stage("trading")
    for number in range(1, enrolment.intervals + 2):
        work.devnet.mine(enrolment.chain_start + number * enrolment.epoch_seconds)
        done = bots.keeper.step()
        # GRID is retired again after the readings: one's own export covers one's own import first.
        done += bots.gateway.step() + bots.keeper.step() + bots.agents.step()
        _note(work, done)


def _conduct_in_real_time(work: _Replay) -> None:
    """A block every two seconds; everyone acts on each."""
    bots, enrolment, node = _bots(work), work.enrolment, work.devnet.node
    work.watch.stage(f"trading in real time, {enrolment.epoch_seconds} s an epoch")
    work.chain.after_send = None
    node.request("anvil_removeBlockTimestampInterval")
    # However long the preparation took: neither wait for the first interval nor come too late for it.
    node.request("evm_setTime", enrolment.chain_start)
    node.request("evm_setIntervalMining", BLOCK_TIME_S)
    end = enrolment.chain_end + enrolment.epoch_seconds
    cleared_last = False
    while not cleared_last:
        head = work.chain.head()
        done = bots.keeper.step() + bots.gateway.step() + bots.agents.step()
        _note(work, done)
        cleared_last = head.timestamp >= end and work.chain.clearing_due(enrolment.zone) is None and not done
        time.sleep(BLOCK_TIME_S / 2)
    node.request("evm_setIntervalMining", 0)


def _note(work: _Replay, outcomes: Sequence[Outcome]) -> None:
    """Keeps outcomes for the gas table and tells the watcher of cleared epochs."""
    work.outcomes += outcomes
    for outcome in outcomes:
        if outcome.error is not None:
            raise ReplayError(f"{outcome.call} of {outcome.sender} was refused: {outcome.error}") from outcome.error
        for event in work.chain.decode_logs(outcome.logs):
            for epoch, count in orders_entered(event):
                work.orders[epoch] += count
            if event.name == "EpochCleared":
                _tell(work, event.args["epoch"], event.args["result"], outcome.gas_used)


def orders_entered(event: Event) -> Iterator[tuple[int, int]]:
    """Epoch and number of the orders that an event tells of, whoever brought them; nothing for other events."""
    if event.name == "OrdersEntered":
        yield event.args["epoch"], len(event.args["orders"])
    elif event.name in ("SignedOrderEntered", "BundleEntered"):
        entered = EnteredBundle.from_event(event.args)
        yield entered.epoch, len(entered.orders)


def _tell(work: _Replay, epoch: int, result: dict[str, int], gas: int) -> None:
    start = work.chain.calendar.start(epoch)
    number = (start - work.enrolment.chain_start) // work.enrolment.epoch_seconds
    work.watch.epoch(
        Progress(
            number,
            work.enrolment.intervals,
            epoch,
            work.enrolment.data_time(work.community, start),
            result["price2"],
            result["volumeWh"],
            work.orders[epoch],
            gas,
        )
    )


# ------------------------------------------------------------------ reading it all back


def _collect(work: _Replay, started_at: datetime, began: float) -> Run:
    chain, enrolment = work.chain, work.enrolment
    head = chain.head()
    events = list(chain.events_paged(KINDS, 0, head.number, page=LOG_BLOCKS))
    headers = chain.node.batch([("eth_getBlockByNumber", [hex(n), False]) for n in range(head.number + 1)])
    blocks = {
        number: _Block(chain.calendar.epoch_at(timestamp), int(header["gasUsed"], 16))
        for number, header in enumerate(headers)
        if (timestamp := int(header["timestamp"], 16)) >= chain.calendar.genesis
    }
    ledger = rebuild(events, chain.money, lambda block: blocks[block].epoch, blocks[head.number].epoch)
    state = read_state(chain, head.number)
    tariff, _ = DatedTariff(enrolment, work.community).at(enrolment.chain_start)
    names = {dev_signer(p.dev_account).address: p.name for p in enrolment.participants}
    trading = enrolment.trading_epochs(chain.calendar.epoch_at(enrolment.chain_start))
    return Run(
        community=CommunityInfo(
            name=work.community.name,
            file=work.settings.community_file.name,
            sha256=work.community.sha256,
            meters=len(work.community.meters),
            prosumers=sum(meter.role == "prosumer" for meter in work.community.meters),
            interval_s=work.community.interval_s,
            notes=_notes(work),
        ),
        tariff=TariffInfo(
            plan=tariff.plan,
            description=tariff.describe(),
            assumptions=list(tariff.assumptions),
            buyback_tick=tariff.buyback_tick,
            vat_percent=tariff.vat_percent,
        ),
        market=MarketInfo(
            chain_id=chain.chain_id,
            zone=enrolment.zone,
            genesis=chain.calendar.genesis,
            epoch_seconds=chain.calendar.epoch_seconds,
            tick_wei=chain.money.tick_wei,
            money_unit_wei=chain.money.unit_wei,
            addresses=chain.addresses,
            roles=_roles(work.parameters, chain.chain_id),
        ),
        run=RunInfo(
            days=[day.isoformat() for day in _replayed_days(work)],
            seed=enrolment.seed,
            real_time=work.settings.real_time,
            first_epoch=trading.start,
            last_epoch=trading.stop - 1,
            wall_seconds=int(time.monotonic() - began),
            commit=commit(),
            version=__version__,
            started_at=started_at.isoformat(timespec="seconds"),
        ),
        epochs=_epoch_rows(work, ledger, trading, blocks),
        trades=_trade_rows(ledger, names, chain),
        readings=[
            ReadingRow(
                meter_id=r.meter_id,
                account=r.account,
                interval_end=r.interval_end,
                import_register_wh=r.import_register_wh,
                export_register_wh=r.export_register_wh,
                import_wh=r.import_wh,
                export_wh=r.export_wh,
                tx_hash=r.tx_hash,
            )
            for r in ledger.readings
        ],
        participants=_participant_rows(work, ledger),
        flows=_flow_rows(ledger, names),
        gas=_gas_rows(work.outcomes),
        audit=audit(ledger, state, chain.money),
    )


def _notes(work: _Replay) -> list[str]:
    """What a reader must know of the data: the first lines of NOTES.txt beside the file, and moved dates."""
    path = work.settings.community_file.parent / "NOTES.txt"
    notes = path.read_text(encoding="utf-8").strip().splitlines() if path.exists() else []
    if work.settings.real_time or work.enrolment.epoch_seconds != work.enrolment.interval_s:
        notes.append(
            f"Dates were moved: each interval of {work.enrolment.interval_s} s was replayed in an epoch of "
            f"{work.enrolment.epoch_seconds} s, and power limits were scaled accordingly."
        )
    return notes


def _roles(parameters: Parameters, chain_id: int) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {"regulator": [signer(parameters.roles.regulator, chain_id).address]}
    for role, address in parameters.holders(chain_id):
        named.setdefault(role, []).append(address)
    return named


class _Block(NamedTuple):
    epoch: int
    gas_used: int


def _epoch_rows(work: _Replay, ledger: Ledger, trading: range, blocks: dict[int, _Block]) -> list[EpochRow]:
    chain, enrolment = work.chain, work.enrolment
    gas: dict[int, int] = defaultdict(int)
    for block in blocks.values():
        gas[block.epoch] += block.gas_used
    clear_gas = {o.block: o.gas_used for o in work.outcomes if o.call.function == "matchOrders" and o.ok}
    minted, retired = _by_epoch(ledger.minted, blocks), _by_epoch([(b, w) for b, _, w in ledger.retired], blocks)
    imports: dict[int, int] = defaultdict(int)
    exports: dict[int, int] = defaultdict(int)
    for reading in ledger.readings:
        imports[reading.interval_end] += reading.import_wh
        exports[reading.interval_end] += reading.export_wh
    tariff = DatedTariff(enrolment, work.community)
    rows = []
    for epoch in trading:
        start = chain.calendar.start(epoch)
        book = ledger.epochs.get((enrolment.zone, epoch), EpochBook())
        result = book.reference()
        bids, asks = _volumes(book, Side.BID), _volumes(book, Side.ASK)
        corridor = tariff.corridor(start)
        rows.append(
            EpochRow(
                epoch=epoch,
                start=enrolment.data_time(work.community, start).isoformat(),
                interval_start=enrolment.data_time(work.community, start - chain.calendar.epoch_seconds).isoformat(),
                import_wh=imports[start],
                export_wh=exports[start],
                minted_wh=minted[epoch],
                retired_wh=retired[epoch],
                orders=len(book.live),
                bids=bids,
                asks=asks,
                price2=result.price2,
                lower_tick=result.lower_tick,
                upper_tick=result.upper_tick,
                long_side=int(result.long_side),
                filled_wh=result.filled_wh,
                offered_wh=result.offered_wh,
                volume_wh=result.volume_wh,
                buyback_tick=corridor.buyback_tick,
                retail_tick=corridor.retail_tick,
                clear_gas=clear_gas.get(book.cleared_block, 0),
                total_gas=gas[epoch],
                cleared_block=book.cleared_block,
            )
        )
    return rows


def _by_epoch(amounts: Iterable[tuple[int, int]], blocks: dict[int, _Block]) -> dict[int, int]:
    sums: dict[int, int] = defaultdict(int)
    for block, energy_wh in amounts:
        sums[blocks[block].epoch] += energy_wh
    return sums


def _volumes(book: EpochBook, side: Side) -> list[TickVolume]:
    volumes: dict[int, int] = defaultdict(int)
    for placed in book.live:
        if placed.order.side is side:
            volumes[placed.order.tick] += placed.order.quantity_wh
    return [TickVolume(tick=tick, energy_wh=volumes[tick]) for tick in sorted(volumes)]


def _trade_rows(ledger: Ledger, names: dict[str, str], chain: Chain) -> list[TradeRow]:
    rows = []
    for (_, epoch), book in ledger.epochs.items():
        result = book.reference()
        for placed in book.live:
            filled = fill(result, placed.order)
            if filled.energy_units == 0:
                continue
            rows.append(
                TradeRow(
                    epoch=epoch,
                    account=placed.account,
                    participant=names.get(placed.account, placed.account),
                    order_id=str(placed.order_id),
                    side="buy" if placed.order.side is Side.BID else "sell",
                    limit_tick=placed.order.tick,
                    quantity_wh=placed.order.quantity_wh,
                    price2=result.price2,
                    energy_uwh=filled.energy_units,
                    money_wei=chain.money.to_wei(filled.money_units),
                    tx_hash=placed.tx_hash,
                )
            )
    return rows


def _participant_rows(work: _Replay, ledger: Ledger) -> list[ParticipantRow]:
    tariff = DatedTariff(work.enrolment, work.community)
    rows = []
    for participant in work.enrolment.participants:
        address = dev_signer(participant.dev_account).address
        book = ledger.accounts[address]
        meters = [work.community.meter(meter_id) for meter_id in participant.meter_ids]
        import_wh, export_wh = (
            sum(of(meter, i) for meter in meters for i in work.enrolment.replayed)
            for of in (work.community.import_wh, work.community.export_wh)
        )
        # What is still outstanding at the end of the replay would be bought from the grid as well.
        left = [*book.grid_import, *book.outstanding]
        grid = _cost(tariff, ((o.interval_end - work.enrolment.epoch_seconds, o.energy_wh) for o in left))
        paid_wei, earned_wei = work.chain.money.to_wei(book.paid_units), work.chain.money.to_wei(book.earned_units)
        # [R7] what a participant owes is rounded up, what it is owed down.
        bill = grid.all_uthb - (-paid_wei // WEI_PER_UTHB) - earned_wei // WEI_PER_UTHB
        retail_only = _cost(tariff, _imports(work, meters))
        first, _ = tariff.at(work.enrolment.chain_start)
        buyback = first.buyback_credit_uthb(export_wh)
        service = sum(first.service_uthb(day) for day in _replayed_days(work)) * len(meters)
        # The utility has no bill without the market to compare with.
        baseline = bill if participant.role is Role.UTILITY else retail_only.all_uthb - buyback
        rows.append(
            ParticipantRow(
                account=address,
                name=participant.name,
                role=participant.role.value,
                meter_ids=participant.meter_ids,
                consumption_wh=_total(meters, "consumption_wh", work.enrolment.replayed),
                generation_wh=_total(meters, "generation_wh", work.enrolment.replayed),
                import_wh=import_wh,
                export_wh=export_wh,
                bought_uwh=book.bought_uwh,
                sold_uwh=book.sold_uwh,
                paid_wei=paid_wei,
                earned_wei=earned_wei,
                retired_wh=book.retired_wh + book.surrendered_wh,
                outstanding_wh=book.outstanding_wh,
                grid_import_wh=book.grid_import_wh,
                grid_held_uwh=book.energy_free_uwh,
                grid_cost_uthb=grid.all_uthb,
                retail_only_cost_uthb=retail_only.all_uthb,
                buyback_only_income_uthb=buyback,
                bill_uthb=bill,
                baseline_bill_uthb=baseline,
                saving_uthb=baseline - bill,
                grid_ft_uthb=grid.ft_uthb,
                retail_only_ft_uthb=retail_only.ft_uthb,
                service_uthb=service,
                vat_uthb=first.vat_uthb(grid.all_uthb + service),
                baseline_vat_uthb=first.vat_uthb(retail_only.all_uthb + service),
            )
        )
    return rows


def _total(meters: Sequence[CommunityMeter], series: str, intervals: range) -> int:
    return sum(sum(getattr(meter, series)[intervals.start : intervals.stop]) for meter in meters)


class _Cost(NamedTuple):
    """What the grid charges for energy before VAT, and how much of it is Ft."""

    all_uthb: int
    ft_uthb: int


def _cost(tariff: DatedTariff, imports: Iterable[tuple[int, int]]) -> _Cost:
    """Grid import, as (start of interval, Wh), each interval at its own retail price and rounded up."""
    all_uthb = ft_uthb = 0
    for timestamp, energy_wh in imports:
        dated, when = tariff.at(timestamp)
        all_uthb += dated.grid_cost_uthb(energy_wh, when)
        ft_uthb += dated.ft_cost_uthb(energy_wh)
    return _Cost(all_uthb, ft_uthb)


def _imports(work: _Replay, meters: Sequence[CommunityMeter]) -> Iterator[tuple[int, int]]:
    """All import of the meters, as (start of interval, Wh)."""
    for n, i in enumerate(work.enrolment.replayed):
        start = work.enrolment.chain_start + n * work.enrolment.epoch_seconds
        for meter in meters:
            yield start, work.community.import_wh(meter, i)


def _replayed_days(work: _Replay) -> list[date]:
    return sorted({work.community.start_of(i).date() for i in work.enrolment.replayed})


def _flow_rows(ledger: Ledger, names: dict[str, str]) -> list[FlowRow]:
    """Who supplied whom: each epoch's purchases shared among its sellers in proportion to what they sold.

    An attribution for people, rounded to whole Wh: the auction itself knows no counterparties.
    """
    flows: dict[tuple[str, str], int] = defaultdict(int)
    for book in ledger.epochs.values():
        result = book.reference()
        if not result.traded:
            continue
        sold, bought = _filled(book.live, book, Side.ASK), _filled(book.live, book, Side.BID)
        total = sum(sold.values())
        for seller, given in sold.items():
            for buyer, taken in bought.items():
                flows[(names.get(seller, seller), names.get(buyer, buyer))] += given * taken // total
    return [
        FlowRow(seller=seller, buyer=buyer, energy_wh=energy_wh)
        for (seller, buyer), energy in sorted(flows.items())
        if (energy_wh := (energy + ENERGY_UNITS_PER_WH // 2) // ENERGY_UNITS_PER_WH)
    ]


def _filled(live: Sequence[PlacedOrder], book: EpochBook, side: Side) -> dict[str, int]:
    result = book.reference()
    filled: dict[str, int] = defaultdict(int)
    for placed in live:
        if placed.order.side is side:
            filled[placed.account] += fill(result, placed.order).energy_units
    return filled


def _gas_rows(outcomes: Sequence[Outcome]) -> list[GasRow]:
    by_operation: dict[str, list[int]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.tx_hash is not None:
            by_operation[outcome.call.label or str(outcome.call)].append(outcome.gas_used)
    return [
        GasRow(
            operation=operation,
            count=len(gas),
            total=sum(gas),
            minimum=min(gas),
            median=int(statistics.median_low(gas)),
            maximum=max(gas),
        )
        for operation, gas in sorted(by_operation.items())
    ]
