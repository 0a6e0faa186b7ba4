"""Commands for operators and participants: index, verify, api, export, audit, statement; order, deposit, show ...

As in `busbar.cli`: commands parse, call and print.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from busbar import errors, tools
from busbar.options import Network, Once, Pause, Plan, Process, Quiet, RecordFile, Url, market_of, settings_of
from busbar.units import ENERGY_UNITS_PER_WH, kwh, price, thb

if TYPE_CHECKING:  # see busbar.cli
    from sqlalchemy import Engine

    from busbar.api.errands import ErrandShape
    from busbar.chain import Call, Chain, Outcome
    from busbar.history import History
    from busbar.relayed import Relayed
    from busbar.sheets import Sheet
    from busbar.statements import Statement

app = typer.Typer()
show = typer.Typer(no_args_is_help=True, help="Prints blocks, epochs, trades or the book, from the API.")
order = typer.Typer(no_args_is_help=True, help="Enters an order into the open epoch.")
app.add_typer(show, name="show")
app.add_typer(order, name="order")

Database = Annotated[
    str | None,
    typer.Option(help="sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME; the setting's if none."),
]
Api = Annotated[str, typer.Option("--api", envvar="BUSBAR_API_URL", help="Address of `busbar api`.")]
Who = Annotated[str, typer.Option("--account", help="Whose: dev:N, or an encrypted keystore.")]
Looked = Annotated[str, typer.Option("--account", help="Whose: an address, dev:N, or a keystore.")]
TariffFile = Annotated[Path | None, typer.Option("--tariffs", help="Dated tariffs, as in data/tariffs.")]
BySignature = Annotated[
    bool, typer.Option("--relayed", help="Sign only and let the relay behind the API bring it: no gas, no node.")
]
Rows = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")]

DEFAULT_API = "http://127.0.0.1:8000"


def _chain(network: str | None, url: str | None, record: Path | None) -> "Chain":
    return market_of(settings_of(), network, url, record)[2]


@contextmanager
def _engine(database: str | None, *, reads: bool = False) -> "Iterator[Engine]":
    """The index; who only reads it does not make one."""
    from busbar.history import open_database, open_index
    from busbar.settings import DATABASE, Settings

    named = database or Settings.load().database
    if named == DATABASE and not reads:
        Path("out").mkdir(exist_ok=True)
    engine = open_index(named) if reads else open_database(named)
    try:
        yield engine
    finally:
        engine.dispose()


def _tariff_file(path: Path | None) -> Path:
    return path or tools.project_root() / "data" / "tariffs" / "thailand.csv"


# ------------------------------------------------------------------------------ for operators


@app.command()
def index(
    database: Database = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Forget what came from the chain and begin again.")
    ] = False,
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
    pause: Pause = None,
    once: Once = False,
    quiet: Quiet = False,
) -> None:
    """Follows the chain into a database. Stop and start it as you like."""
    from busbar.history import History

    process = Process("index", network, url, record, pause, once, quiet)
    with _engine(database) as engine:
        if rebuild:
            History.forget(engine)
        history = History(process.chain, engine)
        process.run(lambda: _follow(history), [], process.settings.index.metrics_port)


def _follow(history: "History") -> "list[Outcome]":
    import structlog

    done = history.step()
    if done:
        structlog.get_logger(__name__).info("indexed", blocks=done)
    return []


@app.command()
def verify(database: Database = None, network: Network = None, url: Url = None, record: RecordFile = None) -> None:
    """Compares the index with the chain at one block: balances, import, registers, supply, results, open book."""
    from busbar.history import verify as compare

    chain = _chain(network, url, record)
    with _engine(database, reads=True) as engine:
        block, differences = compare(chain, engine)
    for difference in differences:
        typer.echo(f"{difference.what}: index {difference.database}, chain {difference.chain}")
    if differences:
        raise errors.BusbarError(f"index and chain differ in {len(differences)} places at block {block}")
    typer.echo(f"index and chain agree at block {block}")


@app.command()
def api(
    database: Database = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option(help="Origin whose pages may call, such as https://app.example; repeatable.")
    ] = None,
    rate: Annotated[str | None, typer.Option(help="Requests allowed from one address; empty for no limit.")] = None,
    tariffs: TariffFile = None,
    plan: Annotated[
        str | None, typer.Option(help="Retail plan of statements: residential-1.1, residential-1.2 or tou-1.3.")
    ] = None,
    relay: Annotated[
        str | None,
        typer.Option(envvar="BUSBAR_RELAY_URL", help="Address of the `busbar relay` that signed orders are handed to."),
    ] = None,
    gateway: Annotated[
        str | None,
        typer.Option(
            envvar="BUSBAR_GATEWAY_URL", help="Address of the `busbar meters` that signed readings are handed to."
        ),
    ] = None,
    dapp: Annotated[
        Path | None, typer.Option("--dapp", help="Folder of the built dapp, dapp/dist, to serve at /.")
    ] = None,
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
    quiet: Quiet = False,
) -> None:
    """Serves the index over HTTP, under /api/v1. `busbar index` fills it."""
    from limits import parse

    from busbar import door, metrics
    from busbar.api.app import create_app
    from busbar.api.context import Settings
    from busbar.api.serving import Serving

    try:
        parse(rate or "1/second")
    except ValueError:
        raise typer.BadParameter(f"{rate!r} is no rate: write 600/minute, say", param_hint="--rate") from None
    process = Process("api", network, url, record, None, False, quiet)
    set_up = process.settings
    mine = set_up.api
    with _engine(database) as engine:
        settings = Settings(
            engine,
            process.chain,
            tuple(cors_origin or mine.cors_origins),
            (mine.rate if rate is None else rate) or None,
            _tariff_file(tariffs or mine.tariffs),
            plan or mine.plan,
            relay_url=relay or set_up.relay_url,
            gateway_url=gateway or set_up.gateway_url,
            dapp=dapp or mine.dapp,
        )
        app = create_app(settings)
        with metrics.served(set_up.metrics_host, mine.metrics_port, Serving(settings)):
            door.run(app, host or mine.host, mine.port if port is None else port)


@app.command()
def dapp(
    out: Annotated[Path, typer.Argument(help="Folder to write into.")],
    rpc_url: Annotated[str, typer.Option("--rpc-url", help="Address of a node as wallets reach it.")],
    api_url: Annotated[
        str | None, typer.Option("--api-url", help="Address of an API, such as https://api.example/api/v1.")
    ] = None,
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
) -> None:
    """Writes the dapp as files to be hosted anywhere; without an API it works with the chain alone, reduced."""
    import json
    import shutil

    from busbar.api.dapp import description, require_built

    built = require_built(tools.dapp_folder())
    told = description(_chain(network, url, record), api=api_url, rpc_url=rpc_url, relay=api_url is not None)
    shutil.copytree(built, out, dirs_exist_ok=True)
    (out / "deployment.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    typer.echo(f"{out}: for chain {told['chainId']}, {'with' if api_url else 'without'} an API")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="File to write.")],
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
) -> None:
    """Writes the market's blocks to a file that proves itself, for `busbar audit`."""
    from busbar.archive import collect

    archive = collect(_chain(network, url, record))
    archive.save(file)
    typer.echo(f"{len(archive.blocks)} blocks up to {archive.head.hash}: {file}")


