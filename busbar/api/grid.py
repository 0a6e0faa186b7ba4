"""The market as a whole: zones, participants, meters, readings."""

import functools
from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import ColumnElement, FromClause, Select, and_, bindparam, func, select

from busbar import tables
from busbar.api import operations, paging
from busbar.api.context import (
    AddressFilter,
    AddressInPath,
    Cursor,
    Here,
    Limit,
    MeterInPath,
    View,
    read_events,
    read_events_slowly,
)
from busbar.api.problems import Problem
from busbar.api.shapes import AccountShape, GridStatus, MeterShape, ReadingShape, ZoneShape
from busbar.history import LATE, grid_supply_wei, uncleared

router = operations.router()

STATUSES: tuple[Literal["unknown"], Literal["active"], Literal["suspended"]] = ("unknown", "active", "suspended")

KEY_TYPES: tuple[Literal["secp256k1"], Literal["P-256"]] = ("secp256k1", "P-256")


@router.get("/grid/status", tags=["grid"])
@read_events
def grid_status(here: Here) -> GridStatus:
    """Participants, meters, zones, GRID in existence, and what waits for somebody."""
    connection, z, p = here.connection, tables.zones, tables.parked
    waiting = dict(uncleared(connection, here.head.epoch))
    zones = {row["zone"]: row for row in connection.execute(select(z).order_by(z.c.block, z.c.log_index)).mappings()}
    return GridStatus(
        epoch=here.head.epoch,
        participants=connection.scalar(select(func.count()).select_from(tables.participants)) or 0,
        meters=connection.scalar(select(func.count()).select_from(tables.meters)) or 0,
        zones=[
            ZoneShape(zone=zone, paused=row["paused"], order_cap=row["order_cap"], waiting_epoch=waiting.get(zone))
            for zone, row in sorted(zones.items())
        ],
        grid_supply_wei=grid_supply_wei(connection),
        parked_waiting=connection.scalar(select(func.count()).select_from(p).where(p.c.decided_block.is_(None))) or 0,
        requests_pending=connection.scalar(
            select(func.count()).select_from(tables.requests).where(tables.requests.c.done_block.is_(None))
        )
        or 0,
        block=here.head.number,
    )


# ------------------------------------------------------------------------------ participants


@functools.cache
def _participants() -> Select[Any]:
    """Participants with their newest standing."""
    p, s, older = tables.participants, tables.standings, tables.standings.alias()
    # Looked up for those of a page alone: to find everybody's newest takes as long as there are participants.
    newest = select(func.max(_place(older))).where(older.c.account == p.c.account).correlate(p).scalar_subquery()
    its_own = and_(s.c.account == p.c.account, _place(s) == newest)
    return select(p, s.c.status, s.c.zone).select_from(p.outerjoin(s, its_own))


def _place(table: FromClause) -> ColumnElement[int]:
    """Where an event stands, as one number."""
    return table.c.block * 1_000_000 + table.c.log_index


def participant_shape(row: Mapping[str, Any]) -> AccountShape:
    """A participant as it stands at the newest block."""
    return AccountShape(
        account=row["account"],
        status=STATUSES[row["status"] or 0],
        zone=row["zone"] or 0,
        ref=row["ref"],
        registered_block=row["block"],
    )


def participant_of(here: View, account: str) -> AccountShape:
    """A participant.

    Raises:
        Problem: There is none.
    """
    row = (
        here.connection.execute(_participants().where(tables.participants.c.account == account))
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise Problem(404, "No such participant", f"{account} is no participant")
    return participant_shape(dict(row))


_REGISTERED = select(tables.participants.c.block).where(tables.participants.c.account == bindparam("account"))


def must_be_participant(here: View, account: str) -> None:
    """Refuses an account that never registered.

    Raises:
        Problem: It is no participant.
    """
    if here.connection.execute(_REGISTERED, {"account": account}).first() is None:
        raise Problem(404, "No such participant", f"{account} is no participant")


@router.get("/participants", tags=["grid"])
@read_events
def participants(here: Here, limit: Limit = 50, cursor: Cursor = None) -> paging.Page[AccountShape]:
    """Participants in order of registration."""
    p = tables.participants
    keys = [p.c.block, p.c.log_index]
    rows, following = paging.read(here.connection, _participants(), keys, cursor, limit, descending=False)
    return paging.Page(items=[participant_shape(row) for row in rows], next_cursor=following, block=here.head.number)


@router.get("/participants/{account}", tags=["grid"])
@read_events
def participant(here: Here, account: AddressInPath) -> AccountShape:
    """A participant."""
    return participant_of(here, account)


# ------------------------------------------------------------------------------ meters and readings


def _meter(here: View, row: Mapping[str, Any]) -> MeterShape:
    k, r = tables.meter_keys, tables.readings
    key, key_type = here.connection.execute(
        select(k.c.key, k.c.key_type)
        .where(k.c.meter_id == row["meter_id"])
        .order_by(k.c.block.desc(), k.c.log_index.desc())
        .limit(1)
    ).one()
    newest = (
        here.connection.execute(
            select(r)
            .where(r.c.meter_id == row["meter_id"], r.c.kind != LATE)
            .order_by(r.c.block.desc(), r.c.log_index.desc())
            .limit(1)
        )
        .mappings()
        .one_or_none()
    )
    registers = ("interval_end", "import_register_wh", "export_register_wh")
    return MeterShape(
        meter_id=row["meter_id"],
        account=row["account"],
        kind="prosumer" if row["kind"] == 1 else "consumer",
        source=row["source"],
        rated_import_w=row["rated_import_w"],
        rated_export_w=row["rated_export_w"],
        key=key,
        key_type=None if key_type is None else KEY_TYPES[key_type],
        **{name: None if newest is None else newest[name] for name in registers},
    )


_METERS, _READINGS = select(tables.meters), select(tables.readings)


@router.get("/meters", tags=["grid"])
@read_events_slowly
def meters(
    here: Here, account: AddressFilter = None, limit: Limit = 50, cursor: Cursor = None
) -> paging.Page[MeterShape]:
    """Meters in order of assignment, with their newest registers."""
    m = tables.meters
    keys = [m.c.block, m.c.log_index]
    equal = {m.c.account: account}
    rows, following = paging.read(here.connection, _METERS, keys, cursor, limit, equal=equal, descending=False)
    return paging.Page(items=[_meter(here, row) for row in rows], next_cursor=following, block=here.head.number)


@router.get("/meters/{meter_id}", tags=["grid"])
@read_events
def meter(here: Here, meter_id: MeterInPath) -> MeterShape:
    """A meter with its newest registers."""
    m = tables.meters
    row = here.connection.execute(select(m).where(m.c.meter_id == meter_id)).mappings().one_or_none()
    if row is None:
        raise Problem(404, "No such meter", f"no meter is called {meter_id}")
    return _meter(here, dict(row))


@router.get("/meters/{meter_id}/readings", tags=["grid"])
@read_events
def readings(here: Here, meter_id: MeterInPath, limit: Limit = 50, cursor: Cursor = None) -> paging.Page[ReadingShape]:
    """A meter's registers as they were accepted, newest first; late ones of a replaced device count nothing."""
    r = tables.readings
    keys = [r.c.block, r.c.log_index]
    rows, following = paging.read(here.connection, _READINGS, keys, cursor, limit, equal={r.c.meter_id: meter_id})
    names = ReadingShape.model_fields
    items = [ReadingShape(**{name: row[name] for name in names}) for row in rows]
    return paging.Page(items=items, next_cursor=following, block=here.head.number)
