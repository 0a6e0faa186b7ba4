"""Makes a plausible `Run` without a chain: meters' series in, the reference auction at work, a report's data out.

Trading is as simple as can be: every epoch a member offers all the GRID it has, or bids for what it just imported; the
utility bids for the rest at buyback. The sums are real: bills, flows and audit follow from the trades.
"""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

from busbar.clearing import clear, fill
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


def make_run(members=STREET, *, start=NOON, seed=7, utility="MEA", audit=None, notes=None, **changes) -> Run:
    """A run over the members' intervals; `changes` replace whole sections of it."""
    rng = random.Random(seed)
    accounts = {member.name: f"0x{n:040x}" for n, member in enumerate(members, 0xA11CE)}
    held = defaultdict(int)  # micro-Wh
    open_wh, sums = defaultdict(int), defaultdict(lambda: defaultdict(int))
    epochs, trades, readings, flows = [], [], [], defaultdict(int)
    registers = defaultdict(lambda: [1_000_000, 500_000])
    intervals = len(members[0].consumption_wh)
    first_epoch = int(start.timestamp()) // EPOCH_S % 1_000_000 + 1
    for i in range(intervals):
        epoch = first_epoch + i
        interval_start = start + timedelta(seconds=EPOCH_S * i)
        minted = imported = 0
        just = {}
        for member in members:
            account, net = accounts[member.name], member.consumption_wh[i] - member.generation_wh[i]
            import_wh, export_wh = max(0, net), max(0, -net)
            open_wh[account] += import_wh
            just[account] = import_wh
            held[account] += export_wh * ENERGY_UNITS_PER_WH
            imported, minted = imported + import_wh, minted + export_wh
            sums[account]["import"] += import_wh
            sums[account]["export"] += export_wh
            registers[account][0] += import_wh
            registers[account][1] += export_wh
            readings.append(
                ReadingRow(
                    meter_id=f"meter-{member.name}"[:31],
                    account=account,
                    interval_end=int(interval_start.timestamp()) + EPOCH_S,
                    import_register_wh=registers[account][0],
                    export_register_wh=registers[account][1],
                    import_wh=import_wh,
                    export_wh=export_wh,
                    tx_hash=f"0x{epoch:064x}",
                )
            )
        retired = sum(_retire(account, held, open_wh, sums) for account in accounts.values())
        orders = []
        for account, just_wh in just.items():
            spare_wh = held[account] // ENERGY_UNITS_PER_WH
            if spare_wh >= MIN_ORDER_WH:
                orders.append((account, Order(Side.ASK, BUYBACK + max(0, rng.randint(-60, 120)), spare_wh)))
            elif min(open_wh[account], just_wh) >= MIN_ORDER_WH:
                orders.append((account, Order(Side.BID, rng.randint(BUYBACK + 60, RETAIL), just_wh)))
        orders.append((UTILITY, Order(Side.BID, BUYBACK, 10_000_000)))
        book = {Side.BID: defaultdict(int), Side.ASK: defaultdict(int)}
        for _, order in orders:
            book[order.side][order.tick] += order.quantity_wh
        result = clear(book[Side.BID], book[Side.ASK])
        names = {account: name for name, account in accounts.items()} | {UTILITY: utility}
        shares = {Side.BID: {}, Side.ASK: {}}
        for n, (account, order) in enumerate(orders):
            done = fill(result, order)
            if not done.energy_units:
                continue
            buying = order.side is Side.BID
            held[account] += done.energy_units if buying else -done.energy_units
            shares[order.side][account] = done.energy_units
            wei = Money(SATANG_WEI).to_wei(done.money_units)
            sums[account]["bought" if buying else "sold"] += done.energy_units
            sums[account]["paid" if buying else "earned"] += wei
            trades.append(
                TradeRow(
                    epoch=epoch,
                    account=account,
                    participant=names[account],
                    order_id=f"{epoch}-{n}",
                    side="buy" if buying else "sell",
                    limit_tick=order.tick,
                    quantity_wh=order.quantity_wh,
                    price2=result.price2,
                    energy_uwh=done.energy_units,
                    money_wei=wei,
                    tx_hash=f"0x{epoch * 1_000 + n:064x}",
                )
            )
        for seller, sold in shares[Side.ASK].items():
            for buyer, bought in shares[Side.BID].items():
                flows[seller, buyer] += sold * bought // (result.volume_wh * ENERGY_UNITS_PER_WH**2)
        retired += sum(_retire(account, held, open_wh, sums) for account in (*accounts.values(), UTILITY))
        epochs.append(
            EpochRow(
                epoch=epoch,
                start=(interval_start + timedelta(seconds=EPOCH_S)).isoformat(),
                interval_start=interval_start.isoformat(),
                import_wh=imported,
                export_wh=minted,
                minted_wh=minted,
                retired_wh=retired,
                orders=len(orders),
                bids=_levels(book[Side.BID]),
                asks=_levels(book[Side.ASK]),
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
                total_gas=96_000 + i + 15_000 * len(orders) + 26_000 * len(members),
                cleared_block=1_000 + i,
            )
        )
    rows = [_participant(member, accounts[member.name], sums, held, open_wh) for member in members]
    rows.append(_utility(utility, sums, held))
    bought, sold = (sum(trade.energy_uwh for trade in trades if trade.side == side) for side in ("buy", "sell"))
    sections = {
        "community": CommunityInfo(
            name="Neighbourhood",
            file="data/neighbourhood/neighbourhood.csv",
            sha256="5e" * 32,
            meters=len(members),
            prosumers=sum(member.role == "prosumer" for member in members),
            interval_s=EPOCH_S,
            notes=notes
            or [
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
            zone=0,
            genesis=int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()),
            epoch_seconds=EPOCH_S,
            tick_wei=SATANG_WEI,
            money_unit_wei=Money(SATANG_WEI).unit_wei,
            addresses={name: f"0x{n:040x}" for n, name in enumerate(("Registry", "Trading", "Metering"), 0xC0)},
            roles={"regulator": ["0x" + "11" * 20], "keeper": ["0x" + "22" * 20, "0x" + "33" * 20]},
        ),
        "run": RunInfo(
            days=sorted({(start + timedelta(seconds=EPOCH_S * i)).date().isoformat() for i in range(intervals)}),
            seed=seed,
            real_time=False,
            first_epoch=first_epoch,
            last_epoch=first_epoch + intervals - 1,
            wall_seconds=83,
            commit="0123456789abcdef0123456789abcdef01234567",
            version="0.1.0",
            started_at="2026-04-01T09:30:00+07:00",
        ),
        "epochs": epochs,
        "trades": trades,
        "readings": readings,
        "participants": rows,
        "flows": [FlowRow(seller=s, buyer=b, energy_wh=wh) for (s, b), wh in sorted(flows.items()) if wh],
        "gas": _gas(epochs, len(members)),
        "audit": [
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
                ok=True,
                left=str(sum(epoch.minted_wh for epoch in epochs)),
                right=str(sum(reading.export_wh for reading in readings)),
                unit="Wh",
                meaning="Every accepted Wh of export was minted, once.",
            ),
        ]
        if audit is None
        else audit,
    }
    return Run(**sections | changes)


