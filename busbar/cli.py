"""The command line. Commands parse, call and print; what they do is elsewhere.

A failure is one line on standard error and exit status 1.
"""

import functools
import signal
import sys
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from busbar import __version__, errors, logs, office, service, tools
from busbar.options import Network, Once, Pause, Plan, Process, Quiet, RecordFile, Url, market_of, settings_of

if TYPE_CHECKING:  # web3.py takes most of a second to import, which `busbar --help` should not cost
    from busbar.chain import Chain, Outcome
    from busbar.meter_keys import Curve
    from busbar.outbox import Outbox
    from busbar.replay import Replayed
    from busbar.settings import Settings

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Busbar: a peer-to-peer energy market on EVM.",
)

app.add_typer(office.app)

EnrolmentFile = Annotated[Path | None, typer.Option("--enrolment", help="The file `busbar enrol` wrote.")]
Account = Annotated[str | None, typer.Option(help="Who signs: a keystore's name or path, or dev:N.")]
CommunityFile = Annotated[Path | None, typer.Option("--community", help="CSV in the format of data/README.md.")]


def default_community() -> Path:
    """The community that ships with Busbar."""
    return tools.project_root() / "data" / "neighbourhood" / "neighbourhood.csv"


DEFAULT_DAY = "2026-03-14"
"""A Saturday with surplus in 32 epochs; several days begin with the community's first instead."""


def _day(text: str | None, community: Path | None, days: int) -> date | None:
    if text is None:
        return None if community or days > 1 else date.fromisoformat(DEFAULT_DAY)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date: write YYYY-MM-DD", param_hint="--day") from None


@app.command()
def replay(
    community: CommunityFile = None,
    day: Annotated[str | None, typer.Option(help="First day, YYYY-MM-DD.")] = None,
    days: Annotated[int, typer.Option(min=1, help="How many days.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the agents' limits.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Report folder; out/<day>[...] if not given.")] = None,
    epoch_seconds: Annotated[int | None, typer.Option(min=1, help="Length of an epoch; moves the dates.")] = None,
    real_time: Annotated[bool, typer.Option("--real-time", help="A block every 2 s, dates moved to now.")] = False,
    plan: Plan = "residential-1.2",
    leave: Annotated[bool, typer.Option("--exit", help="End after the report; so it does without a terminal.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of the dapp afterwards.")] = 8000,
) -> None:
    """Replays a community's days through a market on a chain of its own, writes a report, and serves the dapp."""
    from busbar.display import LiveDisplay
    from busbar.replay import ReplaySettings, replayed
    from busbar.report import print_summary, write_report

    logs.configure()
    first = _day(day, community, days)
    path = community or default_community()
    name = f"{first or path.stem}{f'+{days - 1}' if days > 1 else ''}"
    folder = out or Path("out") / name
    console = Console()
    stays = console.is_terminal and not leave
    if stays:
        _require_ready(port)
    settings = ReplaySettings(path, first, days, seed, folder, epoch_seconds, real_time, plan)
    with ExitStack() as chain_runs:
        with LiveDisplay(console) as display:
            done = chain_runs.enter_context(replayed(settings, display))
            display.stage("writing the report")
            files = write_report(done.run, folder)
        print_summary(done.run, console, files.html)
        if not all(check.ok for check in done.run.audit):
            raise errors.BusbarError(f"the audit failed: see {files.html}")
        if stays:
            _go_on(done, folder, port, console)


def _require_ready(port: int) -> None:
    from busbar import live

    live.require_ready(tools.dapp_folder(), port)


def _go_on(done: "Replayed", folder: Path, port: int, console: Console) -> None:
    """Serves the dapp over the replayed market until Ctrl-C."""
    from busbar import live

    def opened(url: str, market: live.LiveMarket) -> None:
        key = market.guest.account.key.hex().removeprefix("0x")
        console.print(
            f"\nThe market goes on, an epoch a minute: [bold]{url}[/bold]  (Ctrl-C ends it)\n"
            f"Guest with a roof and baht, for your wallet: {market.guest.address}\n"
            f"its published key, worth nothing:            0x{key}",
            highlight=False,
            soft_wrap=True,
        )

    logs.configure(level="warning")
    live.serve(done, folder / "deployment.json", tools.dapp_folder(), port, opened)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A report folder, with its run.json.")]) -> None:
    """Writes a report folder's page and tables again from its run.json."""
    from pydantic import ValidationError

    from busbar.report import print_summary, write_report
    from busbar.results import RUN_FILE, Run

    try:
        result = Run.load(folder)
    except FileNotFoundError:
        raise errors.BusbarError(f"{folder / RUN_FILE} is missing: `busbar replay --out {folder}` makes one") from None
    except ValidationError as problem:
        raise errors.BusbarError(f"{folder / RUN_FILE}: {problem.errors()[0]['msg']}") from None
    print_summary(result, Console(), write_report(result, folder).html)


