"""Dockerfile and compose file: linted, no secrets, no rights, and every folder that the program needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from common.layers import PACKAGES

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SERVICE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["unmask"]
HADOLINT = Path(sys.executable).with_name("hadolint")


@pytest.mark.skipif(not HADOLINT.exists() and shutil.which("hadolint") is None, reason="there is no hadolint")
def test_hadolint_finds_nothing():
    linter = str(HADOLINT) if HADOLINT.exists() else "hadolint"
    found = subprocess.run([linter, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_it_runs_as_a_user_without_rights_and_says_whether_it_is_well():
    last = re.findall(r"^USER (\S+)", DOCKERFILE, re.M)[-1]
    assert last not in ("0", "root") and DOCKERFILE.index("USER ") < DOCKERFILE.index("ENTRYPOINT")
    assert "HEALTHCHECK" in DOCKERFILE and "/healthz" in DOCKERFILE
    assert SERVICE["cap_drop"] == ["ALL"] and SERVICE["read_only"] is True
    assert all(port.startswith("127.0.0.1:") for port in SERVICE["ports"])


def test_no_secret_is_built_in():
    assert not re.search(r"(ENV|ARG)[^\n]*(KEY|PASSWORD|SECRET|TOKEN)", DOCKERFILE)
    assert not SERVICE.get("environment")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*" and not any("key" in line for line in ignored)


def test_every_room_is_copied():
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.M))
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    assert copied == set(PACKAGES) and copied < allowed


def test_the_commands_are_understood():
    """The words behind ENTRYPOINT and of the compose file, read as the service reads them."""
    from app.serve import ServiceConfig
    from common.cli import parse

    entry = re.search(r'ENTRYPOINT \["python", "-m", "app.serve", (.+)\]', DOCKERFILE)[1]
    given = re.findall(r'"([^"]+)"', entry)
    config = parse(ServiceConfig, None, [*given, *SERVICE["command"]])
    assert config.host == "0.0.0.0" and config.port == 8000 and config.keys == Path("/run/secrets/api_keys")
