"""Generates the gRPC stubs from proto/ whenever the package is built or installed.

They go straight into what is built, because setuptools lists the packages of the source tree before any command runs.
An editable installation, and `python setup.py build_stubs`, write them into the source tree.
"""

import shutil
from pathlib import Path
from typing import ClassVar

from setuptools import Command, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PROTO = ROOT / "proto"


def generate_stubs(root: Path) -> None:
    """Write the stubs under `root`, as the packages they are imported as: proto/resserve/v1 becomes resserve/v1."""
    import grpc_tools
    from grpc_tools import protoc

    well_known = Path(grpc_tools.__file__).parent / "_proto"
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    out = [f"--python_out={root}", f"--pyi_out={root}", f"--grpc_python_out={root}"]
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
        generate_stubs(ROOT)


class BuildWithStubs(build_py):
    """The package with its stubs."""

    def run(self) -> None:
        """Build, then generate: stubs that lie in the source tree may be those of an older contract."""
        if not self.editable_mode:
            # setuptools would pack what an earlier build left there, be it gone from the source tree.
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        generate_stubs(ROOT if self.editable_mode else Path(self.build_lib))


setup(cmdclass={"build_stubs": BuildStubs, "build_py": BuildWithStubs})