@app.command()
def enrol(
    out: Annotated[Path, typer.Option(help="Folder for enrolment.json.")],
    community: CommunityFile = None,
    day: Annotated[str | None, typer.Option(help="First day, YYYY-MM-DD.")] = None,
    days: Annotated[int, typer.Option(min=1, help="How many days.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the agents' limits.")] = 1,
    meter_keys: Annotated[
        Path | None, typer.Option(help="Folder of the meters' keystores, made if missing; development keys without.")
    ] = None,
    meter_curve: Annotated[str, typer.Option(help="Of keys made here: secp256k1, p256, or both in turn.")] = "both",
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
    plan: Plan = "residential-1.2",
) -> None:
    """Enrols a community in a deployed development market: its data starts with the chain's next epoch but one."""
    from busbar import enrolment as enrolments
    from busbar.community import load_community
    from busbar.keys import signer

    settings = settings_of(quiet=True)
    path = community or default_community()
    data = load_community(path)
    _, intervals = enrolments.chosen(data, _day(day, community, days), days)
    parameters, _, chain = market_of(settings, network, url, record)
    file = out / enrolments.ENROLMENT_FILE
    if file.exists():
        enrolment = enrolments.Enrolment.load(file)
        if day is not None and enrolment.replayed != intervals:
            raise enrolments.EnrolmentError(f"{file} is for other days: remove it, or name no day to go on with it")
        typer.echo(f"{file} stands: going on with it")
    else:
        start = chain.calendar.start(chain.calendar.epoch_at(chain.head().timestamp) + 2)
        enrolment = enrolments.plan(
            data,
            path,
            intervals,
            chain_start=start,
            epoch_seconds=chain.calendar.epoch_seconds,
            seed=seed,
            tariff_plan=plan,
            meter_keystores=meter_keys,
        )
        if meter_keys is not None:
            enrolments.make_meter_keys(meter_keys, data, _curve(meter_curve))
        enrolments.DatedTariff(enrolment, data).check()
        enrolments.check_registers(chain, enrolment, data)
        enrolment.save(out)
    outcomes = enrolments.enrol(
        chain,
        enrolment,
        enrolment.community(),
        distributors=[signer(who, chain.chain_id, settings.keystores) for who in parameters.roles.distributors],
        issuer=signer(parameters.roles.issuers[0], chain.chain_id, settings.keystores),
    )
    if outcomes and chain.head().timestamp >= enrolment.chain_start:
        # Everything sent stands; with another start the same meters go on from the same registers.
        raise enrolments.EnrolmentError(f"the data began while enrolling: remove {file} and enrol again")
    typer.echo(f"{len(enrolment.participants)} participants enrolled with {len(outcomes)} transactions: {file}")


@app.command()
def keeper(
    account: Account = None,
    zone: Annotated[list[int] | None, typer.Option(min=1, max=255, help="Zone to look after; may be repeated.")] = None,
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
    pause: Pause = None,
    once: Once = False,
    quiet: Quiet = False,
) -> None:
    """Clears ended epochs, gives up expired requests, retires GRID. Stop and start it as you like."""
    from busbar.keeper import Keeper, must_be_done

    bot = Process("keeper", network, url, record, pause, once, quiet)
    mine = bot.settings.keeper
    signer = bot.signer(account or mine.account)
    keepers = [who for role, who in bot.parameters.holders(bot.chain.chain_id) if role == "market maker"]
    zones = zone or mine.zones
    looks = Keeper(bot.chain, signer, zones, keepers=keepers, settle_idle=mine.settle_idle, roll=mine.roll)

    def step() -> "list[Outcome]":
        outcomes = looks.step()
        if once:
            # Nobody looks again: whoever called it must know.
            must_be_done(outcomes)
        return outcomes

    bot.run(step, [signer.address], mine.metrics_port, zones)


