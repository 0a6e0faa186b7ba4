"""Requests for data, the panel's answers to them, and how each operator has done."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy import select

from busbar import panel, tables
from busbar.api import operations, paging
from busbar.api.context import Cursor, HashInPath, Here, Limit, View, read
from busbar.api.problems import Problem
from busbar.api.shapes import OracleRequest, Shape
from busbar.wide import Wide

router = operations.router("/oracle", "oracle")


class AnswerShape(Shape):
    """An operator's answer to a request for a datum."""

    operator: str
    value: Wide
    deciding: bool = Field(description="Whether it is one of those whose median is the datum")
    outlier: bool = Field(description="Whether it was further from the median than the tolerance allows")
    block: int
    tx_hash: str


class RequestDetail(OracleRequest):
    """A request for data with what the panel said; a meter's reading nobody votes on."""

    quorum: int | None = Field(description="Answers that decide; null for a meter's reading")
    answers: list[AnswerShape]
    silent: list[str] = Field(description="Operators who were asked and have not answered")
    median: Wide | None = Field(description="The datum, once a quorum has answered")


class OperatorShape(Shape):
    """What an operator of the panel has done."""

    account: str
    active: bool = Field(description="Whether it sits on the panel now")
    asked: int = Field(description="Requests for data made while it did")
    answered: int
    outliers: int = Field(description="Answers further from the median than the tolerance allows")
    silent: int = Field(description="Requests it was asked, did not answer, and can answer no more")


class PanelShape(Shape):
    """The oracle's panel."""

    quorum: int = Field(description="Answers that decide, for requests to come; 0 before the panel was set")
    tolerance_bp: int = Field(description="Share of the median, in 1/100 %, beyond which an answer is an outlier")
    operators: list[OperatorShape]
    block: int


@router.get("/requests")
@read
def requests(
    here: Here,
    status: Annotated[Literal["pending", "fulfilled", "timed out"] | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> paging.Page[OracleRequest]:
    """Requests for data, newest first."""
    r = tables.requests
    query = select(r)
    if status == "pending":
        query = query.where(r.c.done_block.is_(None))
    elif status is not None:
        query = query.where(r.c.fulfilled.is_(status == "fulfilled"))
    rows, following = paging.read(here.connection, query, [r.c.block, r.c.log_index], cursor, limit)
    items = [OracleRequest(**_fields(row)) for row in rows]
    return paging.Page(items=items, next_cursor=following, block=here.head.number)


@router.get("/requests/{request_id}")
@read
def request(here: Here, request_id: HashInPath) -> RequestDetail:
    """A request for data, with every answer, who is silent, and the median."""
    r = tables.requests
    row = here.connection.execute(select(r).where(r.c.request_id == request_id)).mappings().one_or_none()
    if row is None:
        raise Problem(404, "No such request", f"nobody made the request {request_id}")
    told = _fields(dict(row))
    if row["kind"] != panel.DATUM:
        return RequestDetail(**told, quorum=None, answers=[], silent=[], median=None)
    place = panel.place_of(row["block"], row["log_index"])
    quorum = panel.parameters(here.connection, place).quorum
    answers = _answers(here, request_id, quorum)
    said = {answer.operator for answer in answers}
    silent = [who for who in panel.seated(here.connection, place) if who not in said]
    data = row["data"]
    median = None if data is None else int.from_bytes(bytes.fromhex(data[2:]), "big", signed=True)
    return RequestDetail(**told, quorum=quorum, answers=answers, silent=silent, median=median)


def _answers(here: View, request_id: str, quorum: int) -> list[AnswerShape]:
    a, o = tables.answers, tables.outliers
    rows = here.connection.execute(select(a).where(a.c.request_id == request_id).order_by(a.c.block, a.c.log_index))
    beyond = set(here.connection.scalars(select(o.c.operator).where(o.c.request_id == request_id)))
    return [
        AnswerShape(
            operator=row["operator"],
            value=row["value"],
            deciding=number < quorum,
            outlier=row["operator"] in beyond,
            block=row["block"],
            tx_hash=row["tx_hash"],
        )
        for number, row in enumerate(rows.mappings())
    ]


@router.get("/panel")
@read
def the_panel(here: Here) -> PanelShape:
    """The panel's parameters, and how everybody who ever sat on it has done."""
    now = panel.parameters(here.connection)
    fields = OperatorShape.model_fields
    return PanelShape(
        quorum=now.quorum,
        tolerance_bp=now.tolerance_bp,
        operators=[
            OperatorShape(**{name: getattr(operator, name) for name in fields})
            for operator in panel.operators(here.connection, here.head.number)
        ],
        block=here.head.number,
    )


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    stands: Literal["pending", "fulfilled", "timed out"] = "pending"
    if row["done_block"] is not None:
        stands = "fulfilled" if row["fulfilled"] else "timed out"
    names = ("request_id", "requester", "subject", "block", "tx_hash", "done_tx", "data")
    told = {"kind": "datum" if row["kind"] == panel.DATUM else "meter", "status": stands}
    return told | {name: row[name] for name in names}
