"""Ed25519 keys (RFC 8032) with which reports are signed."""

from __future__ import annotations

import os
from pathlib import Path
from re import fullmatch

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

DEFAULT_KEY = Path("~/.config/unmask/key.pem")
PASSWORD_VARIABLE = "UNMASK_KEY_PASSWORD"
PUBLIC_SUFFIX = ".pub"
MAX_KEY_BYTES = 2**14


class SigningKey:
    """An examiner's key pair. `public` is the public key, 64 hexadecimal digits, by which it is known."""

    def __init__(self, private: Ed25519PrivateKey):
        self._private = private
        self.public = private.public_key().public_bytes_raw().hex()

    @classmethod
    def new(cls) -> SigningKey:
        """Make a pair out of the system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: str | Path, password: str | None = None) -> SigningKey:
        """Read a PEM file. password: that of UNMASK_KEY_PASSWORD by default.

        Raises FileNotFoundError, and ValueError for a file that holds no Ed25519 key or for a wrong password.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"there is no key {path}; make one with python -m app.keys new {path}")
        secret = os.environ.get(PASSWORD_VARIABLE, "") if password is None else password
        try:
            key = load_pem_private_key(path.read_bytes(), secret.encode() or None)
        except TypeError:  # what cryptography raises where only one of key and caller has a password
            state = "has no password" if secret else "has a password"
            advice = "unset" if secret else "set"
            raise ValueError(f"the key {path} {state}: {advice} {PASSWORD_VARIABLE}") from None
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError(
                f"{path}: expected an Ed25519 key in PEM form and its password in {PASSWORD_VARIABLE}; "
                "the file is none, or the password is wrong"
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{path}: expected an Ed25519 key, got {type(key).__name__}")
        return cls(key)

    def save(self, path: str | Path, password: str = "") -> Path:
        """Write the pair for its owner's eyes alone, and the public key beside it (.pub).

        password: encrypts the file; "" leaves it readable to whoever can read it. Returns the place of the
        public key. Raises FileExistsError rather than replace a key.
        """
        path = Path(path).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        protection: KeySerializationEncryption = NoEncryption()
        if password:
            protection = BestAvailableEncryption(password.encode())
        data = self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise FileExistsError(
                f"{path} exists; reports signed with it need it. Name another file"
            ) from None
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        public = path.with_name(path.name + PUBLIC_SUFFIX)
        public.write_text(self.public + "\n", encoding="ascii")
        return public

    def sign(self, content: bytes) -> str:
        """The signature of `content`, 128 hexadecimal digits; equal content gives the same."""
        return self._private.sign(content).hex()


def is_signed(content: bytes, signature: object, public: object) -> bool:
    """Whether `signature` is that of `content` by the pair whose public key is `public`, both hexadecimal."""
    if not (isinstance(signature, str) and fullmatch("[0-9a-f]{128}", signature) and is_public_key(public)):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(str(public))).verify(
            bytes.fromhex(signature), content
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def is_public_key(value: object) -> bool:
    """Whether a value is written like a public key: 64 hexadecimal digits in lower case."""
    return isinstance(value, str) and fullmatch("[0-9a-f]{64}", value) is not None


def public_key_of(given: str) -> str:
    """A public key that somebody named: its 64 digits, or the file that holds them.

    Raises ValueError for anything else.
    """
    text = given.strip().lower()
    if not is_public_key(text) and Path(given).is_file() and Path(given).stat().st_size < MAX_KEY_BYTES:
        text = Path(given).read_text(encoding="utf-8", errors="replace").strip().lower()
    if not is_public_key(text):
        raise ValueError(f"{given}: expected a public key of 64 hexadecimal digits, or the file it is in")
    return text
