"""Settings of an installation: `busbar.toml`, and over it the environment; read once, checked as a whole.

Every setting is a field below with its meaning; docs/operations.md has the table, and a test compares the two. A
field `b` of table `[a]` is `BUSBAR_A__B` in the environment. What a command line names goes before both.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from limits import parse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from busbar import errors

FILE_VARIABLE = "BUSBAR_CONFIG"
DEFAULT_FILE = "busbar.toml"


def _rate(text: str) -> str:
    """A rate as `limits` reads it, such as 120/minute."""
    parse(text)
    return text


def _rate_or_none(text: str) -> str:
    return _rate(text) if text else text


def _reached(host: str, port: int) -> str:
    """Where somebody who listens there is reached, from the machine it runs on."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  (no address to listen on)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


Level = Literal["debug", "info", "warning", "error"]
Port = Annotated[int, Field(ge=0, le=65_535)]
Rate = Annotated[str, AfterValidator(_rate)]
Seconds = Annotated[float, Field(gt=0)]
Service = Literal["keeper", "meters", "agents", "relay", "headend", "index", "api"]
Plan = Literal["residential-1.1", "residential-1.2", "tou-1.3"]

DATABASE = "sqlite:///out/history.db"
"""Where the index is, if nothing else is said."""


class SettingsError(errors.BusbarError):
    """A setting makes no sense. The message names it and where it stands."""

    remedy = errors.Remedy.STOP


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SendingSettings(_Table):
    """How transactions are sent: see `busbar.chain.Policy`."""

    confirmations: int = Field(0, ge=0, description="blocks that must stand above a receipt; 0 on proof of authority")
    replace_after_blocks: int = Field(5, ge=1, description="blocks after which a stuck transaction is offered again")
    max_fee_wei: int | None = Field(None, ge=0, description="most that is paid for a unit of gas; none: no bound")
    priority_fee_wei: int = Field(0, ge=0, description="offered to the block's proposer for a unit of gas")
    dry_run: bool = Field(False, description="simulate everything and send nothing")
    timeout_s: Seconds = Field(60, description="longest wait for a receipt")


class LogSettings(_Table):
    """Where the log goes, and how much of it."""

    style: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else json")
    level: Level = Field("info", description="least that is logged")
    levels: dict[str, Level] = Field({}, description='by module, as in `{ keeper = "debug" }`')
    file: Path | None = Field(None, description="file to append to instead of standard error")


class KeeperSettings(_Table):
    """`busbar keeper`."""

    account: str = Field("dev:5", description="market maker: a keystore's name or path, or dev:N")
    zones: list[Annotated[int, Field(ge=1, le=255)]] = Field([1], min_length=1, description="zones to look after")
    roll: bool = Field(True, description="roll standing orders into the open epoch")
    settle_idle: bool = Field(False, description="settle accounts that have not acted, in quiet blocks")
    metrics_port: Port = Field(0, description="port of its metrics; 0: none")


class MetersSettings(_Table):
    """`busbar meters`."""

    account: str = Field("dev:4", description="minter: a keystore's name or path, or dev:N")
    enrolment: Path | None = Field(
        None, description="the file `busbar enrol` wrote, whose meters it simulates; or none"
    )
    outbox: Path | None = Field(None, description="its outbox; `outbox.sqlite` beside the enrolment if none")
    host: str = Field("127.0.0.1", description="address on which readings are taken")
    port: Port | None = Field(None, description="port on which readings are taken, 0 for a free one; none: no door")
    rate: Rate = Field("60/minute", description="readings taken from one meter over HTTP")
    address_rate: Rate = Field("6000/minute", description="requests answered to one address")
    headend: HttpUrl | None = Field(None, description="address of a head-end that is asked for readings; none: nobody")
    headend_pause_s: Seconds = Field(10, description="pause between two looks at a head-end that has nothing new")
    headend_timeout_s: Seconds = Field(10, description="longest wait for a page of the head-end")
    metrics_port: Port = Field(0, description="port of its metrics; 0: none")

    @property
    def door(self) -> str | None:
        """Where it answers, from the machine it runs on; None without a door, or at a free port."""
        return _reached(self.host, self.port) if self.port else None


class HeadendSettings(_Table):
    """`busbar headend`, the simulator."""

    enrolment: Path | None = Field(None, description="the file `busbar enrol` wrote")
    host: str = Field("127.0.0.1", description="address on which it answers")
    port: Port = Field(8560, description="port on which it answers; 0: a free one, told in the log")

    @property
    def door(self) -> str | None:
        """Where it answers, from the machine it runs on; None at a free port."""
        return _reached(self.host, self.port) if self.port else None


class AgentsSettings(_Table):
    """`busbar agents`."""

    enrolment: Path | None = Field(None, description="the file `busbar enrol` wrote")
    metrics_port: Port = Field(0, description="port of its metrics; 0: none")


class RelaySettings(_Table):
    """`busbar relay`."""

    account: str = Field("dev:8", description="who pays for gas, without any role: a keystore's name or path, or dev:N")
    host: str = Field("127.0.0.1", description="address on which bundles are taken")
    port: Port = Field(8550, description="port on which bundles are taken; 0: a free one, told in the log")
    outbox: Path = Field(Path("out/relay.sqlite"), description="its outbox")
    rate: Rate = Field("120/minute", description="bundles taken from one participant")
    most_waiting: int = Field(1_000, ge=1, description="bundles of one participant that may wait")
    metrics_port: Port = Field(0, description="port of its metrics; 0: none")

    @property
    def url(self) -> str:
        """Where it answers, from the machine it runs on."""
        return _reached(self.host, self.port)


