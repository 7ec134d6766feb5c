"""`resserve health`."""

from typing import Annotated

from typer import Option


def command(
    live: Annotated[bool, Option("--live", help="Ask whether it is alive, not whether it is ready.")] = False,
    grpc: Annotated[bool, Option("--grpc", help="Ask the health service of the gRPC port, not the HTTP port.")] = False,
    host: Annotated[str | None, Option(help="Address of both ports.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, Option(help="gRPC.  [default: 8001]", min=1, max=65535)] = None,
    http_port: Annotated[int | None, Option(help="HTTP.  [default: 8002]", min=1, max=65535)] = None,
) -> None:
    """Ask the service on this machine once: exit code 0 if it is ready, 1 if not. No proxy is ever used.

    What is not given here comes from where `resserve serve` has it: RESSERVE_*, resserve.toml or the default.
    """
    from resserve.health import check_grpc, check_http
    from service.settings import load_settings

    settings = load_settings(host=host, port=port, http_port=http_port)
    if grpc:
        print(check_grpc(settings.host, settings.port, live=live))
    else:
        print(check_http(settings.host, settings.http_port, live=live))
