from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.domain.errors import KeyMissing
from towline.store.keyring import KEY_FILE, Keyring, add_key, ensure_keyring, load_keyring

KEYRING = Keyring("0a1b2c3d", {"0a1b2c3d": b"k" * 32})


@given(st.text(max_size=200), st.text(max_size=50))
def test_what_is_sealed_opens_again(secret: str, place: str):
    sealed = KEYRING.seal(secret, place=place)
    assert KEYRING.open(sealed, place=place) == secret


@given(st.text(min_size=4, max_size=50))
def test_i7_sealing_hides_the_secret_and_never_repeats(secret: str):
    first, second = KEYRING.seal(secret, place="p"), KEYRING.seal(secret, place="p")
    assert first != second
    assert secret.encode() not in first


@given(st.integers(0, 60), st.integers(1, 255))
def test_a_changed_byte_is_noticed(position: int, flip: int):
    sealed = bytearray(KEYRING.seal("a secret of some length", place="p"))
    sealed[position % len(sealed)] ^= flip
    with pytest.raises(KeyMissing):
        KEYRING.open(bytes(sealed), place="p")


@given(st.binary(max_size=60))
def test_noise_does_not_open(noise: bytes):
    with pytest.raises(KeyMissing):
        KEYRING.open(noise, place="p")


def test_a_secret_does_not_open_in_another_place():
    with pytest.raises(KeyMissing):
        KEYRING.open(KEYRING.seal("secret", place="job/1/source"), place="job/2/source")


def test_the_key_file_is_made_once_and_keeps_old_keys(tmp_path: Path):
    first = ensure_keyring(tmp_path)
    sealed = first.seal("secret", place="p")
    assert ensure_keyring(tmp_path).open(sealed, place="p") == "secret"
    newer = add_key(tmp_path)
    assert newer.open(sealed, place="p") == "secret"
    assert newer.seal("secret", place="p")[1:9] != sealed[1:9]
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


@pytest.mark.parametrize("content", ["", "{}", "[1", '{"current":"a","keys":{"a":"%%%"}}'])
def test_i7_a_broken_key_file_is_said_without_its_content(tmp_path: Path, content: str):
    (tmp_path / KEY_FILE).write_text(content)
    with pytest.raises(KeyMissing) as refusal:
        load_keyring(tmp_path)
    assert "%%%" not in str(refusal.value)


def test_a_keyring_does_not_show_its_keys():
    assert "kkk" not in repr(KEYRING)
