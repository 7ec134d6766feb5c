"""What a worker is told to load."""

from typing import Any

from resserve.repository import Version
from service.settings import Settings


def order(version: Version, settings: Settings) -> dict[str, Any]:
    """The fields of `service.worker.loading.Order` for a version whose manifest could be read."""
    manifest = version.manifest
    assert manifest
    return {
        "directory": str(version.directory),
        "files": {name: file.sha256 for name, file in manifest.files.items()},
        "device": settings.device,
        "precision": manifest.precision,
        "height": manifest.input.height,
        "width": manifest.input.width,
        "tolerance": manifest.certificate.tolerance,
        "min_agreement": manifest.certificate.min_top1_agreement,
        "lanes": settings.lanes,
        "max_batch": settings.max_batch,
    }