@app.command()
def meters(
    enrolment: EnrolmentFile = None,
    account: Account = None,
    outbox: Annotated[
        Path | None, typer.Option(help="Its outbox; outbox.sqlite beside the enrolment if not set.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port on which readings are taken.")] = None,
    headend: Annotated[str | None, typer.Option(help="Address of a head-end that is asked for readings.")] = None,
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
    pause: Pause = None,
    once: Once = False,
    quiet: Quiet = False,
) -> None:
    """Submits readings: of an enrolled community it simulates, taken over HTTP, asked of a head-end."""
    from busbar.door import serve
    from busbar.enrolment import Enrolment, simulated_meters
    from busbar.intake import Intake
    from busbar.meters import NO_METERS, Gateway
    from busbar.meters_api import create_app
    from busbar.outbox import Outbox
    from busbar.polling import HeadEnd, Poller

    bot = Process("meters", network, url, record, pause, once, quiet)
    mine = bot.settings.meters
    at, asked = mine.port if port is None else port, headend or (str(mine.headend) if mine.headend else None)
    file = enrolment or mine.enrolment
    if at is None and asked is None:
        file = _enrolment(file)
    box = outbox or mine.outbox or (file or Path("out/meters")).with_name("outbox.sqlite")
    signer = bot.signer(account or mine.account)
    market = f"{bot.chain.chain_id}:{bot.chain.addresses['Metering']}"
    source = NO_METERS
    if file is not None:
        enrolled = Enrolment.load(file)
        source = simulated_meters(enrolled, enrolled.community())

    def another() -> "tuple[Chain, Outbox]":
        # Each door takes readings on by a thread of its own, with a client and a connection of its own.
        return market_of(bot.settings, network, url, record)[2], Outbox(box, market)

    with ExitStack() as doors:
        if at is not None:
            intake = Intake(*another(), rate=mine.rate)
            doors.callback(serve(create_app(intake, mine.address_rate), mine.host, at))
        if asked is not None:
            polled = Intake(*another(), door="headend")
            poller = Poller(HeadEnd(asked, mine.headend_timeout_s), polled, mine.headend_pause_s)
            if once:
                poller.poll()
            else:
                poller.start()
                doors.callback(poller.stop)
        bot.run(Gateway(bot.chain, signer, source, Outbox(box, market)).step, [signer.address], mine.metrics_port)


@app.command()
def headend(
    enrolment: EnrolmentFile = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port on which it answers.")] = None,
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
    quiet: Quiet = False,
) -> None:
    """Simulates an AMI head-end: serves an enrolled community's signed readings page by page."""
    from busbar.door import serve
    from busbar.enrolment import Enrolment, simulated_meters
    from busbar.headend import Readings, create_app

    settings = settings_of(quiet)
    mine = settings.headend
    enrolled = Enrolment.load(_enrolment(enrolment or mine.enrolment))
    source = simulated_meters(enrolled, enrolled.community())
    readings = Readings(market_of(settings, network, url, record)[2], source)
    stop = serve(create_app(readings), mine.host, mine.port if port is None else port)
    try:
        service.run(lambda: (), pause_s=settings.pause_s)
    finally:
        stop()


@app.command()
def agents(
    enrolment: EnrolmentFile = None,
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
    pause: Pause = None,
    once: Once = False,
    quiet: Quiet = False,
) -> None:
    """Places an enrolled community's orders after each interval's readings. Stop and start it as you like."""
    from busbar.agents import Agents
    from busbar.enrolment import DatedTariff, Enrolment
    from busbar.enrolment import agents as agents_of

    bot = Process("agents", network, url, record, pause, once, quiet)
    mine = bot.settings.agents
    enrolled = Enrolment.load(_enrolment(enrolment or mine.enrolment))
    epochs = enrolled.trading_epochs(bot.chain.calendar.epoch_at(enrolled.chain_start))
    tariff = DatedTariff(enrolled, enrolled.community())
    everybody = agents_of(enrolled)
    step = Agents(bot.chain, everybody, tariff, enrolled.seed, epochs).step
    bot.run(step, [agent.signer.address for agent in everybody], mine.metrics_port)


