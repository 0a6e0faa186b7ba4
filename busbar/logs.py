"""Logging, set up once by each command: readable lines on a terminal, JSON elsewhere, more or less by module."""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor


class _NamedLogger(structlog.PrintLogger):
    """A logger that knows its module, by which it may be louder or quieter than others."""

    def __init__(self, file: TextIO, name: str) -> None:
        super().__init__(file)
        self.name = name.removeprefix("busbar.")


def configure(
    *,
    verbose: bool = False,
    style: str = "auto",
    level: str | None = None,
    levels: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> TextIO:
    """Sends log events to standard error or a file.

    Args:
        verbose: Include what was done; otherwise only warnings and errors. `level` goes before it.
        style: `console` for coloured lines, `json` for one JSON object a line, `auto` for the one on a terminal and
            the other elsewhere.
        level: Least that is logged: debug, info, warning or error.
        levels: The same by module, as in `{"keeper": "debug"}`.
        file: File to append to instead.

    Returns:
        Where the log goes.

    Raises:
        OSError: The file cannot be written.
    """
    least = _number(level or ("info" if verbose else "warning"))
    by_module = {name: _number(text) for name, text in (levels or {}).items()}
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    # Every line is flushed: what a killed process said is there.
    stream = sys.stderr if file is None else file.open("a", encoding="utf-8", buffering=1)
    pretty = style == "console" or (style == "auto" and stream.isatty())

    def of_level(logger: _NamedLogger, method: str, event: EventDict) -> EventDict:
        if _number(method) < by_module.get(logger.name, least):
            raise structlog.DropEvent
        return event

    def of_module(logger: _NamedLogger, _: str, event: EventDict) -> EventDict:
        if not pretty:
            event["module"] = logger.name
        return event

    processors: list[Processor] = [
        of_level,
        of_module,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.dev.ConsoleRenderer(colors=stream.isatty()) if pretty else structlog.processors.JSONRenderer(),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(min([least, *by_module.values()])),
        logger_factory=lambda name="": _NamedLogger(stream, name),
        cache_logger_on_first_use=False,
    )
    return stream


def _number(level: str) -> int:
    return int(getattr(logging, level.upper()))
