"""The `resserve` command. Each verb is a thin module of its own that loads its room only when the verb runs."""

import importlib
import sys

import typer

from resserve.errors import ResServeError

# verb -> its one-line help; resserve/cli/<verb>.py holds a function `command`.
VERBS = {
    "train": "Train a network on a folder of images.",
    "export": "Export a checkpoint as a certified model version.",
    "verify": "Replay a model version's certificate and check its digests.",
    "serve": "Serve the model repository over gRPC.",
    "classify": "Classify pictures with a running service.",
    "models": "List what a running service or a repository holds.",
    "bench": "Load a running service and measure it.",
    "compare": "Compare architectures under the same load.",
    "doctor": "Say what this machine can train, export and serve.",
}


def main() -> None:
    """Run the verb named on the command line: exit code 0, 1 with one sentence on an error, 2 on wrong usage."""
    try:
        _app(sys.argv[1:])()
    except ResServeError as error:
        print(f"resserve: {error}", file=sys.stderr)
        sys.exit(1)


def _app(arguments: list[str]) -> typer.Typer:
    app = typer.Typer(
        help="Residual networks from training to a certified gRPC service.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    # Only the verb that runs is imported: typer builds each command from its function's signature.
    wanted = arguments[:1] if arguments[:1] and arguments[0] in VERBS else list(VERBS)
    for verb in wanted:
        module = importlib.import_module(f"resserve.cli.{verb}")
        app.command(verb, help=VERBS[verb])(module.command)
    app.callback()(lambda: None)  # keeps `resserve VERB` a subcommand while only one is registered
    return app
