"""Accounts: what they hold, what happened to them, their bills, payloads to sign, and who stands behind them."""

from enum import Enum
from typing import Annotated, Any

from fastapi import Query, Response
from sqlalchemy import bindparam, select

from busbar import people, tables
from busbar.api import operations, paging
from busbar.api.context import AddressInPath, Configured, Cursor, Here, Limit, Node, etag_of, read_events, read_slowly
from busbar.api.grid import must_be_participant, participant_of, participants
from busbar.api.node import asks_node
from busbar.api.problems import Problem
from busbar.api.shapes import (
    AccountShape,
    Amount,
    BalanceShape,
    JournalShape,
    Payload,
    Payloads,
    PersonRequest,
    PersonShape,
    Transfer,
)
from busbar.api.signed import SignedBy
from busbar.chain import Call, Chain
from busbar.history import Holding, ImportLedger, holdings, import_ledgers, lowest_nonces
from busbar.statements import Month, Statement, make, to_csv
from busbar.units import Asset

router = operations.router("/accounts", "accounts")
router.get("")(participants)

SEND = "/api/v1/transactions"


class Format(Enum):
    """How a statement is written."""

    JSON = "json"
    CSV = "csv"
    PDF = "pdf"


@router.get("/{account}")
@read_events
def account(here: Here, account: AddressInPath) -> AccountShape:
    """A participant."""
    return participant_of(here, account)


_SWITCHED = (
    select(tables.auto_retire.c.enabled)
    .where(tables.auto_retire.c.account == bindparam("account"))
    .order_by(tables.auto_retire.c.block.desc(), tables.auto_retire.c.log_index.desc())
    .limit(1)
)


@router.get("/{account}/balance")
@read_events
def balance(here: Here, account: AddressInPath) -> BalanceShape:
    """What an account holds and owes, as if settled now."""
    must_be_participant(here, account)
    holding = holdings(here.connection, here.head, [account]).get(account, Holding())
    ledger = import_ledgers(here.connection, here.head, [account]).get(account, ImportLedger())
    switched = here.connection.scalar(_SWITCHED, {"account": account})
    return BalanceShape(
        account=account,
        energy_free_uwh=holding.energy_free_uwh,
        energy_escrow_uwh=holding.energy_escrow_uwh,
        money_free_units=holding.money_free_units,
        money_escrow_units=holding.money_escrow_units,
        money_free_wei=here.money.to_wei(holding.money_free_units),
        import_current_wh=ledger.current_wh,
        import_previous_wh=ledger.previous_wh,
        grid_import_wh=ledger.grid_import_wh,
        auto_retire=True if switched is None else switched,
        nonce=lowest_nonces(here.connection, [account]).get(account, 0),
        block=here.head.number,
    )


_JOURNAL = select(*(tables.journal.c[name] for name in JournalShape.model_fields))


@router.get("/{account}/history")
@read_events
def history(here: Here, account: AddressInPath, limit: Limit = 50, cursor: Cursor = None) -> paging.Page[JournalShape]:
    """Every change of an account, newest first, each with its transaction."""
    must_be_participant(here, account)
    j = tables.journal
    keys = [j.c.block, j.c.log_index, j.c.seq]
    rows, following = paging.read(here.connection, _JOURNAL, keys, cursor, limit, equal={j.c.account: account})
    items = [JournalShape(**row) for row in rows]
    return paging.Page(items=items, next_cursor=following, block=here.head.number)


@router.get(
    "/{account}/statement",
    response_model=Statement,
    responses={
        200: {
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "application/pdf": {"schema": {"type": "string", "contentMediaType": "application/pdf"}},
            }
        }
    },
)
@read_slowly
def statement(
    here: Here,
    settings: Configured,
    account: AddressInPath,
    month: Annotated[str, Query(pattern="^[0-9]{4}-(0[1-9]|1[0-2])$", description="YYYY-MM, Bangkok calendar")],
    format: Annotated[Format, Query(description="How to write it")] = Format.JSON,  # noqa: A002  (its public name)
) -> Any:
    """A month's bill, every line traceable to transactions. It names nobody."""
    must_be_participant(here, account)
    made = make(here.connection, account, Month.parse(month), settings.tariffs())
    if format is Format.JSON:
        return made
    name = f"{account}-{month}.{format.value}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "ETag": etag_of(here.head)}
    if format is Format.CSV:
        return Response(to_csv(made), media_type="text/csv", headers=headers)
    from busbar.bill import to_pdf

    return Response(to_pdf(made), media_type="application/pdf", headers=headers)


