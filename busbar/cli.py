"""The command line. Commands parse, call and print; what they do is elsewhere.

A failure is one line on standard error and exit status 1.
"""

import signal
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from busbar import __version__, errors, logs, office, service, tools

if TYPE_CHECKING:  # web3.py takes most of a second to import, which `busbar --help` should not cost
    from busbar.chain import Chain

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Busbar: a peer-to-peer energy market on EVM.",
)

app.add_typer(office.app)

Url = Annotated[str | None, typer.Option(help="The node's address; the network's own if not given.")]
Network = Annotated[str, typer.Option(help="Which deployments/<network>.toml to go by.")]
RecordFile = Annotated[
    Path | None, typer.Option("--record", help="Deployment record; deployments/<chain id>.json if not given.")
]
EnrolmentFile = Annotated[Path, typer.Option("--enrolment", help="The file `busbar enrol` wrote.")]
Pause = Annotated[float, typer.Option("--pause", min=0.1, help="Seconds between looks at the chain.")]
Once = Annotated[bool, typer.Option("--once", help="Look and act once, then stop.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Log warnings and errors only.")]
CommunityFile = Annotated[Path | None, typer.Option("--community", help="CSV in the format of data/README.md.")]
Plan = Annotated[str, typer.Option(help="Retail plan the savings are measured against: residential-1.2 or tou-1.3.")]


def default_community() -> Path:
    """The community that ships with Busbar."""
    return tools.project_root() / "data" / "neighbourhood" / "neighbourhood.csv"


DEFAULT_DAY = "2026-03-14"
"""A Saturday with surplus in 32 epochs."""


def _day(text: str | None, community: Path | None) -> date | None:
    if text is None:
        return None if community else date.fromisoformat(DEFAULT_DAY)
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
) -> None:
    """Replays a community's days through a market on a chain of its own, and writes a report."""
    from busbar.display import LiveDisplay
    from busbar.replay import ReplaySettings
    from busbar.replay import replay as run_replay
    from busbar.report import print_summary, write_report

    logs.configure()
    first = _day(day, community)
    path = community or default_community()
    name = f"{first or path.stem}{f'+{days - 1}' if days > 1 else ''}"
    folder = out or Path("out") / name
    console = Console()
    settings = ReplaySettings(path, first, days, seed, folder, epoch_seconds, real_time, plan)
    with LiveDisplay(console) as display:
        result = run_replay(settings, display)
        display.stage("writing the report")
        files = write_report(result, folder)
    print_summary(result, console, files.html)
    if not all(check.ok for check in result.audit):
        raise errors.BusbarError(f"the audit failed: see {files.html}")


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
    network: Network = "devnet",
    url: Url = None,
    record: RecordFile = None,
    plan: Plan = "residential-1.2",
) -> None:
    """Enrols a community in a deployed development market: its data starts with the chain's next epoch but one."""
    from busbar import enrolment as enrolments
    from busbar.community import load_community
    from busbar.deployment import Parameters, Record, connect, parameters_path, record_path
    from busbar.keys import signer

    logs.configure()
    path = community or default_community()
    data = load_community(path)
    _, intervals = enrolments.chosen(data, _day(day, community), days)
    parameters = Parameters.load(parameters_path(network))
    chain = connect(Record.load(record or record_path(parameters.chain_id)), url or parameters.url)
    file = out / enrolments.ENROLMENT_FILE
    if file.exists():
        enrolment = enrolments.Enrolment.load(file)
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
        )
        enrolments.DatedTariff(enrolment, data).check()
        enrolment.save(out)
    outcomes = enrolments.enrol(
        chain,
        enrolment,
        enrolment.community(),
        distributors=[signer(who, chain.chain_id) for who in parameters.roles.distributors],
        issuer=signer(parameters.roles.issuers[0], chain.chain_id),
    )
    if outcomes and chain.head().timestamp >= enrolment.chain_start:
        # Everything sent stands; with another start the same meters go on from the same registers.
        raise enrolments.EnrolmentError(f"the data began while enrolling: remove {file} and enrol again")
    typer.echo(f"{len(enrolment.participants)} participants enrolled with {len(outcomes)} transactions: {file}")


