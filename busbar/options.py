"""What commands have in common: options, the installation's settings, and the market that both name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from busbar import logs, service

if TYPE_CHECKING:  # see busbar.cli
    from collections.abc import Callable, Sequence

    from busbar.chain import Chain, Outcome, Signer
    from busbar.deployment import Parameters, Record
    from busbar.settings import Settings

Url = Annotated[str | None, typer.Option(help="The node's address; the network's own if not given.")]
Network = Annotated[str | None, typer.Option(help="Which deployments/<network>.toml to go by; devnet if not set.")]
RecordFile = Annotated[
    Path | None, typer.Option("--record", help="Deployment record; deployments/<chain id>.json if not given.")
]
Pause = Annotated[float | None, typer.Option("--pause", min=0.1, help="Longest time between two looks, in seconds.")]
Once = Annotated[bool, typer.Option("--once", help="Look and act once, then stop.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Log warnings and errors only.")]
Plan = Annotated[
    str, typer.Option(help="Retail plan the savings are measured against: residential-1.1, residential-1.2 or tou-1.3.")
]


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


class Process:
    """What the command of a process begins with: settings, log and the market; and how it runs."""

    def __init__(
        self,
        name: str,
        network: str | None,
        url: str | None,
        record: Path | None,
        pause: float | None,
        once: bool,
        quiet: bool,
    ) -> None:
        from busbar.metrics import Pulse

        self.settings = settings_of(quiet)
        self.name, self.once = name, once
        self.pulse = Pulse()
        self.pause_s = pause or self.settings.pause_s
        self.parameters, self.record, self.chain = market_of(self.settings, network, url, record)

    def signer(self, who: str) -> "Signer":
        """The key of an account, as settings and options name it."""
        from busbar.keys import signer

        return signer(who, self.chain.chain_id, self.settings.keystores)

    def run(
        self, step: "Callable[[], list[Outcome]]", accounts: "Sequence[str]", port: int, zones: "Sequence[int]" = ()
    ) -> None:
        """Runs its step again and again, until it is told to stop.

        Args:
            step: One pass.
            accounts: Whose balance its metrics tell.
            port: Port of its metrics; 0 for none.
            zones: Zones whose market its metrics tell.
        """
        from busbar import metrics
        from busbar.watch import Watch

        # One pass is over before anybody asks, and may be made beside a process that has the port.
        port = 0 if self.once else port
        if port:
            first = min(entry["block"] for entry in self.record.contracts.values())
            step = Watch(self.chain, accounts, zones, first).after(step)
        with metrics.served(self.settings.metrics_host, port, self.pulse):
            service.run(step, pause_s=self.pause_s, once=self.once, ws_url=self.settings.ws_url, pulse=self.pulse)
