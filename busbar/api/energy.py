"""Orders, book, epochs, trades and statistics."""

import functools
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import Query
from sqlalchemy import Select, and_, bindparam, func, select

from busbar import errors, tables
from busbar.api import operations, paging
from busbar.api.context import (
    AddressFilter,
    Cursor,
    EpochFilter,
    EpochInPath,
    Here,
    Limit,
    OneZone,
    OrderIdInPath,
    View,
    ZoneFilter,
    read_events,
    read_events_slowly,
)
from busbar.api.problems import Problem
from busbar.api.shapes import (
    BookShape,
    CurveStep,
    EpochDetail,
    EpochShape,
    OrderShape,
    ResultShape,
    Stats,
    StatShape,
    TickVolume,
    TradeShape,
)
from busbar.clearing import LongSide, Result, clear, curves
from busbar.history import volumes
from busbar.orders import OrderId, Side, order_id
from busbar.statements import BANGKOK
from busbar.units import ENERGY_UNITS_PER_WH

router = operations.router("/energy", "energy")

MOST_EPOCHS = 3_000
"""Most epochs a statistic goes over: a month of quarter hours."""

SideFilter = Annotated[Literal["buy", "sell"] | None, Query()]
OrderStatus = Literal["open", "waiting", "cancelled", "filled", "partial", "unfilled"]
StatusFilter = Annotated[OrderStatus | None, Query()]


def _side(side: int) -> Literal["buy", "sell"]:
    return "buy" if side == Side.BID else "sell"


# ------------------------------------------------------------------------------ orders


@functools.cache
def orders_query() -> Select[Any]:
    """Orders with what became of them."""
    o, f, e = tables.orders, tables.fills, tables.epochs
    same_fill = and_(f.c.epoch == o.c.epoch, f.c.account == o.c.account, f.c.index == o.c.index)
    same_epoch = and_(e.c.zone == o.c.zone, e.c.epoch == o.c.epoch)
    traded = (f.c.energy_uwh, f.c.money_units, e.c.price2, e.c.tx_hash.label("clear_tx"))
    return select(o, *traded).outerjoin(f, same_fill).outerjoin(e, same_epoch)


def order_shape(here: View, row: Mapping[str, Any]) -> OrderShape:
    """An order as it stands at the newest block."""
    status: OrderStatus
    if row["cancelled_block"] is not None:
        status = "cancelled"
    elif row["clear_tx"] is None:
        status = "open" if row["epoch"] >= here.head.epoch else "waiting"
    elif row["energy_uwh"] is None:
        status = "unfilled"
    else:
        status = "filled" if row["energy_uwh"] == row["quantity_wh"] * ENERGY_UNITS_PER_WH else "partial"
    return OrderShape(
        order_id=order_id(row["account"], row["epoch"], row["index"]),
        side=_side(row["side"]),
        status=status,
        energy_uwh=row["energy_uwh"] or 0,
        money_units=row["money_units"] or 0,
        price2=(row["price2"] or 0) if status in ("filled", "partial") else 0,
        cancel_tx=row["cancelled_tx"],
        until_epoch=row["epoch"] + row["life"],
        rolled=row["rolled"],
        ended=row["ended"],
        ended_tx=row["ended_tx"],
        **{
            name: row[name]
            for name in ("account", "zone", "epoch", "index", "tick", "quantity_wh", "nonce", "tx_hash", "clear_tx")
        },
    )