@app.command()
def keeper(
    account: Annotated[str, typer.Option(help="Market maker: dev:N, or an encrypted keystore.")] = "dev:5",
    zone: Annotated[list[int] | None, typer.Option(help="Zone to look after; may be repeated.")] = None,
    network: Network = "devnet",
    url: Url = None,
    record: RecordFile = None,
    pause: Pause = 1.0,
    once: Once = False,
    quiet: Quiet = False,
) -> None:
    """Clears ended epochs, gives up expired requests, retires GRID. Stop and start it as you like."""
    from busbar.keeper import Keeper
    from busbar.keys import signer

    chain = _chain(network, url, record, quiet)
    service.run(Keeper(chain, signer(account, chain.chain_id), zone or [1]).step, pause_s=pause, once=once)


@app.command()
def meters(
    enrolment: EnrolmentFile,
    account: Annotated[str, typer.Option(help="Minter: dev:N, or an encrypted keystore.")] = "dev:4",
    network: Network = "devnet",
    url: Url = None,
    record: RecordFile = None,
    pause: Pause = 1.0,
    once: Once = False,
    quiet: Quiet = False,
) -> None:
    """Signs and submits an enrolled community's readings as the chain's time passes. Stop and start it as you like."""
    from busbar.enrolment import Enrolment, simulated_meters
    from busbar.keys import signer
    from busbar.meters import Gateway

    chain = _chain(network, url, record, quiet)
    enrolled = Enrolment.load(enrolment)
    source = simulated_meters(enrolled, enrolled.community())
    service.run(Gateway(chain, signer(account, chain.chain_id), source).step, pause_s=pause, once=once)


@app.command()
def agents(
    enrolment: EnrolmentFile,
    network: Network = "devnet",
    url: Url = None,
    record: RecordFile = None,
    pause: Pause = 1.0,
    once: Once = False,
    quiet: Quiet = False,
) -> None:
    """Places an enrolled community's orders after each interval's readings. Stop and start it as you like."""
    from busbar.agents import Agents
    from busbar.enrolment import DatedTariff, Enrolment
    from busbar.enrolment import agents as agents_of

    chain = _chain(network, url, record, quiet)
    enrolled = Enrolment.load(enrolment)
    epochs = enrolled.trading_epochs(chain.calendar.epoch_at(enrolled.chain_start))
    tariff = DatedTariff(enrolled, enrolled.community())
    service.run(Agents(chain, agents_of(enrolled), tariff, enrolled.seed, epochs).step, pause_s=pause, once=once)


@app.command()
def version() -> None:
    """Prints the version."""
    typer.echo(__version__)


def _chain(network: str, url: str | None, record: Path | None, quiet: bool) -> "Chain":
    from busbar.deployment import Parameters, Record, connect, parameters_path, record_path

    logs.configure(verbose=not quiet)
    parameters = Parameters.load(parameters_path(network))
    return connect(Record.load(record or record_path(parameters.chain_id)), url or parameters.url)


def main() -> None:
    """The `busbar` command."""
    # Told to stop, a command leaves its blocks in order: a replay stops its chain. Bots have their own handlers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(app(standalone_mode=False))
    except (errors.BusbarError, OSError) as problem:
        sys.stderr.write(f"busbar: {problem}\n")
        sys.exit(1)
    except typer.Abort:
        sys.stderr.write("busbar: stopped\n")
        sys.exit(130)
    except typer.TyperException as problem:
        # Wrong words on the command line: what is wrong in one line, or the help if there were none.
        told = problem.format_message()
        sys.stderr.write(told + "\n" if "\n" in told else f"busbar: {told}: see `busbar --help`\n")
        sys.exit(2)