class IndexSettings(_Table):
    """`busbar index`."""

    metrics_port: Port = Field(0, description="port of its metrics; 0: none")


class ApiSettings(_Table):
    """`busbar api`."""

    host: str = Field("127.0.0.1", description="address on which it answers")
    port: Port = Field(8000, description="port on which it answers; 0: a free one, told in the log")
    cors_origins: list[str] = Field([], description="origins whose pages may call, such as https://app.example")
    rate: Annotated[str, AfterValidator(_rate_or_none)] = Field(
        "1200/minute", description="requests answered to one address; empty: no limit"
    )
    tariffs: Path | None = Field(None, description="dated tariffs of statements; data/tariffs/thailand.csv if none")
    plan: Plan = Field("residential-1.2", description="retail plan of statements")
    relay_url: HttpUrl | None = Field(
        None, description="relay that signed messages are handed to; none: this installation's, if `up.run` names it"
    )
    gateway_url: HttpUrl | None = Field(
        None, description="gateway that signed readings are handed to; none: this installation's, likewise"
    )
    dapp: Path | None = Field(None, description="folder of the built dapp, served at /; none: the API alone")
    metrics_port: Port = Field(0, description="port of its metrics; 0: none")

    @property
    def door(self) -> str | None:
        """Where it answers, from the machine it runs on; None at a free port."""
        return _reached(self.host, self.port) if self.port else None


class UpSettings(_Table):
    """`busbar up`."""

    run: list[Service] = Field(["keeper", "meters", "agents"], min_length=1, description="what it runs")
    restart_s: Seconds = Field(1, description="pause before the first restart; doubled each time")
    restart_max_s: Seconds = Field(60, description="longest pause before a restart")
    stop_s: Seconds = Field(90, description="patience with a process that was asked to stop, before it is killed")


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="BUSBAR_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    network: str = Field("devnet", description="which deployments/<network>.toml to go by")
    url: str | None = Field(None, description="the node's HTTP address; the network's own if none")
    ws_url: str | None = Field(None, description="the node's WebSocket address, for new blocks; none: polling alone")
    record: Path | None = Field(None, description="deployment record; deployments/<chain id>.json if none")
    pause_s: Seconds = Field(1, description="longest time between two looks at the chain")
    request_timeout_s: Seconds = Field(30, description="longest wait for an answer of the node")
    keystores: Path = Field(Path("keystores"), description="folder of the keystores")
    database: str = Field(
        DATABASE, description="the index: sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
    )
    metrics_host: str = Field("127.0.0.1", description="address on which metrics are served")
    sending: SendingSettings = SendingSettings()
    log: LogSettings = LogSettings()
    keeper: KeeperSettings = KeeperSettings()
    meters: MetersSettings = MetersSettings()
    headend: HeadendSettings = HeadendSettings()
    agents: AgentsSettings = AgentsSettings()
    relay: RelaySettings = RelaySettings()
    index: IndexSettings = IndexSettings()
    api: ApiSettings = ApiSettings()
    up: UpSettings = UpSettings()

    @property
    def relay_url(self) -> str | None:
        """The relay that belongs to the API, if one does."""
        beside = self.relay.url if "relay" in self.up.run and self.relay.port else None
        return str(self.api.relay_url).rstrip("/") if self.api.relay_url else beside

    @property
    def gateway_url(self) -> str | None:
        """The gateway that belongs to the API, if one does."""
        if self.api.gateway_url:
            return str(self.api.gateway_url).rstrip("/")
        return self.meters.door if "meters" in self.up.run else None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (the library's signature)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before the file; nothing else is read."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, settings_file())

    @staticmethod
    def load() -> "Settings":
        """Reads the file and the environment.

        Raises:
            SettingsError: A setting is unknown or impossible, or the file named in BUSBAR_CONFIG is missing.
        """
        file = settings_file()
        if FILE_VARIABLE in os.environ and not file.is_file():
            raise SettingsError(f"{file}, which {FILE_VARIABLE} names, is missing")
        try:
            return Settings()
        except ValidationError as problem:
            first = problem.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise SettingsError(f"setting {where}: {first['msg']} (in {file} or the environment)") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
            raise SettingsError(f"{file}: {problem}") from None
        except ValueError as problem:
            # A variable of the environment that should hold a list or a table and is no JSON.
            raise SettingsError(f"{problem}: write it as JSON") from None


def settings_file() -> Path:
    """The file that is read: what BUSBAR_CONFIG names, or busbar.toml where the process runs."""
    return Path(os.environ.get(FILE_VARIABLE, DEFAULT_FILE))


def table() -> list[tuple[str, str, str]]:
    """(setting, default, meaning) of every setting, for docs/operations.md."""
    return _rows(Settings, "")


def _rows(model: type[BaseModel], prefix: str) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Table):
            rows += _rows(field.annotation, f"{name}.")
            continue
        default = field.default
        shown = "none" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        rows.append((prefix + name, shown, field.description or ""))
    return rows
