"""Serve the page on this machine.

    python -m app
    python -m app --port 8000 --checkpoint checkpoints/embedded

Open the printed address in a browser. The page is for this machine alone unless --host says otherwise;
it asks for no password, so name another host only inside a network you trust.
"""

from __future__ import annotations

import signal
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from app.report import DEFAULT_CHECKPOINT


@dataclass(frozen=True)
class ServeConfig:
    """Where the page is served, and with which models."""

    host: str = "127.0.0.1"  # address to listen on
    port: int = 7860  # port to listen on
    checkpoint: Path = DEFAULT_CHECKPOINT  # folder with kfd, llm and assistant
    device: str = "cpu"  # "cpu" or "cuda"


def main() -> None:
    """Load the models, examine the example once so that the first visitor need not wait, serve."""
    from data_sim.cli import parse

    config = parse(ServeConfig, __doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the temporary folder goes as well
    try:
        with socket.create_server((config.host, config.port)):
            pass  # the port is free; asked before the models load, and Gradio would name none of our flags
        print("loading the models", flush=True)
        from app.ui import EXAMPLE, Assistant, serve

        assistant = Assistant.from_pretrained(config.checkpoint, config.device)
        assistant.analyse(EXAMPLE)
        with tempfile.TemporaryDirectory(prefix="unmask-") as folder:
            serve(assistant, config.host, config.port, Path(folder))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
