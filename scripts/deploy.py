"""Brings the market onto a network: `ape run deploy [--network NETWORK] [--account ALIAS]`.

Goes by deployments/<network>.toml, writes deployments/<chain id>.json, and can be repeated: a second run says what
stands and changes nothing, one that was interrupted is finished by the next. What it does is busbar.deployment, the
same code that a replay and the tests run; ape only brings the network and the account that signs.

On the development network (the default; start it with `make devnet`) the regulator's published key signs. Elsewhere
name one of your ape accounts; it keeps no rights unless it is the regulator.
"""

from pathlib import Path
from typing import Any

import click
from ape import accounts, networks
from ape.api import AccountAPI
from ape.cli import ConnectedProviderCommand
from ape.exceptions import ProviderError

from busbar import errors
from busbar.chain import Chain, Signer
from busbar.deployment import Parameters, deploy, parameters_path, record_path
from busbar.devnet import CHAIN_ID as DEV_CHAIN_ID
from busbar.keys import signer


class DeployCommand(ConnectedProviderCommand):
    """ape connects before it calls the script; without a node, say in one line how to start one."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the script once connected."""
        try:
            return super().invoke(ctx)
        except ProviderError as problem:
            if "node found on" not in str(problem):
                raise
            raise click.ClickException(f"{str(problem).rstrip('.')}: start one with `make devnet`") from None


class ApeSigner:
    """An account of ape that signs for our own door to the chain."""

    def __init__(self, account: AccountAPI) -> None:
        self._account = account

    @property
    def address(self) -> str:
        """Checksummed address."""
        return str(self._account.address)

    def sign(self, transaction: dict[str, Any]) -> bytes:
        """The raw signed transaction."""
        ecosystem = networks.provider.network.ecosystem
        prepared = ecosystem.create_transaction(
            chain_id=transaction["chainId"],
            nonce=transaction["nonce"],
            gas=transaction["gas"],
            max_fee=transaction["maxFeePerGas"],
            max_priority_fee=transaction["maxPriorityFeePerGas"],
            receiver=transaction.get("to"),
            data=bytes.fromhex(transaction["data"][2:]),
            value=transaction["value"],
            type=transaction["type"],
        )
        signed = self._account.sign_transaction(prepared)
        if signed is None:
            raise errors.BusbarError(f"{self.address} did not sign: nothing was sent")
        return bytes(signed.serialize_transaction())


def _signer(alias: str | None, parameters: Parameters, chain_id: int) -> Signer:
    if alias is not None:
        if alias not in accounts.aliases:
            raise click.ClickException(f"ape knows no account {alias!r}: `ape accounts list` shows them")
        return ApeSigner(accounts.load(alias))
    if chain_id == DEV_CHAIN_ID:
        return signer(parameters.roles.regulator, chain_id)
    raise click.ClickException("name the account that signs: --account ALIAS (`ape accounts list` shows them)")


@click.command(cls=DeployCommand)
@click.option("--account", "alias", help="The ape account that signs and pays.")
@click.option(
    "--parameters",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The network's file; deployments/<network>.toml if not given.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the record is kept; deployments/<chain id>.json if not given.",
)
def cli(alias: str | None, file: Path | None, record: Path | None) -> None:
    """Deploys the market, or finishes or confirms what stands."""
    provider = networks.provider
    try:
        parameters = Parameters.load(file or parameters_path(provider.network.name))
        url = str(getattr(provider, "http_uri", None) or parameters.url)
        chain = Chain(url)
        path = record or record_path(chain.chain_id)
        deploy(chain, _signer(alias, parameters, chain.chain_id), parameters, path, click.echo)
        click.echo(f"record: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    except errors.BusbarError as problem:
        raise click.ClickException(str(problem)) from None
