"""Generates the gRPC stubs from proto/ whenever the package is built or installed.

`python setup.py build_stubs` does it alone (`make proto`).
"""

from pathlib import Path
from typing import ClassVar

from setuptools import Command, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PROTO = ROOT / "proto"


def generate_stubs() -> None:
    """Write the stubs beside the packages they are imported as: proto/resserve/v1 becomes resserve/v1."""
    import grpc_tools
    from grpc_tools import protoc

    well_known = Path(grpc_tools.__file__).parent / "_proto"
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    out = [f"--python_out={ROOT}", f"--pyi_out={ROOT}", f"--grpc_python_out={ROOT}"]
    if protoc.main(["protoc", f"--proto_path={PROTO}", f"--proto_path={well_known}", *out, *sources]) != 0:
        raise SystemExit("protoc failed: see its message above")


class BuildStubs(Command):
    """Only the stubs."""

    description = "generate the gRPC stubs"
    user_options: ClassVar[list[tuple[str, str, str]]] = []

    def initialize_options(self) -> None:
        """Has no options."""

    def finalize_options(self) -> None:
        """Has no options."""

    def run(self) -> None:
        """Generate."""
        generate_stubs()


class BuildWithStubs(build_py):
    """The package, stubs first."""

    def run(self) -> None:
        """Generate, then build."""
        generate_stubs()
        super().run()


setup(cmdclass={"build_stubs": BuildStubs, "build_py": BuildWithStubs})