def failed_check() -> AuditCheck:
    """A sum that does not come out."""
    return AuditCheck(
        name="GRID supply", ok=False, left="1234567", right="1234568", unit="GRID wei", meaning="Minted less burnt."
    )


def _retire(account, held, open_wh, sums) -> int:
    wh = held[account] // ENERGY_UNITS_PER_WH
    if account != UTILITY:
        wh = min(open_wh[account], wh)
        open_wh[account] -= wh
    held[account] -= wh * ENERGY_UNITS_PER_WH
    sums[account]["retired"] += wh
    return wh


def _levels(volumes) -> list[TickVolume]:
    return [TickVolume(tick=tick, energy_wh=wh) for tick, wh in sorted(volumes.items())]


def _participant(member, account, sums, held, open_wh) -> ParticipantRow:
    mine = sums[account]
    grid = -(-open_wh[account] * RETAIL_UTHB_PER_KWH // 1_000)
    retail = -(-mine["import"] * RETAIL_UTHB_PER_KWH // 1_000)
    buyback = mine["export"] * BUYBACK_UTHB_PER_KWH // 1_000
    bill = grid + -(-grid * VAT_PERCENT // 100) + -(-(mine["paid"] - mine["earned"]) // 10**12)
    baseline = retail + -(-retail * VAT_PERCENT // 100) - buyback
    return ParticipantRow(
        account=account,
        name=member.name,
        role=member.role,
        meter_ids=[f"meter-{member.name}"[:31]],
        consumption_wh=sum(member.consumption_wh),
        generation_wh=sum(member.generation_wh),
        import_wh=mine["import"],
        export_wh=mine["export"],
        bought_uwh=mine["bought"],
        sold_uwh=mine["sold"],
        paid_wei=mine["paid"],
        earned_wei=mine["earned"],
        retired_wh=mine["retired"],
        outstanding_wh=0,
        grid_import_wh=open_wh[account],
        grid_held_uwh=held[account],
        grid_cost_uthb=grid,
        retail_only_cost_uthb=retail,
        buyback_only_income_uthb=buyback,
        bill_uthb=bill,
        baseline_bill_uthb=baseline,
        saving_uthb=baseline - bill,
    )


def _utility(name, sums, held) -> ParticipantRow:
    mine = sums[UTILITY]
    zeros = dict.fromkeys(
        (field for field in ParticipantRow.model_fields if field[-3:] in ("_wh", "thb", "wei", "uwh")), 0
    )
    return ParticipantRow(
        **zeros
        | {
            "account": UTILITY,
            "name": name,
            "role": "utility",
            "meter_ids": [],
            "bought_uwh": mine["bought"],
            "paid_wei": mine["paid"],
            "retired_wh": mine["retired"],
            "grid_held_uwh": held[UTILITY],
        }
    )


def _gas(epochs, members) -> list[GasRow]:
    clears = [epoch.clear_gas for epoch in epochs]
    reads = 26_000 * members
    return [
        GasRow(
            operation="clear an epoch",
            count=len(clears),
            total=sum(clears),
            minimum=min(clears),
            median=sorted(clears)[len(clears) // 2],
            maximum=max(clears),
        ),
        GasRow(
            operation=f"{members} signed readings",
            count=len(epochs),
            total=reads * len(epochs),
            minimum=reads,
            median=reads,
            maximum=reads,
        ),
    ]
