"""What a replay found out, as data: the contents of a report folder's `run.json`.

Everything is an integer with its unit in the name, or a string. Energy that went through the auction is in
accounting units (micro-Wh, `_uwh`), because rationed fills are not whole Wh; money on chain is in wei of the
quote token (`_wei`); bills are in micro-THB (`_uthb`).
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

RUN_FILE = "run.json"


class Model(BaseModel):
    """Base of all: unknown fields are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CommunityInfo(Model):
    """Which data was replayed."""

    name: str
    file: str
    sha256: str
    meters: int
    prosumers: int
    interval_s: int
    notes: list[str]


class TariffInfo(Model):
    """Which prices stood beside the market's."""

    plan: str
    description: str
    assumptions: list[str]
    buyback_tick: int
    vat_percent: int


class MarketInfo(Model):
    """Which market it ran on."""

    chain_id: int
    zone: int
    genesis: int
    epoch_seconds: int
    tick_wei: int
    money_unit_wei: int
    addresses: dict[str, str]
    roles: dict[str, list[str]]


class RunInfo(Model):
    """What was run, and how."""

    days: list[str]
    seed: int
    real_time: bool
    first_epoch: int
    last_epoch: int
    wall_seconds: int
    commit: str
    version: str
    started_at: str


class TickVolume(Model):
    """Volume of one side at one tick."""

    tick: int
    energy_wh: int


class EpochRow(Model):
    """One epoch: its auction, what was metered for it, and what it cost in gas.

    Energy read in an epoch was metered in the interval before it (`interval_start`).
    """

    epoch: int
    start: str
    interval_start: str
    import_wh: int
    export_wh: int
    minted_wh: int
    retired_wh: int
    orders: int
    bids: list[TickVolume]
    asks: list[TickVolume]
    price2: int
    lower_tick: int
    upper_tick: int
    long_side: Literal[0, 1, 2]
    filled_wh: int
    offered_wh: int
    volume_wh: int
    buyback_tick: int
    retail_tick: int
    clear_gas: int
    total_gas: int
    cleared_block: int


class TradeRow(Model):
    """One order's fill. A uniform-price auction has no counterparties: everyone trades with the book."""

    epoch: int
    account: str
    participant: str
    order_id: str
    side: Literal["buy", "sell"]
    limit_tick: int
    quantity_wh: int
    price2: int
    energy_uwh: int
    money_wei: int
    tx_hash: str


class ReadingRow(Model):
    """One accepted reading: registers, and their growth since the reading before."""

    meter_id: str
    account: str
    interval_end: int
    import_register_wh: int
    export_register_wh: int
    import_wh: int
    export_wh: int
    tx_hash: str


class ParticipantRow(Model):
    """One participant's days: energy, money, and the comparison with having no market.

    The bills and the saving are before VAT and service charge. Ft is a part of the cost of grid import.
    """

    account: str
    name: str
    role: Literal["prosumer", "consumer", "utility"]
    meter_ids: list[str]
    consumption_wh: int
    generation_wh: int
    import_wh: int
    export_wh: int
    bought_uwh: int
    sold_uwh: int
    paid_wei: int
    earned_wei: int
    retired_wh: int
    outstanding_wh: int
    grid_import_wh: int
    grid_held_uwh: int
    grid_cost_uthb: int
    retail_only_cost_uthb: int
    buyback_only_income_uthb: int
    bill_uthb: int
    baseline_bill_uthb: int
    saving_uthb: int
    grid_ft_uthb: int
    retail_only_ft_uthb: int
    service_uthb: int
    vat_uthb: int
    baseline_vat_uthb: int


class FlowRow(Model):
    """Energy that went from one participant to another, attributed pro rata within each epoch."""

    seller: str
    buyer: str
    energy_wh: int


class GasRow(Model):
    """What one kind of transaction cost."""

    operation: str
    count: int
    total: int
    minimum: int
    median: int
    maximum: int


class AuditCheck(Model):
    """One sum that must come out to the unit."""

    name: str
    ok: bool
    left: str
    right: str
    unit: str
    meaning: str


class Run(Model):
    """All of a replay."""

    schema_version: Literal[1] = 1
    community: CommunityInfo
    tariff: TariffInfo
    market: MarketInfo
    run: RunInfo
    epochs: list[EpochRow]
    trades: list[TradeRow]
    readings: list[ReadingRow]
    participants: list[ParticipantRow]
    flows: list[FlowRow]
    gas: list[GasRow]
    audit: list[AuditCheck]

    def save(self, folder: Path) -> Path:
        """Writes `run.json` into the folder and returns its path."""
        path = folder / RUN_FILE
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return path

    @staticmethod
    def load(folder: Path) -> "Run":
        """Reads a report folder's `run.json`.

        Raises:
            FileNotFoundError: There is none.
            pydantic.ValidationError: It is not what this version writes.
        """
        return Run.model_validate_json((folder / RUN_FILE).read_text(encoding="utf-8"))
