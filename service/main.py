"""`resserve serve`: checks first, then the life of the service."""

import asyncio
import os

from setproctitle import setproctitle

from resserve.runtime import check_onnxruntime
from service.ipc import connection
from service.ipc.messages import Load
from service.supervisor.launch import Launched, launch_worker
from service.system.environment import injected
from service.system.memory import keep_heap
from service.system.sockets import raise_descriptor_limit


def serve(**flags: object) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends it at once.

    Args:
        flags: fields of `service.settings.Settings`; None where one was not given.

    Raises:
        ResServeError: a setting is wrong, nothing can be served, or a port is taken.
    """
    check_onnxruntime()
    raise_descriptor_limit()
    setproctitle("resserve supervisor")
    # A worker takes half a second to import its runtime and load its model. It does so while this process imports the
    # settings and then gRPC and HTTP: hence these imports below, the only ones in the service that are late.
    first = launch_worker()
    from service.settings import load_settings
    from service.supervisor.versions import find, load_request

    keep_heap()
    settings = load_settings(**flags)
    found = find(settings.repository, settings.model)
    workers: list[tuple[Load, Launched]] = []
    for each in found:
        if each.manifest:
            request = load_request(each, each.manifest, settings)
            launched = launch_worker() if workers else first
            connection.send(launched.sock, request)
            workers.append((request, launched))
    from service.supervisor.service import Service
    from service.telemetry import logs

    logs.configure(settings.log_level, settings.log_format, "supervisor")
    if names := injected(os.environ):
        logs.log.info("environment ignored", variables=names, reason="Kubernetes sets these for Services")
    asyncio.run(Service.run(settings, found, workers))
