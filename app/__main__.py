"""Serve the page on this machine.

    python -m app
    python -m app --port 8000 --checkpoint checkpoints/embedded
    python -m app --kfd runs/kfd --encoder imagebind_huge.pth --llm runs/assistant --device cuda --quantize
    python -m app --llm Qwen/Qwen2.5-7B-Instruct --device cuda     # untuned: told the findings as text
    python -m app --llm-url http://127.0.0.1:8000/v1               # the same, behind an endpoint
    python -m app --llm runs/export --llm-url http://127.0.0.1:8000/v1 --llm-model unmask

With --llm-url questions and findings go to that endpoint, the picture only with --send-image; a key for it is
read from the environment variable UNMASK_LLM_KEY (for api.openai.com also OPENAI_API_KEY). docs/deploy.md
tells more.
Open the printed address in a browser. The page is for this machine alone unless --host says otherwise; then
it asks for the password in the environment variable UNMASK_PASSWORD, or for one that is made up and printed.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from app.intake.door import Door, check_port
from app.models.choice import ModelChoice
from app.signing import SigningKey

PASSWORD_VARIABLE = "UNMASK_PASSWORD"
MIN_PASSWORD = 12  # letters
OPEN_WARNING = (
    "warning: others can reach this page. It asks for a password, but what is sent is not encrypted: "
    "outside a network that you trust, put a proxy with TLS in front of it (docs/deploy.md)."
)


@dataclass(frozen=True)
class ServeConfig(ModelChoice):
    """The address of the page, and its models."""

    host: str = "127.0.0.1"  # address to listen on
    port: int = 7860  # port to listen on
    name: tuple[str, ...] = ()  # other names of this page, such as a proxy's in front of it
    sign_with: Path | None = None  # the key that signs every report (python -m app.keys new)


def main() -> None:
    """Load the models, examine the example once so that the first visitor need not wait, serve."""
    from common.cli import parse

    config = parse(ServeConfig, __doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the temporary folder goes as well
    try:
        check_port(config.host, config.port)
        door = door_of(config, os.environ.get(PASSWORD_VARIABLE, ""))
        if not door.is_private:
            print(OPEN_WARNING, file=sys.stderr, flush=True)
        key = None if config.sign_with is None else SigningKey.load(config.sign_with)
        print("loading the models", flush=True)
        from app.assistant import Assistant
        from app.page.ui import serve
        from app.wording.answers import answered_by

        assistant = Assistant.load(config, key)
        print(f"questions are answered by {answered_by(assistant.models.chat)}", flush=True)
        assistant.warm_up()
        with tempfile.TemporaryDirectory(prefix="unmask-") as folder:
            serve(assistant, door, config.port, Path(folder))
    except KeyboardInterrupt:
        pass
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def door_of(config: ServeConfig, password: str) -> Door:
    """Where the page is bound, and its password; one is made up where others can reach it.

    Raises ValueError for a password that is too short to keep guessers out.
    """
    if password and len(password) < MIN_PASSWORD:
        raise ValueError(f"{PASSWORD_VARIABLE} has {len(password)} letters; give {MIN_PASSWORD} or more")
    door = Door(config.host, config.name, password)
    return door if password or door.is_private else replace(door, password=secrets.token_urlsafe(16))


if __name__ == "__main__":
    main()