@app.command()
def audit(
    file: Annotated[Path | None, typer.Argument(help="File of `busbar export`; the live chain if not given.")] = None,
    head_hash: Annotated[
        str | None, typer.Option("--head", help="Hash of the last block, known from elsewhere.")
    ] = None,
    statement: Annotated[
        list[Path] | None, typer.Option(help="Statement as JSON or CSV whose bill is worked out again; repeatable.")
    ] = None,
    tariffs: TariffFile = None,
    plan: Plan = "residential-1.2",
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
) -> None:
    """Rebuilds prices, fills, balances and supply from events and signed readings; names the first difference."""
    from busbar.archive import Archive, collect
    from busbar.audit import bills, run

    archive = collect(_chain(network, url, record)) if file is None else Archive.load(file)
    result = run(archive, head_hash)
    findings = list(result.findings)
    prints = [path for path in statement or () if path.suffix == ".pdf"]
    if prints:
        raise errors.BusbarError(f"{prints[0]} is a print, which is not audited: audit the statement as JSON or CSV")
    if statement and result.ledger is not None:
        read = [_read_statement(path) for path in statement]
        findings = sorted([*findings, *bills(archive, result.ledger, read, _tariff_file(tariffs), plan)])
    for check in result.checks:
        typer.echo(f"{'OK  ' if check.ok else 'FAIL'} {check.name}")
    typer.echo(f"{len(archive.blocks)} blocks, {result.readings} signed readings, last block {archive.head.hash}")
    failed = [check.name for check in result.checks if not check.ok]
    if findings:
        count = "a difference" if len(findings) == 1 else f"{len(findings)} differences, the first"
        raise errors.BusbarError(f"the audit found {count}: {findings[0]}")
    if failed:
        raise errors.BusbarError(f"the audit failed: {', '.join(failed)}")
    typer.echo("the audit found no difference")


