"""Structured logs on stderr: readable on a terminal, JSON elsewhere."""

import logging
import sys

import structlog


def configure(level: str, log_format: str) -> None:
    """Set structlog up.

    Args:
        level: debug, info, warning or error.
        log_format: auto, console or json.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    renderer = (
        [structlog.dev.ConsoleRenderer()]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
