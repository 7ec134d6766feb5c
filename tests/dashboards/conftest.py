"""A service that is watched: two models under load, one of whose workers was replaced."""

import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from tests.support.digits import digit, held_out
from tests.support.prometheus import Load, Prometheus
from tests.support.service_process import Server, wait_until


@pytest.fixture(scope="module")
def compared(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with `digits` and the baseline, an untrained VGG-16."""
    from export.export import export_untrained

    folder = tmp_path_factory.mktemp("compared")
    shutil.copytree(digits, folder, dirs_exist_ok=True)
    export_untrained("vgg16_bn", size=32, classes=10, name="vgg16_bn", repository=folder)
    return folder


@pytest.fixture(scope="module")
def prometheus(compared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Has watched a service under load, in which a worker was killed and replaced."""
    if not shutil.which("prometheus"):
        pytest.skip("needs Debian's prometheus, which is not installed")
    folder = tmp_path_factory.mktemp("prometheus")
    digit(held_out(7)).save(folder / "seven.png")
    server = Server(compared, folder)
    running = Prometheus(folder, server.http.removeprefix("http://"))
    load = Load(server.address, folder / "seven.png")
    try:
        count = "resserve_images_total"
        wait_until(lambda: server.metric(count, model="vgg16_bn") >= 3, "the baseline answers")
        # increase() is the difference of two samples.
        quiet = "resserve_worker_restarts_total == 0"
        wait_until(lambda: running.answers() and running.values(quiet), "a scrape has come before the restart")
        server.workers("digits")[0].send_signal(signal.SIGKILL)
        wait_until(lambda: server.metric("resserve_worker_restarts_total", model="digits") >= 1, "a worker is replaced")
        before = server.metric(count, model="digits")
        wait_until(lambda: server.metric(count, model="digits") > before + 3, "the new worker answers")
        ratio = 'architecture:resserve_request_seconds:quantile1m_vgg16_ratio{architecture="resnet20"}'
        wait_until(lambda: running.answers() and len(running.values(ratio)) == 3, "the ratios are recorded")
        restarts = "increase(resserve_worker_restarts_total[1h]) > 0"
        wait_until(lambda: running.values(restarts), "the restart was scraped")
        for _ in range(2):  # some rules read what others record
            moment = datetime.now(UTC)
            wait_until(partial(running.has_evaluated, moment), "every group of rules is evaluated")
        yield running
    finally:
        load.close()
        running.close()
        server.close()
