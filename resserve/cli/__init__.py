"""The `resserve` command. Each verb is a thin module of its own that loads its room only when the verb runs."""

import importlib
import os
import sys

import typer

from resserve import __version__
from resserve.cores import usable_cores
from resserve.errors import ResServeError

# verb -> its one-line help; resserve/cli/<verb>.py holds a function `command`.
VERBS = {
    "train": "Train a network on a folder of images.",
    "export": "Export a checkpoint as a certified model version.",
    "verify": "Replay a model version's certificate and check its digests.",
    "serve": "Serve the model repository over gRPC.",
    "classify": "Classify pictures with a running service.",
    "health": "Say whether the service on this machine is ready.",
    "models": "List what a running service or a repository holds.",
    "bench": "Load a running service and measure it.",
    "compare": "Compare architectures under the same load.",
    "paper": "Rerun an experiment of He et al. 2015.",
    "doctor": "Say what this machine can train, export and serve.",
}

# What an extra brings, by the name that an import fails with.
_EXTRAS = {
    "torch": "train",
    "torchvision": "train",
    "onnx": "train",
    "onnxscript": "train",
    "sklearn": "train",
    "matplotlib": "train",
    "plotly": "bench",
    "psutil": "bench",
    "onnxruntime": "cpu",
    # Rooms that the container image leaves out.
    "models": "train",
    "training": "train",
    "export": "train",
    "bench": "bench",
}


def main() -> None:
    """Run the verb named on the command line: exit code 0, 1 with one sentence on an error, 2 on wrong usage."""
    # PyTorch and BLAS count the affinity mask alone, and read this when they are loaded.
    if (cores := usable_cores()) < len(os.sched_getaffinity(0)):
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    try:
        _app(sys.argv[1:])()
    except ResServeError as error:
        sys.exit(f"resserve: {error}")
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        sys.exit(f"resserve: This needs {error.name}, which is not installed: run `pip install 'resserve[{extra}]'`.")


def _app(arguments: list[str]) -> typer.Typer:
    app = typer.Typer(
        help="Residual networks from training to a certified gRPC service.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",  # "[default: weights]" in a help text is text
        pretty_exceptions_enable=False,
    )
    # Only the verb that runs is imported: typer builds each command from its function's signature.
    wanted = arguments[:1] if arguments[:1] and arguments[0] in VERBS else list(VERBS)
    for verb in wanted:
        module = importlib.import_module(f"resserve.cli.{verb}")
        app.command(verb, help=VERBS[verb])(module.command)
    app.callback()(_options)  # keeps `resserve VERB` a subcommand while only one is registered
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"resserve {__version__}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None: ...