@app.command()
def relay(
    account: Account = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port on which messages are taken.")] = None,
    outbox: Annotated[Path | None, typer.Option(help="Its outbox.")] = None,
    network: Network = None,
    url: Url = None,
    record: RecordFile = None,
    pause: Pause = None,
    once: Once = False,
    quiet: Quiet = False,
) -> None:
    """Takes what participants sign over HTTP and brings it to the chain. Stop and start it as you like."""
    from busbar import door, relay_api
    from busbar.outbox import Outbox
    from busbar.relay import Intake, Relay

    bot = Process("relay", network, url, record, pause, once, quiet)
    mine = bot.settings.relay
    signer = bot.signer(account or mine.account)
    file = outbox or mine.outbox
    market = f"{bot.chain.chain_id}:{bot.chain.addresses['Trading']}"
    # Bundles are taken on by a thread of its own, with a client and a connection of its own.
    chain = market_of(bot.settings, network, url, record)[2]
    intake = Intake(chain, Outbox(file, market), rate=mine.rate, most_waiting=mine.most_waiting)
    app = relay_api.create_app(intake, signer.address, bot.pulse)
    stop = door.serve(app, mine.host, mine.port if port is None else port)
    try:
        bot.run(Relay(bot.chain, signer, Outbox(file, market)).step, [signer.address], mine.metrics_port)
    finally:
        stop()


@app.command()
def up(quiet: Quiet = False) -> None:
    """Runs the bots that busbar.toml names, starts again what ends, and stops all of them when told to."""
    from collections.abc import Sequence

    from busbar.supervisor import Supervisor

    settings = settings_of(quiet)
    mine = settings.up
    more = ["--quiet"] if quiet else []
    commands: dict[str, Sequence[str]] = {name: [sys.executable, "-m", "busbar.cli", name, *more] for name in mine.run}
    patience = {"restart_s": mine.restart_s, "restart_max_s": mine.restart_max_s, "stop_s": mine.stop_s}
    Supervisor(commands, **patience).run()


@app.command()
def doctor(network: Network = None, url: Url = None, record: RecordFile = None) -> None:
    """Looks for what is wrong with node, deployment, doors, index, roles, funds and clearing; says what to do."""
    from busbar.deployment import Parameters, Record, parameters_path, record_path
    from busbar.doctor import Bot, Door, examine
    from busbar.keys import address

    settings = settings_of(quiet=True)
    parameters = Parameters.load(parameters_path(network or settings.network))
    held = Record.load(record or settings.record or record_path(parameters.chain_id))
    bots = [
        Bot(name, address(who, held.chain_id, settings.keystores), role)
        for name, who, role in (
            ("keeper", settings.keeper.account, "market maker"),
            ("meters", settings.meters.account, "minter"),
            ("relay", settings.relay.account, None),
        )
        if name in settings.up.run
    ]
    doors = [
        Door(name, f"{door}{path}", title)
        for name, door, path, title in (
            ("meters", settings.meters.door, "", "Busbar gateway"),
            ("headend", settings.headend.door, "", "Busbar head-end"),
            ("api", settings.api.door, "/api/v1", "Busbar"),
        )
        if name in settings.up.run and door
    ]
    wrong = 0
    relay_url = settings.relay.url if "relay" in settings.up.run else None
    database = settings.database if "index" in settings.up.run else None
    connect = functools.partial(_connected, settings, network, url, record)
    findings = examine(connect, held, bots, settings.keeper.zones, doors=doors, relay_url=relay_url, database=database)
    for finding in findings:
        typer.echo(f"{'ok   ' if finding.ok else 'WRONG'}  {finding.name}: {finding.told}")
        if not finding.ok:
            wrong += 1
            typer.echo(f"       -> {finding.remedy}")
    if wrong:
        raise errors.BusbarError(f"{wrong} of the checks found something wrong")


def _connected(settings: "Settings", network: str | None, url: str | None, record: Path | None) -> "Chain":
    return market_of(settings, network, url, record)[2]


@app.command()
def roles(network: Network = None, url: Url = None, record: RecordFile = None) -> None:
    """Lists who holds which role, and fails if that is not what the network's file says."""
    from busbar.roles import findings, holdings, misassigned

    settings = settings_of(quiet=True)
    parameters, held, chain = market_of(settings, network, url, record)
    found = holdings(chain, parameters, held.contracts["Authority"]["block"])
    for holding in found:
        mark = "ok   " if not holding.finding else "WRONG"
        typer.echo(f"{mark}  {holding.role:<16} {holding.account} {holding.who}".rstrip())
    wrong = findings(found) + misassigned(chain)
    for line in wrong:
        typer.echo(f"       -> {line}")
    if wrong:
        raise errors.BusbarError(f"{len(wrong)} findings: roles are not as the network's file says")