# ------------------------------------------------------------------------------ payloads


TOKENS = {"energy": "GridToken", "money": "BahtToken"}
ASSETS = {"energy": Asset.ENERGY, "money": Asset.MONEY}


def payloads(chain: Chain, sender: str, *calls: Call) -> Payloads:
    """Calls as transactions for their sender to sign."""
    return Payloads(
        transactions=[
            Payload(
                chain_id=entry["chainId"],
                sender=entry["from"],
                to=entry["to"],
                data=entry["data"],
                value=entry["value"],
                nonce=entry["nonce"],
                gas=entry["gas"],
                max_fee_per_gas=entry["maxFeePerGas"],
                max_priority_fee_per_gas=entry["maxPriorityFeePerGas"],
                type=2,
            )
            for entry in chain.payloads(sender, calls)
        ],
        then=SEND,
    )


@router.post("/{account}/deposit")
@asks_node
def deposit(chain: Node, account: AddressInPath, body: Amount) -> Payloads:
    """What to sign to bring tokens into the market: an allowance, if there is none, and the deposit."""
    trading, token = chain.addresses["Trading"], TOKENS[body.asset]
    allowed, held = chain.read([Call(token, "allowance", (account, trading)), Call(token, "balanceOf", (account,))])
    if held < body.amount_wei:
        raise Problem(422, "Not enough tokens", f"{account} holds {held} wei, not {body.amount_wei}")
    bring = Call("Trading", "deposit", (ASSETS[body.asset], body.amount_wei))
    if allowed >= body.amount_wei:
        return payloads(chain, account, bring)
    return payloads(chain, account, Call(token, "approve", (trading, body.amount_wei)), bring)


@router.post("/{account}/withdraw")
@asks_node
def withdraw(chain: Node, account: AddressInPath, body: Amount) -> Payloads:
    """What to sign to take tokens out of the market, into the account's wallet."""
    return payloads(chain, account, Call("Trading", "withdraw", (ASSETS[body.asset], body.amount_wei, account)))


@router.post("/{account}/transfer")
@asks_node
def transfer(chain: Node, account: AddressInPath, body: Transfer) -> Payloads:
    """What to sign to send tokens from the account's wallet to another."""
    return payloads(chain, account, Call(TOKENS[body.asset], "transfer", (body.to, body.amount_wei)))


# ------------------------------------------------------------------------------ people


@router.post("", status_code=201)
def tell(settings: Configured, caller: SignedBy, body: PersonRequest) -> PersonShape:
    """Keeps name, e-mail address and place of somebody, here and nowhere on the chain.

    Signed by the account itself or by a distributor; each such request counts once. What was known before is replaced.
    """
    caller.must_act_for(body.account)
    if not caller.chain.view("Registry", "registeredAt", body.account):
        raise Problem(404, "No such participant", f"{body.account} is no participant")
    person = people.Person(body.account, body.name, body.email, body.location)
    with settings.engine.begin() as connection:
        caller.must_be_first(connection)
        people.remember(connection, person)
    return PersonShape(account=person.account, name=person.name, email=person.email, location=person.location)


@router.get("/{account}/person")
def person(settings: Configured, caller: SignedBy, account: AddressInPath) -> PersonShape:
    """What is known of somebody. Signed by the account itself or by a distributor."""
    caller.must_act_for(account)
    with settings.engine.connect() as connection:
        known = people.look_up(connection, account)
    if known is None:
        raise Problem(404, "Nobody known", f"nothing is known of who stands behind {account}")
    return PersonShape(account=known.account, name=known.name, email=known.email, location=known.location)


@router.delete("/{account}/person", status_code=204)
def forget(settings: Configured, caller: SignedBy, account: AddressInPath) -> None:
    """Erases what is known of somebody. Signed by the account itself or by a distributor; harmless when repeated.

    503 while somebody reads the database: nothing is known any more, but its files are cleared by asking again. 409 if
    something was told since this very request was carried out: it takes away once.
    """
    caller.must_act_for(account)
    try:
        with settings.engine.begin() as connection:
            caller.must_be_first(connection)
            people.forget(connection, account)
    except Problem:
        with settings.engine.connect() as connection:
            if people.look_up(connection, account) is not None:
                raise
    try:
        people.clear(settings.engine)
    except people.StillReadError as problem:
        raise Problem(
            503, "Not cleared yet", f"nothing is known any more, but {problem}", {"Retry-After": "5"}
        ) from None
