"""What the environment may say, and how a wrong setting is explained."""

import os
import subprocess
from pathlib import Path

import pytest

from resserve.errors import ResServeError
from service.settings import Settings, load_settings
from service.system.environment import injected
from tests.support.service_process import RESSERVE, environment

# As Kubernetes 1.34 sets them for the Services resserve (two named ports), resserve-http and resserve-grpc (IPv6).
KUBERNETES = {
    "RESSERVE_SERVICE_HOST": "10.96.12.7",
    "RESSERVE_SERVICE_PORT": "8001",
    "RESSERVE_SERVICE_PORT_GRPC": "8001",
    "RESSERVE_SERVICE_PORT_HTTP_WEB": "8002",
    "RESSERVE_PORT": "tcp://10.96.12.7:8001",
    "RESSERVE_PORT_8001_TCP": "tcp://10.96.12.7:8001",
    "RESSERVE_PORT_8001_TCP_ADDR": "10.96.12.7",
    "RESSERVE_PORT_8001_TCP_PORT": "8001",
    "RESSERVE_PORT_8001_TCP_PROTO": "tcp",
    "RESSERVE_HTTP_SERVICE_HOST": "10.96.12.8",
    "RESSERVE_HTTP_PORT": "tcp://10.96.12.8:8002",
    "RESSERVE_HTTP_PORT_8002_UDP_PROTO": "udp",
    "RESSERVE_GRPC_PORT": "tcp://[fd00:10:96::7]:8001",
    "RESSERVE_GRPC_PORT_8001_TCP": "tcp://[fd00:10:96::7]:8001",
}
# .env of compose files, and others that resemble.
OTHERS = {"SERVICE_MEMORY": "4g", "SERVICE_CPUS": "0", "RESSERVER": "1", "MY_RESSERVE_PORT": "x"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own, with nothing of ours in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("RESSERVE_")]:
        monkeypatch.delenv(name)
    return tmp_path


