"""The environment's variables that start with RESSERVE_: settings, and what others put there."""

import re
from collections.abc import Mapping

PREFIX = "RESSERVE_"

# For every Service of its namespace Kubernetes sets such variables in all containers; a Service named resserve, or
# resserve-http, makes them look like settings. https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_NAME = re.compile(
    r"RESSERVE(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)", re.IGNORECASE
)
_PORT_NAME = re.compile(r"RESSERVE(_\w+)?_PORT", re.IGNORECASE)
_PORT_VALUE = re.compile(r"(tcp|udp|sctp)://\S+:\d+")


def injected(environ: Mapping[str, str]) -> list[str]:
    """Names of the variables that Kubernetes has set, sorted."""
    return sorted(name for name, value in environ.items() if _is_injected(name, value))


def own(environ: Mapping[str, str]) -> dict[str, str]:
    """Setting to value, of all other variables with the prefix; an empty one counts as not set."""
    return {
        name[len(PREFIX) :].lower(): value
        for name, value in environ.items()
        if name.upper().startswith(PREFIX) and value and not _is_injected(name, value)
    }


def _is_injected(name: str, value: str) -> bool:
    return bool(_NAME.fullmatch(name) or (_PORT_NAME.fullmatch(name) and _PORT_VALUE.fullmatch(value)))