def _read_statement(path: Path) -> "Statement | Sheet":
    from pydantic import ValidationError

    from busbar.sheets import Sheet
    from busbar.statements import Statement, StatementError

    try:
        if path.suffix == ".csv":
            return Sheet.parse(path.read_bytes().decode("utf-8"))
        return Statement.model_validate_json(path.read_bytes())
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        told = f"{where}: {first['msg']}" if where else first["msg"]
    except (StatementError, UnicodeDecodeError) as problem:
        told = str(problem)
    kind = "CSV" if path.suffix == ".csv" else "JSON"
    raise errors.BusbarError(f"{path} is no statement as `busbar statement` writes it as {kind}: {told}") from None


@app.command()
def statement(
    account: Annotated[str, typer.Argument(help="Participant's address.")],
    month: Annotated[str, typer.Argument(help="YYYY-MM, Bangkok calendar.")],
    file: Annotated[Path, typer.Argument(help="File to write: .json, .csv or .pdf.")],
    database: Database = None,
    tariffs: TariffFile = None,
    plan: Plan = "residential-1.2",
    named: Annotated[bool, typer.Option("--named", help="Print the participant's name on the PDF, if known.")] = False,
) -> None:
    """Writes a participant's bill of a month."""
    from busbar.bill import to_pdf
    from busbar.history import snapshot
    from busbar.keys import written_address
    from busbar.people import look_up
    from busbar.statements import Month, Tariffs, make, to_csv

    if file.suffix not in (".json", ".csv", ".pdf"):
        raise typer.BadParameter("must end in .json, .csv or .pdf", param_hint="FILE")
    who = written_address(account)
    with _engine(database, reads=True) as engine, snapshot(engine) as connection:
        made = make(connection, who, Month.parse(month), Tariffs(_tariff_file(tariffs), plan))
        person = look_up(connection, who) if named else None
    if file.suffix == ".pdf":
        file.write_bytes(to_pdf(made, person.name if person else None))
    else:
        file.write_text(to_csv(made) if file.suffix == ".csv" else made.model_dump_json(indent=1) + "\n", "utf-8")
    typer.echo(f"{thb(made.total_uthb * 10**12)}, saved {thb(made.saving_uthb * 10**12)}: {file}")


