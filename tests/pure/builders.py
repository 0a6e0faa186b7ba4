"""Makes a plausible `Run` without a chain: meters' series in, the reference auction at work, a report's data out.

Trading is as simple as can be: every epoch a member offers all the GRID it has, or bids for what it just imported; the
utility bids for the rest at buyback. The sums are real: bills, flows and audit follow from the trades.
"""

import random
import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

from busbar.clearing import Result, clear, fill, histogram
from busbar.orders import Order, Side
from busbar.results import (
    AuditCheck,
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
from busbar.units import ENERGY_UNITS_PER_WH, MIN_ORDER_WH, SATANG_WEI, Money

BANGKOK = timezone(timedelta(hours=7))
NOON = datetime(2026, 3, 14, 12, tzinfo=BANGKOK)
BUYBACK, RETAIL = 220, 431
RETAIL_UTHB_PER_KWH, BUYBACK_UTHB_PER_KWH, VAT_PERCENT = 4_319_000, 2_200_000, 7
FT_UTHB_PER_KWH, SERVICE_UTHB = 97_200, 794_194
EPOCH_S = 900
UTILITY = "0x" + "e9" * 20


class Member(NamedTuple):
    """A participant with one meter; both series in Wh per interval."""

    name: str
    role: str
    consumption_wh: tuple[int, ...]
    generation_wh: tuple[int, ...]


# Two roofs and two customers over three quarter-hours: a good noon, a cloud, an empty epoch.
STREET = (
    Member("H01", "prosumer", (120, 150, 400), (1_620, 700, 0)),
    Member("H02", "prosumer", (333, 500, 700), (1_033, 0, 0)),
    Member("C01", "consumer", (800, 900, 850), (0, 0, 0)),
    Member("C02", "consumer", (0, 410, 777), (0, 0, 0)),
)


@dataclass
class Market:
    """The books of the builder: who holds what, by account; energy held in micro-Wh, all else as named."""

    members: tuple[Member, ...]
    rng: random.Random
    utility: str
    first_epoch: int
    start: datetime
    held_uwh: dict = field(default_factory=lambda: defaultdict(int))
    open_wh: dict = field(default_factory=lambda: defaultdict(int))
    sums: dict = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    flows: dict = field(default_factory=lambda: defaultdict(int))
    epochs: list = field(default_factory=list)
    trades: list = field(default_factory=list)
    readings: list = field(default_factory=list)

    def __post_init__(self):
        self.accounts = {member.name: f"0x{n:040x}" for n, member in enumerate(self.members, 0xA11CE)}
        self.names = {account: name for name, account in self.accounts.items()} | {UTILITY: self.utility}

    def play(self, i: int) -> None:
        """One interval: read, retire, trade, retire."""
        imports, exports = self.read(i)
        retired = sum(self.retire(account) for account in self.accounts.values())
        orders = self.orders(imports)
        bids, asks = histogram(order for _, order in orders)
        result = clear(bids, asks)
        self.settle(self.first_epoch + i, result, orders)
        retired += sum(self.retire(account) for account in (*self.accounts.values(), UTILITY))
        moment = self.start + timedelta(seconds=EPOCH_S * i)
        self.epochs.append(
            EpochRow(
                epoch=self.first_epoch + i,
                start=(moment + timedelta(seconds=EPOCH_S)).isoformat(),
                interval_start=moment.isoformat(),
                import_wh=sum(imports.values()),
                export_wh=exports,
                minted_wh=exports,
                retired_wh=retired,
                orders=len(orders),
                bids=_levels(bids),
                asks=_levels(asks),
                price2=result.price2,
                lower_tick=result.lower_tick,
                upper_tick=result.upper_tick,
                long_side=int(result.long_side),
                filled_wh=result.filled_wh,
                offered_wh=result.offered_wh,
                volume_wh=result.volume_wh,
                buyback_tick=BUYBACK,
                retail_tick=RETAIL,
                clear_gas=96_000 + i,
                total_gas=96_000 + i + 15_000 * len(orders) + 26_000 * len(self.members),
                cleared_block=1_000 + i,
            )
        )

    def read(self, i: int) -> tuple[dict[str, int], int]:
        """Accepts every meter's reading: import by account, and the export of all, minted."""
        imports, exports = {}, 0
        for member in self.members:
            account, net = self.accounts[member.name], member.consumption_wh[i] - member.generation_wh[i]
            import_wh, export_wh = max(0, net), max(0, -net)
            mine = self.sums[account]
            mine["import"] += import_wh
            mine["export"] += export_wh
            self.open_wh[account] += import_wh
            self.held_uwh[account] += export_wh * ENERGY_UNITS_PER_WH
            imports[account], exports = import_wh, exports + export_wh
            self.readings.append(
                ReadingRow(
                    meter_id=_meter_id(member),
                    account=account,
                    interval_end=int(self.start.timestamp()) + EPOCH_S * (i + 1),
                    import_register_wh=1_000_000 + mine["import"],
                    export_register_wh=500_000 + mine["export"],
                    import_wh=import_wh,
                    export_wh=export_wh,
                    tx_hash=f"0x{self.first_epoch + i:064x}",
                )
            )
        return imports, exports

    def orders(self, imports: dict[str, int]) -> list[tuple[str, Order]]:
        """What everybody wants, at random limits inside the corridor."""
        orders = []
        for account, import_wh in imports.items():
            spare_wh = self.held_uwh[account] // ENERGY_UNITS_PER_WH
            if spare_wh >= MIN_ORDER_WH:
                limit = BUYBACK + max(0, self.rng.randint(-60, 120))
                orders.append((account, Order(Side.ASK, limit, spare_wh)))
            elif min(self.open_wh[account], import_wh) >= MIN_ORDER_WH:
                orders.append((account, Order(Side.BID, self.rng.randint(BUYBACK + 60, RETAIL), import_wh)))
        return [*orders, (UTILITY, Order(Side.BID, BUYBACK, 10_000_000))]

    def settle(self, epoch: int, result: Result, orders: list[tuple[str, Order]]) -> None:
        """Moves energy and money, and shares sales among buyers for the flows."""
        filled = {Side.BID: {}, Side.ASK: {}}
        for n, (account, order) in enumerate(orders):
            done = fill(result, order)
            if not done.energy_units:
                continue
            buys = order.side is Side.BID
            wei = Money(SATANG_WEI).to_wei(done.money_units)
            filled[order.side][account] = done.energy_units
            self.held_uwh[account] += done.energy_units if buys else -done.energy_units
            self.sums[account]["bought" if buys else "sold"] += done.energy_units
            self.sums[account]["paid" if buys else "earned"] += wei
            self.trades.append(
                TradeRow(
                    epoch=epoch,
                    account=account,
                    participant=self.names[account],
                    order_id=f"{epoch}-{n}",
                    side="buy" if buys else "sell",
                    limit_tick=order.tick,
                    quantity_wh=order.quantity_wh,
                    price2=result.price2,
                    energy_uwh=done.energy_units,
                    money_wei=wei,
                    tx_hash=f"0x{epoch * 1_000 + n:064x}",
                )
            )
        for seller, sold in filled[Side.ASK].items():
            for buyer, bought in filled[Side.BID].items():
                share = sold * bought // (result.volume_wh * ENERGY_UNITS_PER_WH)
                self.flows[self.names[seller], self.names[buyer]] += share

    def retire(self, account: str) -> int:
        """Burns what an account holds against the import it has not covered, in whole Wh; the utility burns all."""
        wh = self.held_uwh[account] // ENERGY_UNITS_PER_WH
        if account != UTILITY:
            wh = min(self.open_wh[account], wh)
            self.open_wh[account] -= wh
        self.held_uwh[account] -= wh * ENERGY_UNITS_PER_WH
        self.sums[account]["retired"] += wh
        return wh

    def participant(self, member: Member) -> ParticipantRow:
        """A member's row: bills before VAT, and what comes on top of them."""
        account = self.accounts[member.name]
        mine = self.sums[account]
        grid = -(-self.open_wh[account] * RETAIL_UTHB_PER_KWH // 1_000)
        retail = -(-mine["import"] * RETAIL_UTHB_PER_KWH // 1_000)
        buyback = mine["export"] * BUYBACK_UTHB_PER_KWH // 1_000
        bill = grid + -(-(mine["paid"] - mine["earned"]) // 10**12)
        baseline = retail - buyback
        return ParticipantRow(
            account=account,
            name=member.name,
            role=member.role,
            meter_ids=[_meter_id(member)],
            consumption_wh=sum(member.consumption_wh),
            generation_wh=sum(member.generation_wh),
            import_wh=mine["import"],
            export_wh=mine["export"],
            bought_uwh=mine["bought"],
            sold_uwh=mine["sold"],
            paid_wei=mine["paid"],
            earned_wei=mine["earned"],
            retired_wh=mine["retired"],
            outstanding_wh=self.open_wh[account] // 3,
            grid_import_wh=self.open_wh[account] - self.open_wh[account] // 3,
            grid_held_uwh=self.held_uwh[account],
            grid_cost_uthb=grid,
            retail_only_cost_uthb=retail,
            buyback_only_income_uthb=buyback,
            bill_uthb=bill,
            baseline_bill_uthb=baseline,
            saving_uthb=baseline - bill,
            grid_ft_uthb=self.open_wh[account] * FT_UTHB_PER_KWH // 1_000,
            retail_only_ft_uthb=mine["import"] * FT_UTHB_PER_KWH // 1_000,
            service_uthb=SERVICE_UTHB,
            vat_uthb=-(-(grid + SERVICE_UTHB) * VAT_PERCENT // 100),
            baseline_vat_uthb=-(-(retail + SERVICE_UTHB) * VAT_PERCENT // 100),
        )

    def utility_participant(self) -> ParticipantRow:
        """The utility's row, all zero but for what it bought."""
        mine = self.sums[UTILITY]
        numbers = {name for name, info in ParticipantRow.model_fields.items() if info.annotation is int}
        return ParticipantRow(
            **dict.fromkeys(numbers, 0)
            | {
                "account": UTILITY,
                "name": self.utility,
                "role": "utility",
                "meter_ids": [],
                "bought_uwh": mine["bought"],
                "paid_wei": mine["paid"],
                "retired_wh": mine["retired"],
                "grid_held_uwh": self.held_uwh[UTILITY],
            }
        )


def make_run(members=STREET, *, start=NOON, seed=24, utility="MEA", **sections) -> Run:
    """A run over the members' intervals; `sections` replace whole parts of it."""
    intervals = len(members[0].consumption_wh)
    market = Market(tuple(members), random.Random(seed), utility, 970_517, start)
    for i in range(intervals):
        market.play(i)
    made = {
        "community": CommunityInfo(
            name="neighbourhood",
            file="neighbourhood.csv",
            sha256="5e" * 32,
            meters=len(members),
            prosumers=sum(member.role == "prosumer" for member in members),
            interval_s=EPOCH_S,
            notes=[
                "Quarter-hours derive from hourly measurements.",
                "The community is a composite: its meters never stood on one feeder, and none of it is Thai.",
            ],
        ),
        "tariff": TariffInfo(
            plan="residential-1.2",
            description="tariff residential-1.2 on 2026-03-14\n  retail 4.3190, buyback 2.2000 THB/kWh",
            assumptions=["flat-marginal: every kWh costs the price of block 151-400 kWh/month"],
            buyback_tick=BUYBACK,
            vat_percent=VAT_PERCENT,
        ),
        "market": MarketInfo(
            chain_id=31337,
            zone=1,
            genesis=int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()),
            epoch_seconds=EPOCH_S,
            tick_wei=SATANG_WEI,
            money_unit_wei=Money(SATANG_WEI).unit_wei,
            addresses={name: f"0x{n:040x}" for n, name in enumerate(("Registry", "Trading", "Metering"), 0xC0)},
            roles={"regulator": ["0x" + "11" * 20], "keeper": ["0x" + "22" * 20, "0x" + "33" * 20]},
        ),
        "run": RunInfo(
            days=sorted({row.interval_start[:10] for row in market.epochs}),
            seed=seed,
            real_time=False,
            first_epoch=market.first_epoch,
            last_epoch=market.first_epoch + intervals - 1,
            wall_seconds=83,
            commit="0123456789abcdef0123456789abcdef01234567",
            version="0.1.0",
            started_at="2026-04-01T09:30:00+00:00",
        ),
        "epochs": market.epochs,
        "trades": market.trades,
        "readings": market.readings,
        "participants": [*map(market.participant, members), market.utility_participant()],
        "flows": _flows(market),
        "gas": _gas(market),
        "audit": _audit(market),
    }
    return Run(**made | sections)


def failed_check() -> AuditCheck:
    """A sum that does not come out."""
    return AuditCheck(
        name="GRID supply", ok=False, left="1234567", right="1234568", unit="GRID wei", meaning="Minted less burnt."
    )


def _meter_id(member: Member) -> str:
    return f"meter-{member.name}"[:31]


def _levels(volumes) -> list[TickVolume]:
    return [TickVolume(tick=tick, energy_wh=wh) for tick, wh in sorted(volumes.items())]


def _flows(market: Market) -> list[FlowRow]:
    return [
        FlowRow(seller=seller, buyer=buyer, energy_wh=uwh // ENERGY_UNITS_PER_WH)
        for (seller, buyer), uwh in sorted(market.flows.items())
        if uwh >= ENERGY_UNITS_PER_WH
    ]


def _gas(market: Market) -> list[GasRow]:
    readings = 26_000 * len(market.members)
    used = {
        "clear an epoch": [epoch.clear_gas for epoch in market.epochs],
        f"{len(market.members)} signed readings": [readings] * len(market.epochs),
    }
    return [
        GasRow(
            operation=operation,
            count=len(gas),
            total=sum(gas),
            minimum=min(gas),
            median=statistics.median_low(gas),
            maximum=max(gas),
        )
        for operation, gas in used.items()
    ]


def _audit(market: Market) -> list[AuditCheck]:
    bought, sold = (sum(trade.energy_uwh for trade in market.trades if trade.side == side) for side in ("buy", "sell"))
    minted, exported = sum(row.minted_wh for row in market.epochs), sum(row.export_wh for row in market.readings)
    return [
        AuditCheck(
            name="Sales cover purchases",
            ok=sold >= bought,
            left=str(sold),
            right=str(bought),
            unit="micro-Wh",
            meaning="Energy sold is energy bought, plus the dust of rounding.",
        ),
        AuditCheck(
            name="GRID minted",
            ok=minted == exported,
            left=str(minted),
            right=str(exported),
            unit="Wh",
            meaning="Every accepted Wh of export was minted, once.",
        ),
    ]
