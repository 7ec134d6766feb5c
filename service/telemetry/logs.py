"""Structured logs on stderr: readable on a terminal, JSON elsewhere. Each line names its process."""

import logging
import os
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

log = structlog.get_logger()


def configure(level: str, log_format: str, process: str) -> None:
    """Set structlog up.

    Args:
        level: debug, info, warning or error.
        log_format: auto, console or json.
        process: this one's name, such as "supervisor" or "frontend 2".
    """
    pid = os.getpid()

    def name_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {"process": process, "pid": pid, **event}

    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    renderer: list[Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if console
        else [name_process, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
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
