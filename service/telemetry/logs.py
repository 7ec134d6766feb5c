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
    common: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    least = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*common, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries log, such as uvicorn of a request that is no HTTP, but for news that only their developers want.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(least, logging.WARNING), force=True)
    logging.captureWarnings(True)
