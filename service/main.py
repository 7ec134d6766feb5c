"""`resserve serve`: checks first, then the life of the service."""

import os
import tempfile

from resserve.runtime import check_onnxruntime
from service.supervisor.launch import launch
from service.system.descriptors import allow_most


def serve(**flags: object) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends it at once.

    Args:
        flags: fields of `service.settings.Settings`; None where one was not given.

    Raises:
        ResServeError: a setting is wrong, nothing can be served, or a port is taken.
    """
    check_onnxruntime()
    allow_most()
    # The order of what follows is that of the time it takes: a worker imports its runtime while this process imports
    # the settings, loads its model while this one imports gRPC, and is ready when the port is.
    first = launch()
    import asyncio

    from service.settings import load_settings
    from service.supervisor.load_request import order
    from service.supervisor.versions import find
    from service.system.memory import keep_heap

    keep_heap()
    settings = load_settings(**flags)
    versions = find(settings.repository, settings.model)
    readable = [version for version in versions if version.manifest]
    workers = {version.name: launch() if number else first for number, version in enumerate(readable)}
    for version in readable:
        workers[version.name].order(order(version, settings))
    with tempfile.TemporaryDirectory(prefix="resserve-metrics-") as shared:
        if settings.frontends > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared  # read by prometheus_client when it is imported, below
        from service.supervisor.service import Service
        from service.telemetry import logs

        logs.configure(settings.log_level, settings.log_format)
        asyncio.run(Service.run(settings, versions, workers))
