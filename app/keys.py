"""Make the key with which your reports are signed, or show its public half.

    python -m app.keys new
    UNMASK_KEY_PASSWORD='a long one of yours' python -m app.keys new keys/examiner.pem
    python -m app.keys show keys/examiner.pem

The key goes to ~/.config/unmask/key.pem unless another file is named; the public key lies beside it (.pub).
Whoever has the key file can sign in your name: with UNMASK_KEY_PASSWORD set it is encrypted. Give the public
key to those who check your reports on another way than the reports.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from app.signing import DEFAULT_KEY, PASSWORD_VARIABLE, SigningKey
from common.cli import parse
from common.terminal import printable

UNPROTECTED = (
    f"warning: the key has no password; whoever can read the file can sign in your name. Set "
    f"{PASSWORD_VARIABLE} to have it encrypted."
)


@dataclass(frozen=True)
class KeysConfig:
    """What to do, and where the key is."""

    action: tyro.conf.Positional[Literal["new", "show"]]  # make a key, or print the public half of one
    file: tyro.conf.Positional[Path] = DEFAULT_KEY  # the key file


def main() -> None:
    """Exit status 0: made or shown. 2: not, and why."""
    config = parse(KeysConfig, __doc__)
    try:
        if config.action == "show":
            print(SigningKey.load(config.file).public)
            return
        key, password = SigningKey.new(), os.environ.get(PASSWORD_VARIABLE, "")
        public = key.save(config.file, password)
        if not password:
            print(UNPROTECTED, file=sys.stderr)
        print(f"public key {key.public}, written to {printable(str(public))}")
    except (OSError, ValueError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
