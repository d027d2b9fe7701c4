"""Serve findings, answers and reports to programs over HTTP.

    python -m app.serve
    python -m app.serve --host 0.0.0.0 --keys keys.txt --name unmask.example.org
    python -m app.serve --keep 300 --rate 60 --sign-with keys/service.pem

/docs is the page of the interface, /healthz and /metrics are for those who run it. Models are chosen as for
`python -m app`. On 127.0.0.1 nobody needs a key; on any other address everybody does: make one with
`python -m app.service.access NAME --file keys.txt`, or set UNMASK_API_KEYS to the lines of that file.
What is sent is not encrypted: put a proxy with TLS in front of it (docs/deploy.md).
"""

from __future__ import annotations

import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from app.intake.door import Door, check_port
from app.models.choice import ModelChoice
from app.service.access import KEYS_VARIABLE, ApiKeys
from app.signing import SigningKey
from common.cli import parse


@dataclass(frozen=True)
class ServiceConfig(ModelChoice):
    """The address of the service, what it takes and keeps, and its models."""

    host: str = "127.0.0.1"  # address to listen on
    port: int = 8000  # port to listen on
    name: tuple[str, ...] = ()  # other names of this service, such as a proxy's in front of it
    keys: Path | None = None  # file of API keys' digests (python -m app.service.access)
    sign_with: Path | None = None  # the key that signs every report (python -m app.keys new)
    keep: float = 900.0  # seconds that a finding is kept for questions and reports
    rate: int = 240  # requests of one client in a minute
    file_mb: int = 256  # size of one file
    waiting: int = 128  # requests that wait for a model; the next one is told when to come back

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep <= 0 or min(self.rate, self.file_mb, self.waiting) < 1:
            raise ValueError("--keep, --rate, --file-mb and --waiting must be above 0")


def main() -> None:
    """Load the models, examine the example once so that the first client need not wait, serve."""
    config = parse(ServiceConfig, __doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until uvicorn has its own
    try:
        check_port(config.host, config.port)
        door, keys = Door(config.host, config.name), ApiKeys.load(config.keys)
        check_keys(door, keys)
        key = None if config.sign_with is None else SigningKey.load(config.sign_with)
        with tempfile.TemporaryDirectory(prefix="unmask-") as folder:
            _serve(config, door, keys, key, Path(folder))
    except KeyboardInterrupt:
        pass
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def check_keys(door: Door, keys: ApiKeys) -> None:
    """Raise ValueError where others can reach the service and nobody would need a key."""
    if not door.is_private and not len(keys):
        raise ValueError(
            f"others can reach {door.host}, so API keys are needed: make one with python -m "
            f"app.service.access NAME --file keys.txt and give --keys keys.txt, or set {KEYS_VARIABLE}"
        )


def _serve(config: ServiceConfig, door: Door, keys: ApiKeys, key: SigningKey | None, folder: Path) -> None:
    print("loading the models", flush=True)
    from app.assistant import Assistant
    from app.intake.server import serve_behind
    from app.service.application import application
    from app.service.desk import Limits

    assistant = Assistant.load(config, key)
    assistant.warm_up()
    limits = Limits(keep=config.keep, rate=config.rate, file_mb=config.file_mb, waiting=config.waiting)
    service = application(assistant, door, folder, keys, limits)
    serve_behind(door, config.port, service, f"Unmask is ready: {door.address(config.port)}/docs")


if __name__ == "__main__":
    main()
