"""What a replay shows while it runs: a progress bar and the newest epochs with price, volume and gas."""

from collections import deque
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from busbar import replay as replays
from busbar.units import kwh, price

SHOWN = 8
"""Epochs on display at a time."""

PLAIN_EVERY = 24
"""Without a terminal, a line for every so many epochs."""


class LiveDisplay:
    """Watches a replay. On a terminal it repaints in place; elsewhere it prints a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._bar.add_task("setting up", total=None)
        self._newest: deque[replays.Progress] = deque(maxlen=SHOWN)
        self._live = Live(self._picture(), console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def stage(self, text: str) -> None:
        """A stage begins."""
        self._bar.update(self._task, description=text)
        self._repaint(text)

    def epoch(self, progress: replays.Progress) -> None:
        """An epoch is cleared."""
        self._newest.append(progress)
        self._bar.update(self._task, completed=progress.number, total=progress.total)
        self._repaint(_line(progress) if progress.number % PLAIN_EVERY == 0 else None)

    def _repaint(self, line: str | None) -> None:
        if self._console.is_terminal:
            self._live.update(self._picture())
        elif line is not None:
            self._console.print(line, highlight=False)

    def _picture(self) -> Group:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for column in ("epoch", "ends", "price THB/kWh", "volume kWh", "orders", "clearing gas"):
            table.add_column(column, justify="right" if column != "ends" else "left")
        for shown in self._newest:
            table.add_row(
                str(shown.epoch),
                f"{shown.when:%Y-%m-%d %H:%M}",
                price(shown.price2) if shown.volume_wh else "no trade",
                kwh(shown.volume_wh),
                str(shown.orders),
                f"{shown.gas:,}",
            )
        return Group(self._bar, table) if self._newest else Group(self._bar)


def _line(shown: replays.Progress) -> str:
    told = f"{price(shown.price2)} THB/kWh, {kwh(shown.volume_wh)}" if shown.volume_wh else "no trade"
    return f"epoch {shown.number}/{shown.total}  {shown.when:%Y-%m-%d %H:%M}  {told}, {shown.gas:,} gas"
