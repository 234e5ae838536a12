"""A digest of a whole file, kept inside the file: whatever changed one of its bytes is noticed before it is read."""

from __future__ import annotations

import hashlib
import os
import re

# Two words, so that no single damage makes a sealed file look like one that never had a seal.
_WORDS = (b"marginome-sealed", b"marginome-digest:")
_START = b" ".join(_WORDS)
_DIGITS = 64
_TAIL, _CHUNK = 1 << 20, 1 << 20

#: The word that a format keeps in its content too, where the seal itself can be cut off (HDF5).
MARK = _WORDS[0].decode()
#: What a writer puts near the end of its file, in a place that readers of the format ignore; `seal` fills it in.
OPEN_SEAL = (_START + b"0" * _DIGITS).decode()


def seal(path: str | os.PathLike) -> None:
    """Replace the zeros of the file's `OPEN_SEAL` by the SHA-256 of the file with those zeros.

    Parameters
    ----------
    path : path
        A finished file with `OPEN_SEAL` in its last MiB.

    Raises
    ------
    ValueError
        When there is none.
    """
    found = _last_seal(path)
    if found is None:
        raise ValueError(f"{path} has no place for a digest")
    at, _ = found
    digest = _digest(path, at)
    with open(path, "rb+") as handle:
        handle.seek(at)
        handle.write(digest)


def is_sealed(path: str | os.PathLike) -> bool:
    """Check the digest inside a file; memory is 1 MiB.

    Parameters
    ----------
    path : path

    Returns
    -------
    bool
        True when the file is what was written, byte for byte; False for a file that never had a digest (of another
        program or an earlier version).

    Raises
    ------
    ValueError
        When the file is not what was written.
    """
    found = _last_seal(path)
    if found is None:
        if _has_any(path, _WORDS):
            raise ValueError("its digest is damaged or cut off")
        return False
    at, digits = found
    if _digest(path, at) != digits:
        raise ValueError("its content does not have the digest that was written with it")
    return True


def _last_seal(path: str | os.PathLike) -> tuple[int, bytes] | None:
    """Return where the digits of the last seal are, and the digits."""
    size = os.path.getsize(path)
    with open(path, "rb") as handle:
        handle.seek(max(0, size - _TAIL))
        tail = handle.read(_TAIL)
    place = tail.rfind(_START)
    digits = tail[place + len(_START) :][:_DIGITS] if place >= 0 else b""
    if not re.fullmatch(rb"[0-9a-f]{%d}" % _DIGITS, digits):
        return None
    return max(0, size - _TAIL) + place + len(_START), digits


def _digest(path: str | os.PathLike, at: int) -> bytes:
    """SHA-256 in hexadecimal of a file whose digits at `at` count as zeros."""
    made = hashlib.sha256()
    with open(path, "rb") as handle:
        left = at
        while left:
            block = handle.read(min(left, _CHUNK))
            if not block:
                break
            made.update(block)
            left -= len(block)
        made.update(b"0" * len(handle.read(_DIGITS)))
        while block := handle.read(_CHUNK):
            made.update(block)
    return made.hexdigest().encode()


def _has_any(path: str | os.PathLike, words: tuple[bytes, ...]) -> bool:
    longest = max(map(len, words))
    before = b""
    with open(path, "rb") as handle:
        while block := handle.read(_CHUNK):
            if any(word in before + block for word in words):
                return True
            before = block[-longest:]
    return False
