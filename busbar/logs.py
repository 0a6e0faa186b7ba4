"""Logging, set up once by each command: readable lines on a terminal, JSON elsewhere."""

import logging
import sys

import structlog


def configure(*, verbose: bool = False) -> None:
    """Sends log events to standard error: coloured lines on a terminal, one JSON object a line elsewhere.

    Args:
        verbose: Include what was done; otherwise only warnings and errors.
    """
    pretty = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO if verbose else logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