@router.get("/orders")
@read_events
def orders(
    here: Here,
    account: AddressFilter = None,
    zone: ZoneFilter = None,
    epoch: EpochFilter = None,
    side: SideFilter = None,
    status: StatusFilter = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> paging.Page[OrderShape]:
    """Orders, newest epoch first."""
    o = tables.orders
    query = orders_query() if status is None else _of_status(status, here.head.epoch)
    wanted = {"buy": Side.BID, "sell": Side.ASK, None: None}[side]
    equal = {o.c.account: account, o.c.zone: zone, o.c.epoch: epoch, o.c.side: wanted}
    keys = [o.c.epoch, o.c.account, o.c.index]
    rows, following = paging.read(here.connection, query, keys, cursor, limit, equal=equal)
    return paging.Page(items=[order_shape(here, row) for row in rows], next_cursor=following, block=here.head.number)


@functools.lru_cache(16)
def _of_status(status: str, open_epoch: int) -> Select[Any]:
    o, f, e = tables.orders, tables.fills, tables.epochs
    live = o.c.cancelled_block.is_(None)
    cleared, whole = and_(live, e.c.tx_hash.is_not(None)), o.c.quantity_wh * ENERGY_UNITS_PER_WH
    uncleared = and_(live, e.c.tx_hash.is_(None))
    wanted = {
        "cancelled": o.c.cancelled_block.is_not(None),
        "open": and_(uncleared, o.c.epoch >= open_epoch),
        "waiting": and_(uncleared, o.c.epoch < open_epoch),
        "filled": and_(cleared, f.c.energy_uwh == whole),
        "partial": and_(cleared, f.c.energy_uwh < whole),
        "unfilled": and_(cleared, f.c.energy_uwh.is_(None)),
    }
    return orders_query().where(wanted[status])


@router.get("/orders/{id}")
@read_events
def order(here: Here, id: OrderIdInPath) -> OrderShape:  # noqa: A002  (its name in the address)
    """An order by its id."""
    missing = Problem(404, "No such order", f"no order has the id {id}")
    try:
        parts = OrderId.parse(int(id))
    except errors.OrderNotOpen:
        raise missing from None
    o = tables.orders
    here_is = (o.c.epoch == parts.epoch, o.c.account == parts.account, o.c.index == parts.index)
    row = here.connection.execute(orders_query().where(*here_is)).mappings().one_or_none()
    if row is None:
        raise missing
    return order_shape(here, dict(row))


# ------------------------------------------------------------------------------ book and epochs


def _volumes(volumes: Mapping[int, int]) -> list[TickVolume]:
    return [TickVolume(tick=tick, energy_wh=energy_wh) for tick, energy_wh in sorted(volumes.items())]


def _result(result: Result) -> ResultShape:
    sides: dict[LongSide, Literal["neither", "bids", "asks"]] = {
        LongSide.NEITHER: "neither",
        LongSide.BIDS: "bids",
        LongSide.ASKS: "asks",
    }
    return ResultShape(
        price2=result.price2,
        lower_tick=result.lower_tick,
        upper_tick=result.upper_tick,
        long_side=sides[result.long_side],
        filled_wh=result.filled_wh,
        offered_wh=result.offered_wh,
        volume_wh=result.volume_wh,
    )


def _stored(row: Mapping[str, Any]) -> Result:
    return Result(
        row["lower_tick"],
        row["upper_tick"],
        LongSide(row["long_side"]),
        row["filled_wh"],
        row["offered_wh"],
        row["volume_wh"],
    )


_OPENED = select(tables.zones.c.zone).where(tables.zones.c.zone == bindparam("zone")).limit(1)


def must_be_zone(here: View, zone: int) -> None:
    """Refuses a zone that was never opened.

    Raises:
        Problem: 404.
    """
    if here.connection.scalar(_OPENED, {"zone": zone}) is None:
        raise Problem(404, "No such zone", f"zone {zone} was never opened")


def book_of(here: View, zone: int, epoch: int) -> BookShape:
    """A zone's book in an epoch."""
    orders, bids, asks = volumes(here.connection, zone, epoch)
    return BookShape(
        zone=zone,
        epoch=epoch,
        open=epoch == here.head.epoch,
        orders=orders,
        bids=_volumes(bids),
        asks=_volumes(asks),
        indicative=_result(clear(bids, asks)),
        block=here.head.number,
    )


@router.get("/book")
@read_events
def book(here: Here, zone: OneZone = 1, epoch: EpochFilter = None) -> BookShape:
    """Volume by tick, in the open epoch or another, and what it would clear at."""
    must_be_zone(here, zone)
    return book_of(here, zone, here.head.epoch if epoch is None else epoch)


def epoch_shape(here: View, row: Mapping[str, Any]) -> EpochShape:
    """A cleared epoch."""
    return EpochShape(
        zone=row["zone"],
        epoch=row["epoch"],
        start=here.calendar.start(row["epoch"]),
        end=here.calendar.end(row["epoch"]),
        result=_result(_stored(row)),
        cleared_block=row["block"],
        clear_tx=row["tx_hash"],
    )


_EPOCHS = select(tables.epochs)


@router.get("/epochs")
@read_events
def epochs(here: Here, zone: OneZone = 1, limit: Limit = 50, cursor: Cursor = None) -> paging.Page[EpochShape]:
    """Cleared epochs, newest first."""
    must_be_zone(here, zone)
    e = tables.epochs
    rows, following = paging.read(here.connection, _EPOCHS, [e.c.epoch], cursor, limit, equal={e.c.zone: zone})
    return paging.Page(items=[epoch_shape(here, row) for row in rows], next_cursor=following, block=here.head.number)


@router.get("/epochs/{n}")
@read_events
def epoch(here: Here, n: EpochInPath, zone: OneZone = 1) -> EpochDetail:
    """An epoch with price, volume and curves, cleared or not."""
    must_be_zone(here, zone)
    e = tables.epochs
    stored = here.connection.execute(select(e).where(e.c.zone == zone, e.c.epoch == n)).mappings().one_or_none()
    orders, bids, asks = volumes(here.connection, zone, n)
    shape = curves(bids, asks)
    status: Literal["open", "waiting", "cleared", "empty"]
    if stored is not None:
        status = "cleared"
    elif n >= here.head.epoch:
        status = "open"
    else:
        status = "waiting" if orders else "empty"
    return EpochDetail(
        zone=zone,
        epoch=n,
        start=here.calendar.start(n),
        end=here.calendar.end(n),
        status=status,
        result=_result(clear(bids, asks) if stored is None else _stored(dict(stored))),
        orders=orders,
        demand=[CurveStep(tick=step.tick, cumulative_wh=step.cumulative_wh) for step in shape.demand],
        supply=[CurveStep(tick=step.tick, cumulative_wh=step.cumulative_wh) for step in shape.supply],
        cleared_block=None if stored is None else stored["block"],
        clear_tx=None if stored is None else stored["tx_hash"],
    )


# ------------------------------------------------------------------------------ trades


_FILLS = select(tables.fills)


@router.get("/trades")
@read_events
def trades(
    here: Here,
    account: AddressFilter = None,
    zone: ZoneFilter = None,
    epoch: EpochFilter = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> paging.Page[TradeShape]:
    """Fills of orders, newest epoch first."""
    f = tables.fills
    keys = [f.c.epoch, f.c.account, f.c.index]
    equal = {f.c.account: account, f.c.zone: zone, f.c.epoch: epoch}
    rows, following = paging.read(here.connection, _FILLS, keys, cursor, limit, equal=equal)
    return paging.Page(items=[_trade(here, row) for row in rows], next_cursor=following, block=here.head.number)


def _trade(here: View, row: Mapping[str, Any]) -> TradeShape:
    return TradeShape(
        order_id=order_id(row["account"], row["epoch"], row["index"]),
        account=row["account"],
        zone=row["zone"],
        epoch=row["epoch"],
        time=here.calendar.start(row["epoch"]),
        side=_side(row["side"]),
        limit_tick=row["tick"],
        quantity_wh=row["quantity_wh"],
        price2=row["price2"],
        energy_uwh=row["energy_uwh"],
        money_units=row["money_units"],
        money_wei=here.money.to_wei(row["money_units"]),
        order_tx=row["order_tx"],
        clear_tx=row["tx_hash"],
    )


# ------------------------------------------------------------------------------ statistics


@router.get("/stats")
@read_events_slowly
def stats(
    here: Here,
    by: Annotated[Literal["epoch", "hour", "day", "participant", "zone"], Query()] = "day",
    first_epoch: EpochFilter = None,
    last_epoch: EpochFilter = None,
    zone: ZoneFilter = None,
) -> Stats:
    """Trade by epoch, hour, day, participant or zone; the newest 3,000 epochs unless others are named."""
    f = tables.fills
    last = here.head.epoch if last_epoch is None else last_epoch
    first = max(0, last - MOST_EPOCHS + 1) if first_epoch is None else first_epoch
    if not first <= last < first + MOST_EPOCHS:
        raise Problem(422, "Range", f"first_epoch to last_epoch must be 1 to {MOST_EPOCHS} epochs")
    columns = (f.c.zone, f.c.epoch, f.c.account, f.c.side, f.c.price2, f.c.energy_uwh, f.c.money_units)
    query = select(*columns).where(f.c.epoch.between(first, last))
    if zone is not None:
        query = query.where(f.c.zone == zone)
    key_of = functools.cache(functools.partial(_time_group, here, by))
    groups: dict[str, list[_Fill]] = defaultdict(list)
    for row in here.connection.execute(query.order_by(f.c.epoch, f.c.account)).all():
        fill = _Fill(*row)
        key = fill.account if by == "participant" else str(fill.zone) if by == "zone" else key_of(fill.epoch)
        groups[key].append(fill)
    items = [_stat(key, rows) for key, rows in groups.items()]
    return Stats(by=by, first_epoch=first, last_epoch=last, items=items, block=here.head.number)


class _Fill(NamedTuple):
    zone: int
    epoch: int
    account: str
    side: int
    price2: int
    energy_uwh: int
    money_units: int


def _time_group(here: View, by: str, epoch: int) -> str:
    if by == "epoch":
        return str(epoch)
    start = datetime.fromtimestamp(here.calendar.start(epoch), BANGKOK)
    start = start.replace(minute=0, second=0) if by == "hour" else start.replace(hour=0, minute=0, second=0)
    return start.isoformat()


def _stat(key: str, fills: list[_Fill]) -> StatShape:
    sides: dict[int, list[_Fill]] = {Side.BID: [], Side.ASK: []}
    for fill in fills:
        sides[fill.side].append(fill)
    bought, sold = sides[Side.BID], sides[Side.ASK]
    energy_uwh = sum(fill.energy_uwh for fill in fills)
    weighted = sum(fill.energy_uwh * fill.price2 for fill in fills)
    return StatShape(
        key=key,
        epochs=len({(fill.zone, fill.epoch) for fill in fills}),
        trades=len(fills),
        bought_uwh=sum(fill.energy_uwh for fill in bought),
        sold_uwh=sum(fill.energy_uwh for fill in sold),
        paid_units=sum(fill.money_units for fill in bought),
        earned_units=sum(fill.money_units for fill in sold),
        average_price2=weighted // energy_uwh if energy_uwh else 0,
    )


def newest_epoch(here: View, zone: int) -> EpochShape | None:
    """The newest cleared epoch of a zone."""
    e = tables.epochs
    newest = select(func.max(e.c.epoch)).where(e.c.zone == zone).scalar_subquery()
    row = here.connection.execute(select(e).where(e.c.zone == zone, e.c.epoch == newest)).mappings().one_or_none()
    return None if row is None else epoch_shape(here, dict(row))