@app.command()
def reset(
    database: Database = None,
    network: Network = None,
    url: Url = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Begins again: an empty chain, no deployment record, an empty index. On a local development chain only."""
    from busbar.chain import Node
    from busbar.deployment import Parameters, parameters_path, record_path
    from busbar.devnet import CHAIN_ID
    from busbar.history import History

    settings = settings_of()
    parameters = Parameters.load(parameters_path(network or settings.network))
    node = Node(url or settings.url or parameters.url)
    served = int(node.request("eth_chainId"), 16)
    if served != CHAIN_ID or not node.is_local:
        raise errors.BusbarError(
            f"refused: {node.url} serves chain {served}, and only a local chain {CHAIN_ID} is reset"
        )
    if not yes:
        typer.confirm(f"Everything on the chain at {node.url} and in its index will be gone. Go on?", abort=True)
    node.request("anvil_reset")
    record_path(CHAIN_ID).unlink(missing_ok=True)
    with _engine(database) as engine:
        History.forget(engine)
    typer.echo("the chain is empty: deploy with `ape run deploy`")


# ------------------------------------------------------------------------------ for participants


@app.command()
def account(who: Looked = "dev:20", network: Network = None, url: Url = None, record: RecordFile = None) -> None:
    """Prints what an account holds, owes and has in the market."""
    from busbar import keys

    chain = _chain(network, url, record)
    address = keys.address(who, chain.chain_id, settings_of().keystores)
    block = chain.head().number
    (held,), (imports,) = chain.accounts([address], block), chain.imports([address], block)
    wallet = [chain.view(token, "balanceOf", address, block=block) for token in ("GridToken", "BahtToken")]
    unit_wei = chain.money.unit_wei
    table = Table(box=None, show_header=False, padding=(0, 2))
    for name, value in (
        ("account", address),
        ("block", str(block)),
        ("status", ("unknown", "active", "suspended")[held.status]),
        ("free energy", _energy(held.energy_free_uwh)),
        ("energy in orders", _energy(held.energy_escrow_uwh)),
        ("free money", thb(held.money_free_units * unit_wei)),
        ("money in orders", thb(held.money_escrow_units * unit_wei)),
        ("GRID in the wallet", _energy(wallet[0] // 10**9)),
        ("baht in the wallet", thb(wallet[1])),
        ("import to cover", kwh(imports.outstanding_wh)),
        ("grid import", kwh(imports.grid_import_wh)),
    ):
        table.add_row(name, value)
    Console().print(table)


def _energy(energy_uwh: int) -> str:
    return kwh(energy_uwh // ENERGY_UNITS_PER_WH)


def _epochs(open_epoch: "Callable[[], int]", epochs: int, until: int | None) -> int:
    """How many epochs an order stands beyond the open one."""
    if until is None:
        return epochs
    now = open_epoch()
    if until < now:
        raise errors.BusbarError(f"epoch {until} is over: epoch {now} is open")
    return until - now


def _same_order(who: str, chain_id: int, number: int) -> None:
    """Refuses an order's id that is none, or of somebody else.

    Raises:
        OrderNotOpen: No order can have this id.
        NotOrderOwner: It is of another account.
    """
    from busbar.errors import NotOrderOwner
    from busbar.keys import address
    from busbar.orders import OrderId

    mine = address(who, chain_id, settings_of().keystores)
    if OrderId.parse(number).account != mine:
        raise NotOrderOwner(number, mine)


def _act(chain: "Chain", who: str, calls: "Iterable[Call]") -> None:
    from busbar.keys import signer

    by = signer(who, chain.chain_id, settings_of().keystores)
    for call in calls:
        outcome = chain.send(by, call)
        typer.echo(f"{call} done in block {outcome.block}: {outcome.tx_hash}")
        for event in chain.decode_logs(outcome.logs):
            if event.name == "OrdersEntered":
                from busbar.orders import order_id

                typer.echo(f"order {order_id(by.address, event.args['epoch'], event.args['firstIndex'])}")


@contextmanager
def _relayed(api: str, who: str, record: Path | None) -> "Iterator[Relayed]":
    """A participant's verbs by signature; for the market of the deployment record, if there is one here."""
    from busbar.client import Client
    from busbar.deployment import Record, record_path
    from busbar.keys import signer
    from busbar.relayed import Relayed

    settings = settings_of()
    with Client(api) as client:
        chain_id = client.status().chain_id
        client.signer = signer(who, chain_id, settings.keystores)
        file = record or settings.record or record_path(chain_id)
        known = Record.load(file).addresses if file.exists() else None
        yield Relayed(client, known)


def _say(*brought: "ErrandShape") -> None:
    for status in brought:
        typer.echo(f"{status.errand} done in block {status.block}: {status.transaction}")


def _enter(chain: "Chain", who: str, side: int, tick: int, quantity_wh: int, epochs: int, until: int | None) -> None:
    from busbar.chain import create_orders_call
    from busbar.orders import Order, Side

    epochs = _epochs(lambda: chain.calendar.epoch_at(chain.head().timestamp), epochs, until)
    _act(chain, who, [create_orders_call([Order(Side(side), tick, quantity_wh, epochs)])])


def _enter_relayed(
    api: str,
    who: str,
    record: Path | None,
    side: Literal["buy", "sell"],
    tick: int,
    quantity_wh: int,
    epochs: int,
    until: int | None,
) -> None:
    with _relayed(api, who, record) as mine:
        beyond = _epochs(lambda: mine.client.status().epoch, epochs, until)
        typer.echo(f"order {mine.order(side, tick, quantity_wh, beyond)}")


Tick = Annotated[int, typer.Argument(help="Limit per kWh in ticks, 1 to 1023.")]
Quantity = Annotated[int, typer.Argument(help="Energy in Wh.")]
Epochs = Annotated[int, typer.Option("--epochs", help="Epochs it stands beyond this one, 0 to 96.")]
Until = Annotated[int | None, typer.Option("--until", help="Last epoch in which it stands, instead of --epochs.")]
Asset = Literal["energy", "money"]
AssetName = Annotated[Asset, typer.Argument(help="energy (GRID) or money (baht).")]
AmountWei = Annotated[int, typer.Argument(min=1, help="Amount in wei: 1e18 to the kWh, or to the baht.")]


@order.command()
def buy(
    tick: Tick,
    quantity_wh: Quantity,
    epochs: Epochs = 0,
    until: Until = None,
    who: Who = "dev:20",
    relayed: BySignature = False,
    api: Api = DEFAULT_API,
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
) -> None:
    """Bids for energy, at TICK or less."""
    if relayed:
        _enter_relayed(api, who, record, "buy", tick, quantity_wh, epochs, until)
        return
    _enter(_chain(network, url, record), who, 0, tick, quantity_wh, epochs, until)


@order.command()
def sell(
    tick: Tick,
    quantity_wh: Quantity,
    epochs: Epochs = 0,
    until: Until = None,
    who: Who = "dev:20",
    relayed: BySignature = False,
    api: Api = DEFAULT_API,
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
) -> None:
    """Offers energy, at TICK or more."""
    if relayed:
        _enter_relayed(api, who, record, "sell", tick, quantity_wh, epochs, until)
        return
    _enter(_chain(network, url, record), who, 1, tick, quantity_wh, epochs, until)


@app.command()
def cancel(
    order_id: Annotated[str, typer.Argument(help="Id of the order, in decimal.")],
    who: Who = "dev:20",
    relayed: BySignature = False,
    api: Api = DEFAULT_API,
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
) -> None:
    """Cancels an open order, or what rests of a standing one."""
    from busbar.chain import Call

    if not (order_id.isascii() and order_id.isdigit()):
        raise typer.BadParameter(f"{order_id!r} is no order's id", param_hint="ORDER_ID")
    if relayed:
        with _relayed(api, who, record) as mine:
            _same_order(who, mine.client.status().chain_id, int(order_id))
            _say(mine.cancel(int(order_id)))
        return
    chain = _chain(network, url, record)
    _same_order(who, chain.chain_id, int(order_id))
    _act(chain, who, [Call("Trading", "cancelOrder", (int(order_id),))])


def _asset(name: Asset) -> tuple[int, str]:
    return (0, "GridToken") if name == "energy" else (1, "BahtToken")


@app.command()
def deposit(
    asset: AssetName,
    amount_wei: AmountWei,
    who: Who = "dev:20",
    relayed: BySignature = False,
    api: Api = DEFAULT_API,
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
) -> None:
    """Brings tokens from the wallet into the market."""
    from busbar.chain import Call

    number, token = _asset(asset)
    if relayed:
        with _relayed(api, who, record) as mine:
            _say(mine.deposit(asset, amount_wei))
        return
    chain = _chain(network, url, record)
    trading = chain.addresses["Trading"]
    _require_depositable(chain, who, asset, amount_wei)
    calls = [Call(token, "approve", (trading, amount_wei)), Call("Trading", "deposit", (number, amount_wei))]
    _act(chain, who, calls)


def _require_depositable(chain: "Chain", who: str, asset: Asset, amount_wei: int) -> None:
    """Refuses what the contract would, before anything is approved that would stay behind.

    Raises:
        InexactAmount: It is not a whole number of accounting units.
        NotRegistered: The account is no participant.
        ERC20InsufficientBalance: The wallet holds less.
    """
    from busbar.errors import ERC20InsufficientBalance, NotRegistered
    from busbar.keys import address
    from busbar.units import energy_from_wei

    owner = address(who, chain.chain_id, settings_of().keystores)
    (chain.money.from_wei if asset == "money" else energy_from_wei)(amount_wei)
    block = chain.head().number
    if not chain.accounts([owner], block)[0].status:
        raise NotRegistered(owner)
    held_wei = chain.view(_asset(asset)[1], "balanceOf", owner, block=block)
    if held_wei < amount_wei:
        raise ERC20InsufficientBalance(owner, held_wei, amount_wei)


@app.command()
def withdraw(
    asset: AssetName,
    amount_wei: AmountWei,
    to: Annotated[str | None, typer.Option(help="Receiver; the account's own wallet if not given.")] = None,
    who: Who = "dev:20",
    relayed: BySignature = False,
    api: Api = DEFAULT_API,
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
) -> None:
    """Takes free tokens out of the market."""
    from busbar.chain import Call
    from busbar.keys import address, written_address

    number, _ = _asset(asset)
    to = to and written_address(to)
    if relayed:
        with _relayed(api, who, record) as mine:
            _say(mine.withdraw(asset, amount_wei, to))
        return
    chain = _chain(network, url, record)
    receiver = to or address(who, chain.chain_id, settings_of().keystores)
    _act(chain, who, [Call("Trading", "withdraw", (number, amount_wei, receiver))])


@app.command()
def transfer(
    asset: AssetName,
    amount_wei: AmountWei,
    to: Annotated[str, typer.Argument(help="Receiver's address.")],
    who: Who = "dev:20",
    relayed: BySignature = False,
    api: Api = DEFAULT_API,
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
) -> None:
    """Sends tokens from wallet to wallet; relayed through the trading account, which takes two signatures."""
    from busbar.chain import Call
    from busbar.errors import ZeroAddress
    from busbar.keys import written_address

    _, token = _asset(asset)
    to = written_address(to)
    if not int(to, 16):
        # Relayed it takes two steps, and the second would be refused.
        raise ZeroAddress
    if relayed:
        with _relayed(api, who, record) as mine:
            _say(*mine.transfer(asset, amount_wei, to))
        return
    _act(_chain(network, url, record), who, [Call(token, "transfer", (to, amount_wei))])


# ------------------------------------------------------------------------------ show


def _print(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    # A pipe has no width: rows stay whole there.
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@show.command("blocks")
def show_blocks(api: Api = DEFAULT_API, limit: Rows = 10) -> None:
    """Prints the newest blocks."""
    from busbar.client import Client

    with Client(api) as client:
        rows = [
            (b.number, b.timestamp, b.epoch, b.transactions, b.events, b.hash) for b in islice(client.blocks(), limit)
        ]
    _print(("block", "Unix time", "epoch", "transactions", "events", "hash"), rows)


@show.command("epochs")
def show_epochs(api: Api = DEFAULT_API, limit: Rows = 10, zone: int = 1) -> None:
    """Prints the newest cleared epochs."""
    from busbar.client import Client

    with Client(api) as client:
        tick_wei = client.status().tick_wei
        rows = [
            (e.epoch, kwh(e.result.volume_wh), price(e.result.price2, tick_wei) if e.result.price2 else "no trade")
            for e in islice(client.epochs(zone), limit)
        ]
    _print(("epoch", "volume", "THB/kWh"), rows)


@show.command("trades")
def show_trades(
    api: Api = DEFAULT_API, limit: Rows = 10, who: Annotated[str | None, typer.Option("--of")] = None
) -> None:
    """Prints the newest fills."""
    from busbar.client import Client
    from busbar.keys import written_address

    filters = {"account": written_address(who)} if who else {}
    with Client(api) as client:
        tick_wei = client.status().tick_wei
        trades = client.trades(**filters)
        rows = [
            (t.epoch, t.account, t.side, _energy(t.energy_uwh), price(t.price2, tick_wei), thb(t.money_wei))
            for t in islice(trades, limit)
        ]
    _print(("epoch", "account", "side", "energy", "THB/kWh", "money"), rows)


@show.command("book")
def show_book(api: Api = DEFAULT_API, zone: int = 1) -> None:
    """Prints the open book, and what it would clear at."""
    from busbar.client import Client

    with Client(api) as client:
        book, tick_wei = client.book(zone), client.status().tick_wei
    bids, asks = ({v.tick: v.energy_wh for v in side} for side in (book.bids, book.asks))
    ticks = sorted({*bids, *asks}, reverse=True)
    _print(
        ("bids", "THB/kWh", "asks"),
        [(kwh(bids[t]) if t in bids else "", price(2 * t, tick_wei), kwh(asks[t]) if t in asks else "") for t in ticks],
    )
    result = book.indicative
    told = f"{price(result.price2, tick_wei)} THB/kWh for {kwh(result.volume_wh)}" if result.price2 else "no trade"
    typer.echo(f"epoch {book.epoch}, {book.orders} orders, would clear at {told}")