@app.command()
def outbox(
    file: Annotated[Path, typer.Argument(help="The outbox of a gateway.")],
    backup: Annotated[Path | None, typer.Option(help="Write a copy that is whole, while others go on.")] = None,
) -> None:
    """Tells what is in an outbox and what was refused, or copies it."""
    from busbar.outbox import Outbox, State

    if not file.is_file():
        raise errors.BusbarError(f"{file} is missing: `busbar meters` makes one")
    box = Outbox(file)
    if backup is not None:
        box.backup(backup)
    typer.echo(", ".join(f"{count} {state.value}" for state, count in box.counts().items()))
    for item in box.of(State.REFUSED, 100):
        typer.echo(f"refused {item.key}: {item.reason}")


wallet_app = typer.Typer(no_args_is_help=True, help="Keystores: make, list, sign, verify.")
app.add_typer(wallet_app, name="wallet")
Keystores = Annotated[Path | None, typer.Option("--keystores", help="Folder of the keystores; the setting's if none.")]


@wallet_app.command("new")
def wallet_new(
    name: Annotated[str, typer.Argument(help="Its name.")],
    keystores: Keystores = None,
    p256: Annotated[bool, typer.Option("--p256", help="A meter's key on P-256.")] = False,
) -> None:
    """Makes a key and its keystore; the password is in BUSBAR_KEYSTORE_PASSWORD or ..._PASSWORD_FILE."""
    from busbar import wallet
    from busbar.readings import KeyType

    made = wallet.new(keystores or settings_of().keystores, name, KeyType(int(p256)))
    typer.echo(f"{made.address} {made.path}")


@wallet_app.command("list")
def wallet_list(keystores: Keystores = None) -> None:
    """Lists the keystores and their addresses."""
    from busbar import wallet

    for found in wallet.stored(keystores or settings_of().keystores):
        typer.echo(f"{found.address} {found.name}")


@wallet_app.command("sign")
def wallet_sign(
    who: Annotated[str, typer.Argument(help="A keystore's name or path, or dev:N.")],
    text: Annotated[str, typer.Argument(help="The text.")],
    keystores: Keystores = None,
) -> None:
    """Signs a text as wallets do (EIP-191), to show that one holds a key."""
    from busbar import wallet
    from busbar.devnet import CHAIN_ID

    typer.echo(wallet.sign(who, CHAIN_ID, keystores or settings_of().keystores, text))


@wallet_app.command("verify")
def wallet_verify(
    address: Annotated[str, typer.Argument(help="Who is said to have signed.")],
    text: Annotated[str, typer.Argument(help="The text.")],
    signature: Annotated[str, typer.Argument(help="The signature, in hex.")],
) -> None:
    """Says whether this address signed this text, and fails if not."""
    from busbar import wallet

    by = wallet.signed_by(text, signature)
    if by.lower() != address.lower():
        raise errors.BusbarError(f"signed by {by}, not by {address}")
    typer.echo(f"signed by {by}")


@app.command()
def version() -> None:
    """Prints the version."""
    typer.echo(__version__)


def _curve(name: str) -> "Curve":
    from busbar.meter_keys import Curve

    try:
        return Curve(name)
    except ValueError:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(Curve)}", param_hint="--meter-curve") from None


def _enrolment(file: Path | None) -> Path:
    if file is None:
        raise typer.BadParameter("name the file `busbar enrol` wrote", param_hint="--enrolment")
    return file


def main() -> None:
    """The `busbar` command."""
    # Told to stop, a command leaves its blocks in order: a replay stops its chain. Bots have their own handlers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(app(standalone_mode=False))
    except OSError as problem:
        told = f"{problem.filename}: {problem.strerror}" if problem.filename and problem.strerror else problem
        sys.stderr.write(f"busbar: {told}\n")
        sys.exit(1)
    except errors.BusbarError as problem:
        sys.stderr.write(f"busbar: {problem}\n")
        sys.exit(1)
    except typer.Abort:
        sys.stderr.write("busbar: stopped\n")
        sys.exit(130)
    except typer.TyperException as problem:
        # Wrong words on the command line: what is wrong in one line, or the help if there were none.
        told = problem.format_message().removesuffix(".")
        sys.stderr.write(told + "\n" if "\n" in told else f"busbar: {told}: see `busbar --help`\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
