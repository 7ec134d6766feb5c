"""Real containers without Docker, a registry or a boot by systemd: podman, and images made of Debian's packages.

Everything lives in a cache folder of its own: images, networks and containers of whoever runs the tests are neither
seen nor touched, and `rm -r ~/.cache/resserve/containers` removes all.
"""

import ast
import configparser
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.service_process import wait_until

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "resserve" / "containers"
COMPOSE = Path(sys.executable).parent / "podman-compose"
_PROGRAMS = ("podman", "runc", "mmdebstrap", "iptables", "dpkg-deb", "apt-get")

# crun, which podman prefers, refuses a machine that mixes cgroup versions; systemd may not be there.
_CONTAINERS = """\
[containers]
default_ulimits = {limits}
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_config_dir = "{cache}/networks"
"""
_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{cache}/storage"
runroot = "/run/resserve-containers"
"""


def why_not() -> str:
    """A sentence that says why containers cannot run here, or nothing."""
    if os.geteuid() != 0:
        return "Containers need root here: run `sudo make image-test`."
    if missing := [program for program in _PROGRAMS if not shutil.which(program)]:
        return f"Containers need {', '.join(missing)}: `.ci/run` names the Debian packages."
    if platform.freedesktop_os_release()["ID"] != "debian":
        return "The images that containers need here are made of Debian's packages, and this is not Debian."
    allowed = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, text=True)
    return "" if allowed.returncode == 0 else f"This machine permits no containers ({allowed.stderr.strip()})."


class Podman:
    """podman and podman-compose, told by files and not by flags what this machine needs."""

    def __init__(self, folder: Path) -> None:
        """`folder` gets the configuration; the cache keeps the images."""
        self._folder = folder
        CACHE.mkdir(parents=True, exist_ok=True)
        limits = json.dumps([f"{name}={most}:{most}" for name, most in _limits().items()])
        (folder / "containers.conf").write_text(_CONTAINERS.format(limits=limits, cache=CACHE))
        (folder / "storage.conf").write_text(_STORAGE.format(cache=CACHE))
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RESSERVE_")},
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "BUILDAH_FORMAT": "docker",  # the other format has no health checks
            "BUILDAH_ISOLATION": "chroot",
        }

    def run(self, *arguments: str | Path) -> str:
        """Run `podman ARGUMENTS`, which must succeed: its output."""
        return self._succeed(["podman", *arguments], self._folder)

    def try_(self, *arguments: str | Path) -> tuple[int, str]:
        """Run `podman ARGUMENTS`: the exit code, and all that it printed."""
        done = self._do(["podman", *arguments], self._folder)
        return done.returncode, done.stdout + done.stderr

    def compose(self, folder: Path, *arguments: str, **variables: str) -> str:
        """Run `podman-compose ARGUMENTS`, which must succeed, on the compose file of a folder: its output."""
        return self._succeed([COMPOSE, *arguments], folder, **variables)

    def _succeed(self, command: list[str | Path], folder: Path, **variables: str) -> str:
        done = self._do(command, folder, **variables)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def _do(self, command: list[str | Path], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        env = {**self._environment, **variables}
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)

    def inspect(self, name: str) -> dict[str, Any]:
        """Everything that podman knows of a container or an image."""
        (found,) = json.loads(self.run("inspect", name))
        return found

    def health(self, name: str) -> tuple[int, str]:
        """Run a container's own health check once, as systemd's timer would: its exit code, and what it printed."""
        code, said = self.try_("healthcheck", "run", name)
        log = self.inspect(name)["State"]["Health"]["Log"]
        return code, log[-1]["Output"] if log else said

    def wait_until_healthy(self, name: str) -> None:
        """Run the health check until it passes; fail with the container's log when it never does."""
        try:
            wait_until(lambda: self.health(name)[0] == 0, f"{name} is healthy")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.try_('logs', name)[1]}") from None

    def build(self) -> None:
        """Build the compose file's CPU image from the checkout, with the package index that this machine's pip asks."""
        mounts = " ".join(["--layers=false --network host", *(f"-v {mount}:ro" for mount in self._pip_mounts())])
        self.compose(ROOT, f"--podman-build-args={mounts}", "build", "resserve-cpu")

    def _pip_mounts(self) -> list[str]:
        """Pip's whole configuration here as one file for the build, and the local files that it names."""
        listing = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
        merged, local = configparser.RawConfigParser(), set()
        for line in listing.stdout.splitlines():
            name, _, quoted = line.partition("=")
            section, _, key = name.replace(":env:", "global").partition(".")
            value = ast.literal_eval(quoted)
            merged.read_dict({section: {key: value}})
            # The pages of an index in a folder link to files beside that folder.
            local |= {
                str(Path(word.removeprefix("file://")).parent) if word.startswith("file://") else word
                for word in value.split()
            }
        with (self._folder / "pip.conf").open("w") as file:
            merged.write(file)
        there = sorted(path for path in local if path.startswith("/") and Path(path).exists())
        return [f"{self._folder / 'pip.conf'}:/etc/pip.conf", *(f"{path}:{path}" for path in there)]

    def ensure_base(self) -> str:
        """Have an image under the name that the Dockerfile starts from, made of Debian's packages: that name."""
        (name,) = set(re.findall(r"^FROM (\S+:\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
        name = f"docker.io/library/{name}"
        if self.try_("image", "exists", name)[0] != 0:
            options = ["--variant=minbase", "--include=python3,python3-venv,ca-certificates", "--quiet"]
            # As the image of that name, it has `python` and no documents.
            options += [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "locale", "man")]
            options += ['--customize-hook=ln -s python3 "$1/usr/bin/python"']
            archive = self._folder / "base.tar"
            subprocess.run(["mmdebstrap", *options, name.rpartition("-")[2], archive, _mirror()], check=True)
            self.run("import", archive, name)
            archive.unlink()
        return name

    def ensure_prometheus(self, name: str) -> None:
        """Have an image under this name that holds Debian's Prometheus, and busybox for its health check."""
        if self.try_("image", "exists", name)[0] == 0:
            return
        root = self._folder / "prometheus"
        (root / "prometheus").mkdir(parents=True)
        os.chown(root / "prometheus", 65534, 65534)
        (root / "tmp").mkdir()
        packages = ["prometheus", "busybox", "libc6"]
        subprocess.run(["apt-get", "download", "-qq", *packages], cwd=self._folder, check=True, capture_output=True)
        for package in self._folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", package, root], check=True)
        (root / "bin" / "wget").symlink_to("busybox")
        archive = shutil.make_archive(str(root), "tar", root)
        self.run("import", "--change", 'ENTRYPOINT ["/usr/bin/prometheus"]', archive, name)


def _limits() -> dict[str, int]:
    """The most that a container may ask for: podman lowers its own limits to these, and nobody may raise any."""
    processes = int(Path("/proc/sys/kernel/pid_max").read_text())
    wanted = {"nofile": (resource.RLIMIT_NOFILE, 2**20), "nproc": (resource.RLIMIT_NPROC, processes)}
    allowed = {name: (resource.getrlimit(number)[1], most) for name, (number, most) in wanted.items()}
    return {name: most if hard == resource.RLIM_INFINITY else min(hard, most) for name, (hard, most) in allowed.items()}


def _mirror() -> str:
    """The mirror that apt uses here."""
    listing = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)"]
    lines = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.splitlines()
    return next(line.split()[0] for line in lines if line.endswith("main") and "security" not in line)
