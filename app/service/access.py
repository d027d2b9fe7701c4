"""API keys, of which only digests are kept. Make one:

python -m app.service.access newsroom --file keys.txt
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from common.cli import parse

KEYS_VARIABLE = "UNMASK_API_KEYS"
ENTRY = re.compile(r"([\w.-]{1,64}):([0-9a-f]{64})")


class ApiKeys:
    """Who may ask: names and SHA-256 digests of their keys. Keys hold 256 random bits, so that a plain digest
    tells nothing of them."""

    def __init__(self, digests: dict[str, str]):
        self._digests = digests

    @classmethod
    def parse(cls, text: str) -> ApiKeys:
        """Read NAME:DIGEST entries between white space; "#" begins a comment.

        Raises ValueError for anything else, and for a name that stands twice.
        """
        digests: dict[str, str] = {}
        for word in (word for line in text.splitlines() for word in line.split("#")[0].split()):
            entry = ENTRY.fullmatch(word)
            if entry is None or entry[1] in digests:
                raise ValueError(
                    "expected API keys as NAME:DIGEST, each name once, as written by python -m "
                    "app.service.access; one entry is not so"  # and is not shown: it may be a key
                )
            digests[entry[1]] = entry[2]
        return cls(digests)

    @classmethod
    def load(cls, file: Path | None) -> ApiKeys:
        """Those of a file and of the environment variable UNMASK_API_KEYS. Raises OSError and ValueError."""
        text = "" if file is None else file.read_text(encoding="utf-8")
        return cls.parse(f"{text}\n{os.environ.get(KEYS_VARIABLE, '')}")

    def __len__(self) -> int:
        return len(self._digests)

    def name_of(self, key: str) -> str | None:
        """Whose key this is; None for nobody's. All are compared, each in constant time."""
        given, found = digest_of_key(key), None
        for name, digest in self._digests.items():
            if hmac.compare_digest(given, digest):
                found = name
        return found


def digest_of_key(key: str) -> str:
    """What is kept of a key: 64 hexadecimal digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class AccessConfig:
    """Whose key to make."""

    name: tyro.conf.Positional[str]  # of who gets it: letters, digits, "_", ".", "-"
    file: Path = Path("keys.txt")  # where its digest is added


def main() -> None:
    """Print a new key, once; its digest goes to the file."""
    config = parse(AccessConfig, __doc__)
    try:
        key = secrets.token_urlsafe(32)
        before = config.file.read_text(encoding="utf-8") if config.file.exists() else ""
        after = f"{before.rstrip()}\n{config.name}:{digest_of_key(key)}\n".lstrip()
        ApiKeys.parse(after)
        config.file.write_text(after, encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(key)


if __name__ == "__main__":
    main()
