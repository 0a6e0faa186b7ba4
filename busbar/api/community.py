"""The community as a whole: metered energy by time, prices of the grid beside the market's, who supplied whom."""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Query
from sqlalchemy import func, select

from busbar import tables
from busbar.api import operations
from busbar.api.context import Configured, EpochFilter, Here, View, read
from busbar.api.problems import Problem
from busbar.api.shapes import EnergyRow, Flow, Flows, MeteredEnergy, TariffStep, TariffSteps
from busbar.orders import Side
from busbar.statements import BANGKOK
from busbar.units import ENERGY_UNITS_PER_WH

router = operations.router("", "grid")

MOST_EPOCHS = 3_000
"""Most epochs that are looked at together: a month of quarter hours."""


def _range(here: View, first_epoch: int | None, last_epoch: int | None) -> tuple[int, int]:
    last = here.head.epoch if last_epoch is None else last_epoch
    first = max(0, last - MOST_EPOCHS + 1) if first_epoch is None else first_epoch
    if not first <= last < first + MOST_EPOCHS:
        raise Problem(422, "Range", f"first_epoch to last_epoch must be 1 to {MOST_EPOCHS} epochs")
    return first, last


@router.get("/grid/energy")
@read
def metered_energy(
    here: Here,
    by: Annotated[Literal["epoch", "hour", "day"], Query()] = "hour",
    first_epoch: EpochFilter = None,
    last_epoch: EpochFilter = None,
) -> MeteredEnergy:
    """What all meters counted, by when it was used, and how much of the import GRID covered.

    Import is covered in the epochs after it was metered: what is retired in an epoch counts for the one before.
    """
    first, last = _range(here, first_epoch, last_epoch)
    clock, j = here.calendar, tables.journal
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    metered = (
        select(j.c.interval_end, func.sum(j.c.import_wh), func.sum(j.c.energy_free_uwh))
        .where(j.c.interval_end > clock.start(first), j.c.interval_end <= clock.end(last))
        .group_by(j.c.interval_end)
        .order_by(j.c.interval_end)
    )
    for end, import_wh, export_uwh in here.connection.execute(metered):
        row = sums[_key(here, by, end - 1)]
        row[0] += int(import_wh)
        row[1] += int(export_uwh) // ENERGY_UNITS_PER_WH
    retired = (
        select(j.c.epoch, func.sum(j.c.retired_wh))
        .where(j.c.epoch.between(first + 1, last + 1), j.c.retired_wh > 0)
        .group_by(j.c.epoch)
        .order_by(j.c.epoch)
    )
    for epoch, retired_wh in here.connection.execute(retired):
        sums[_key(here, by, clock.start(epoch) - 1)][2] += int(retired_wh)
    rows = [
        EnergyRow(key=key, import_wh=imported, export_wh=exported, covered_wh=covered)
        for key, (imported, exported, covered) in sums.items()
    ]
    return MeteredEnergy(by=by, first_epoch=first, last_epoch=last, items=rows, block=here.head.number)


def _key(here: View, by: str, timestamp: int) -> str:
    if by == "epoch":
        return str(here.calendar.epoch_at(timestamp))
    at = datetime.fromtimestamp(timestamp, BANGKOK).replace(minute=0, second=0)
    return (at if by == "hour" else at.replace(hour=0)).isoformat()


@router.get("/grid/tariff")
@read
def tariff(
    here: Here, settings: Configured, first_epoch: EpochFilter = None, last_epoch: EpochFilter = None
) -> TariffSteps:
    """Retail and buyback, from the epochs in which they change on: the corridor in which a trade makes sense."""
    first, last = _range(here, first_epoch, last_epoch)
    tariffs = settings.tariffs()
    steps: list[TariffStep] = []
    for epoch in range(first, last + 1):
        at = datetime.fromtimestamp(here.calendar.start(epoch), UTC).astimezone(BANGKOK)
        dated = tariffs.on(at.date())
        retail, buyback = dated.retail_uthb_per_kwh(at), dated.buyback_uthb_per_kwh
        if steps and (steps[-1].retail_uthb_per_kwh, steps[-1].buyback_uthb_per_kwh) == (retail, buyback):
            continue
        steps.append(
            TariffStep(
                epoch=epoch,
                start=here.calendar.start(epoch),
                retail_uthb_per_kwh=retail,
                buyback_uthb_per_kwh=buyback,
                retail_tick=dated.retail_limit_tick(at),
                buyback_tick=dated.buyback_tick,
            )
        )
    return TariffSteps(plan=settings.plan, items=steps, block=here.head.number)


@router.get("/energy/flows", tags=["energy"])
@read
def flows(here: Here, first_epoch: EpochFilter = None, last_epoch: EpochFilter = None) -> Flows:
    """Who supplied whom: each epoch's purchases shared among its sellers in proportion to what they sold.

    An attribution for people, in whole Wh: the auction itself knows no counterparties.
    """
    first, last = _range(here, first_epoch, last_epoch)
    f = tables.fills
    traded: dict[tuple[int, int], tuple[dict[str, int], dict[str, int]]] = defaultdict(
        lambda: (defaultdict(int), defaultdict(int))
    )
    query = select(f.c.zone, f.c.epoch, f.c.side, f.c.account, f.c.energy_uwh).where(f.c.epoch.between(first, last))
    for zone, epoch, side, account, energy_uwh in here.connection.execute(query.order_by(f.c.epoch)):
        traded[(zone, epoch)][0 if side == Side.ASK else 1][account] += energy_uwh
    shares: dict[tuple[str, str], int] = defaultdict(int)
    for sold, bought in traded.values():
        total = sum(sold.values())
        for seller, given in sold.items():
            for buyer, taken in bought.items():
                shares[(seller, buyer)] += given * taken // total
    items = [
        Flow(seller=seller, buyer=buyer, energy_wh=energy_wh)
        for (seller, buyer), energy_uwh in sorted(shares.items())
        if (energy_wh := (energy_uwh + ENERGY_UNITS_PER_WH // 2) // ENERGY_UNITS_PER_WH)
    ]
    return Flows(first_epoch=first, last_epoch=last, items=items, block=here.head.number)
