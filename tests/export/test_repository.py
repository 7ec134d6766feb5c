"""Versions appear whole, numbered, or not at all: with real processes that meet, die and run out of disk."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.repository import check_name, new_version, publish
from export.verify import verify
from resserve.errors import ResServeError
from resserve.manifest import read_manifest
from tests.support.service_process import RESSERVE, wait_until

EXPORT = [str(RESSERVE), "export", "resnet20", "--untrained", "--size", "32", "--classes", "10", "--name", "net"]


def _start(repository: Path) -> subprocess.Popen[str]:
    command = [*EXPORT, "--repository", str(repository)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@given(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True))
def test_good_names(name: str) -> None:
    """Small letters, digits, dots, hyphens and underscores make a name."""
    check_name(name)


@given(st.text().filter(lambda text: not text.isascii() or not text.isalnum() or text != text.lower()))
def test_names_that_could_leave_the_repository(text: str) -> None:
    """Whatever could be a path, a hidden file, an option or a surprise in a URL is refused."""
    for name in (f"../{text}", f".{text}", f"-{text}", f"{text}/", f"a{text}\n", f"{text}A", f"{text} "):
        with pytest.raises(ResServeError, match="cannot be a model's name"):
            check_name(name)


def test_exports_that_meet_both_land_and_what_a_killed_one_left_goes(tmp_path: Path) -> None:
    """A killed export leaves no version; two at once make versions 1 and 2, both certified, and sweep up after it."""
    killed = _start(tmp_path)
    wait_until(lambda: killed.poll() is not None or list(tmp_path.glob(".tmp-*/*")), "the export writes")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert [path.name[:5] for path in tmp_path.iterdir()] == [".tmp-"]

    running = [_start(tmp_path) for _ in range(2)]

    for export in running:
        _, err = export.communicate()
        assert export.returncode == 0, err
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")) == ["net/1", "net/2"]
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    for number in (1, 2):
        assert read_manifest(tmp_path / "net" / str(number)).version == number
        verify(tmp_path / "net" / str(number))


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    """A write that the system refuses ends the export with exit code 1 and an empty repository."""
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)); "
    main = "from resserve.cli import main; main()"

    ended = subprocess.run(
        [sys.executable, "-c", limit + main, *EXPORT[1:], "--repository", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )

    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1].startswith("resserve: Cannot write the model version in")
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.iterdir())


def test_an_unwritable_repository_is_said(tmp_path: Path) -> None:
    """A file where the repository should be is refused with its name."""
    (tmp_path / "weights").write_text("")

    with pytest.raises(ResServeError, match="Cannot write in"), new_version(tmp_path / "weights"):
        pytest.fail("opened a file as a repository")


def test_a_temporary_in_use_is_kept(repository: Path, tmp_path: Path) -> None:
    """Only folders whose process is gone are swept up."""
    manifest = read_manifest(repository / "alpha" / "1")
    (tmp_path / ".tmp-left").mkdir()
    (tmp_path / ".tmp-note").write_text("not a folder of ours")

    with new_version(tmp_path) as first, new_version(tmp_path) as second:
        assert not (tmp_path / ".tmp-left").exists()
        assert first.is_dir()
        assert second.is_dir()
        assert publish(second, manifest) == tmp_path / "alpha" / "1"

    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-note", "alpha"]


def test_numbers_go_on_from_the_highest(repository: Path, tmp_path: Path) -> None:
    """A gap is not filled, and folders that are no numbers do not matter."""
    manifest = read_manifest(repository / "alpha" / "1")
    for name in ("2", "9", "notes"):
        (tmp_path / "alpha" / name).mkdir(parents=True)

    with new_version(tmp_path) as folder:
        assert publish(folder, manifest) == tmp_path / "alpha" / "10"
