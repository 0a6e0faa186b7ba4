"""What commands have in common: options, the installation's settings, and the market that both name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from busbar import logs

if TYPE_CHECKING:  # see busbar.cli
    from busbar.chain import Chain
    from busbar.deployment import Parameters, Record
    from busbar.settings import Settings

Url = Annotated[str | None, typer.Option(help="The node's address; the network's own if not given.")]
Network = Annotated[str | None, typer.Option(help="Which deployments/<network>.toml to go by; devnet if not set.")]
RecordFile = Annotated[
    Path | None, typer.Option("--record", help="Deployment record; deployments/<chain id>.json if not given.")
]
Pause = Annotated[float | None, typer.Option("--pause", min=0.1, help="Longest time between two looks, in seconds.")]
Once = Annotated[bool, typer.Option("--once", help="Look and act once, then stop.")]
Plan = Annotated[str, typer.Option(help="Retail plan the savings are measured against: residential-1.2 or tou-1.3.")]


def settings_of(quiet: bool = False) -> "Settings":
    """The settings; the log is set up by them."""
    from busbar.settings import Settings

    settings = Settings.load()
    log = settings.log
    level = "warning" if quiet else log.level
    logs.configure(style=log.style, level=level, levels=log.levels, file=log.file)
    return settings


def market_of(
    settings: "Settings", network: str | None, url: str | None, record: Path | None
) -> "tuple[Parameters, Record, Chain]":
    """Parameters, record and client of the market that an option or else a setting names."""
    from busbar.chain import Policy
    from busbar.deployment import Parameters, Record, connect, parameters_path, record_path

    parameters = Parameters.load(parameters_path(network or settings.network))
    sending = settings.sending
    policy = Policy(
        confirmations=sending.confirmations,
        replace_after_blocks=sending.replace_after_blocks,
        max_fee_wei=sending.max_fee_wei,
        priority_fee_wei=sending.priority_fee_wei,
        dry_run=sending.dry_run,
    )
    held = Record.load(record or settings.record or record_path(parameters.chain_id))
    chain = connect(
        held,
        url or settings.url or parameters.url,
        timeout_s=sending.timeout_s,
        request_timeout_s=settings.request_timeout_s,
        policy=policy,
    )
    return parameters, held, chain