def refusal(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> str:
    """The sentence with which a variable is refused."""
    with monkeypatch.context() as patch:
        patch.setenv(name, value)
        with pytest.raises(ResServeError) as raised:
            load_settings()
    return str(raised.value)


def test_variables_of_kubernetes_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is passed over, alone and with the others, and what the file says of the same setting holds."""
    Path("resserve.toml").write_text("port = 9001\n")
    for name, value in KUBERNETES.items():
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert load_settings().port == 9001, name
    for name, value in (KUBERNETES | OTHERS).items():
        monkeypatch.setenv(name, value)
    settings = load_settings()

    assert (settings.port, settings.http_port) == (9001, 8002)
    assert injected(os.environ) == sorted(KUBERNETES)


def test_a_pod_beside_a_service_of_that_name_starts(folder: Path) -> None:
    """`resserve serve` passes them over, and ends only for want of models."""
    command = [RESSERVE, "serve", "--repository", "nowhere", "--log-format", "json"]
    done = subprocess.run(command, cwd=folder, env=environment(**KUBERNETES), capture_output=True, text=True)

    assert done.returncode == 1 and "There is no model repository at nowhere" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "form"),
    [
        ("RESSERVE_PORT", "abc", "a whole number, at least 0 and at most 65535"),
        ("RESSERVE_PORT", "70000", "at most 65535"),
        ("RESSERVE_PORT", "tcp://", "a whole number"),
        ("RESSERVE_HTTP_PORT", "http://10.0.0.1:8002", "a whole number"),
        ("RESSERVE_FRONTENDS", "tcp://10.0.0.1:8002", "or auto"),
        ("RESSERVE_DEVICE", "tpu", "one of auto, cpu, cuda"),
        ("RESSERVE_WAIT_SHARE", "2", "a number, more than 0 and at most 1"),
        ("RESSERVE_MODEL", '["a"', '["a", "b"]'),
        ("RESSERVE_MODEL", "[1]", "a,b"),
        ("RESSERVE_HOST", "unix:/run/x", "not offered"),
    ],
)
def test_a_malformed_value_is_shown_with_the_form(monkeypatch, name: str, value: str, form: str) -> None:
    """One sentence has the variable, the value and what is allowed."""
    said = refusal(monkeypatch, name, value)

    assert said.startswith(f"{name} = {value!r} is not allowed: ") and form in said


def test_where_a_wrong_value_comes_from_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag, a variable and the file are told apart; each wrong setting has its sentence."""
    Path("resserve.toml").write_text('wait_share = 7\nhttp_port = 1.5\nmodel = ["a", 3]\n')
    monkeypatch.setenv("RESSERVE_HTTP_PORT", "many")
    with pytest.raises(ResServeError) as raised:
        load_settings(drain_seconds=-1)
    said = str(raised.value)

    assert "--drain-seconds = -1 is not allowed" in said
    assert "RESSERVE_HTTP_PORT = 'many' is not allowed" in said
    assert "wait_share in resserve.toml = 7 is not allowed" in said
    assert "model in resserve.toml = 3 is not allowed" in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("r20", ["r20"]),
        ("a,b@2", ["a", "b@2"]),
        (" a , b@2 ,", ["a", "b@2"]),
        ('["a", "b@2"]', ["a", "b@2"]),
        ("", []),
        ("[]", []),
    ],
)
def test_lists(monkeypatch: pytest.MonkeyPatch, text: str, expected: list[str]) -> None:
    """Every setting that is a list takes a,b and JSON, in the environment and in the file."""
    lists = [name for name, field in Settings.model_fields.items() if "list" in str(field.annotation)]
    assert "model" in lists
    for name in lists:
        monkeypatch.setenv(f"RESSERVE_{name.upper()}", text)
        assert getattr(load_settings(), name) == expected
        monkeypatch.delenv(f"RESSERVE_{name.upper()}")
        Path("resserve.toml").write_text(f"{name} = '{text}'\n")
        assert getattr(load_settings(), name) == expected


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Compose files pass on what `.env` lacks as empty text."""
    monkeypatch.setenv(f"RESSERVE_{name.upper()}", "")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("wrong", "meant"), [("porrt", "port"), ("http_prot", "http_port"), ("lane", "lanes"), ("no_such_thing_at_all", "")]
)
def test_a_misspelt_setting_is_named(monkeypatch: pytest.MonkeyPatch, wrong: str, meant: str) -> None:
    """In the environment as in the file, with the setting that is nearest, if any is near."""
    variable = f"RESSERVE_{wrong.upper()}"
    said = [refusal(monkeypatch, variable, "1")]
    Path("resserve.toml").write_text(f"{wrong} = 1\n")
    with pytest.raises(ResServeError) as raised:
        load_settings()
    said.append(str(raised.value))

    if meant:
        assert said == [
            f"{variable} is no setting: did you mean RESSERVE_{meant.upper()}?",
            f"{wrong} in resserve.toml is no setting: did you mean {meant}?",
        ]
    else:
        assert said == [f"{variable} is no setting.", f"{wrong} in resserve.toml is no setting."]


@pytest.mark.parametrize(
    ("text", "host"), [("[::]", "::"), ("[::1]", "::1"), ("::1", "::1"), ("localhost", "localhost")]
)
def test_host_with_and_without_brackets(text: str, host: str) -> None:
    """Both are the same address."""
    assert load_settings(host=text).host == host


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *((path, "not offered") for path in ("unix:/run/x.sock", "unix:x", "/run/x", "./x", "unix-abstract:x")),
        *((host, "--port") for host in ("127.0.0.1:8001", "[::1]:8001", "[x]", "http://x", " ")),
    ],
)
def test_what_is_no_host(text: str, said: str) -> None:
    """Sockets with names are not offered, and a port is a setting of its own."""
    with pytest.raises(ResServeError, match=r"^--host = .* is not allowed: ") as raised:
        load_settings(host=text)
    assert said in str(raised.value)
