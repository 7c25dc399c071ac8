"""Encryption of the secrets in the store, with keys that are not in the store (I7).

The key file is JSON, readable by its owner only: `{"current": "<id>", "keys": {"<id>": "<base64, 32
bytes>"}}`. New values are sealed with the current key; older keys stay in the file to open older values,
which are sealed anew whenever they are written.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from towline.domain.errors import KeyMissing

KEY_FILE = "keys.json"
_KEY_ID_BYTES = 8
_NONCE_BYTES = 12
_FORMAT = b"\x01"


class _KeyFile(msgspec.Struct):
    current: str
    keys: dict[str, str]


class Keyring:
    """Seals and opens short secrets with AES-256-GCM."""

    def __init__(self, current: str, keys: Mapping[str, bytes]) -> None:
        self._current = current
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}

    def __repr__(self) -> str:
        return f"Keyring(current={self._current!r}, keys={len(self._ciphers)})"

    def seal(self, secret: str, *, place: str) -> bytes:
        """The secret as ciphertext: format, key id, nonce, AES-GCM output.

        `place` names where it is kept; it opens only there, so a ciphertext cannot be moved to another row.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self._current].encrypt(nonce, secret.encode(), place.encode())
        return _FORMAT + self._current.encode() + nonce + sealed

    def open(self, sealed: bytes, *, place: str) -> str:
        """Raises KeyMissing when the key is not in the key file, or the value is not of this place."""
        head = len(_FORMAT) + _KEY_ID_BYTES
        key_id = sealed[len(_FORMAT) : head].decode("ascii", "replace")
        cipher = self._ciphers.get(key_id)
        if not sealed.startswith(_FORMAT) or cipher is None:
            raise KeyMissing(f"the key {key_id!r} of a secret in the store is not in the key file")
        try:
            nonce, body = sealed[head : head + _NONCE_BYTES], sealed[head + _NONCE_BYTES :]
            return cipher.decrypt(nonce, body, place.encode()).decode()
        except InvalidTag as error:
            raise KeyMissing(f"a secret in the store does not open with the key {key_id!r}") from error


def load_keyring(data_dir: Path) -> Keyring:
    """Raises KeyMissing when there is no key file or it cannot be read."""
    path = data_dir / KEY_FILE
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_KeyFile)
        return Keyring(content.current, {name: base64.b64decode(key) for name, key in content.keys.items()})
    except FileNotFoundError as error:
        raise KeyMissing(f"there is no key file {path}") from error
    except (OSError, msgspec.DecodeError, ValueError) as error:
        # Not chained into the message: a decoder's text can quote the file.
        raise KeyMissing(f"the key file {path} cannot be read ({type(error).__name__})") from None


def ensure_keyring(data_dir: Path) -> Keyring:
    """Load the keyring, after making one if there is none. Safe when two processes do it at once."""
    path = data_dir / KEY_FILE
    if not path.exists():
        key_id, key = _new_key()
        try:
            _write_owner_only(path, _KeyFile(key_id, {key_id: key}), replace=False)
        except FileExistsError:
            pass  # the other process was first; its key is the one
    return load_keyring(data_dir)


def add_key(data_dir: Path) -> Keyring:
    """Make a new key the current one; the older keys stay for what they have sealed."""
    path = data_dir / KEY_FILE
    content = msgspec.json.decode(path.read_bytes(), type=_KeyFile)
    key_id, key = _new_key()
    _write_owner_only(path, _KeyFile(key_id, {**content.keys, key_id: key}), replace=True)
    return load_keyring(data_dir)


def _new_key() -> tuple[str, str]:
    key_id = secrets.token_hex(_KEY_ID_BYTES // 2)
    return key_id, base64.b64encode(AESGCM.generate_key(bit_length=256)).decode()


def _write_owner_only(path: Path, content: _KeyFile, *, replace: bool) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(content))
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            os.link(draft, path)  # fails if there is a file, and never shows half of one
    finally:
        draft.unlink(missing_ok=True)
