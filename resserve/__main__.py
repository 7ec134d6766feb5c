"""The `resserve` command, up to where anything is imported that takes time."""

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line; a worker of `resserve serve` imports its runtime while this process imports the CLI."""
    if sys.argv[1:2] == ["serve"] and find_spec("onnxruntime"):
        from service.supervisor.launch import launch_ahead

        launch_ahead()
    from resserve import cli

    cli.main()


if __name__ == "__main__":
    main()
