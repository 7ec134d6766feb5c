"""Structured logs on stderr: readable on a terminal, JSON elsewhere."""

import logging
import sys

# structlog imports rich where it can, to draw tracebacks as nobody reads them here: a fifteenth of every start.
_without_rich = "rich" not in sys.modules
if _without_rich:
    sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402

if _without_rich:
    del sys.modules["rich"]

log = structlog.get_logger()


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
