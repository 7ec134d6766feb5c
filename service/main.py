"""`resserve serve`: checks first, then the life of the service."""

import asyncio
import os
import tempfile

from resserve.runtime import check_onnxruntime
from service import logs
from service.memory import keep_heap
from service.repository import find
from service.settings import Settings


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends it at once.

    Raises:
        ResServeError: nothing can be served, or a port is taken.
    """
    check_onnxruntime()
    logs.configure(settings.log_level, settings.log_format)
    versions = find(settings.repository, settings.model)
    keep_heap()
    with tempfile.TemporaryDirectory(prefix="resserve-metrics-") as shared:
        if settings.frontends > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared  # read by prometheus_client when it is imported, below
        from service.lifecycle import Service

        asyncio.run(Service.run(settings, versions))
