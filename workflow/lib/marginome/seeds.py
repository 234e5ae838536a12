"""Seeds that depend on what is drawn, never on who draws it or in which order."""

from __future__ import annotations

import hashlib


def stable_seed(*parts: object) -> int:
    """Return a seed that is a hash of stable identifiers.

    Every random draw of a run is seeded by the config's seed, a word for what is drawn and the
    stable id of the thing it is drawn for, so that shards, threads and order cannot change it.

    Parameters
    ----------
    *parts : object
        Hashed by their text, e.g. ``stable_seed(1, "dinucleotide_shuffle", "chr22:100-200")``.

    Returns
    -------
    int
        In [0, 2**63).

    Notes
    -----
    BLAKE2b of the parts' texts, each preceded by its length, so that ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        # a seed of 1.0 is a seed of 1, as it is in the config
        text = str(int(part) if isinstance(part, float) and part.is_integer() else part).encode()
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text)
    return int.from_bytes(digest.digest(), "little") >> 1
