"""Bytes damaged at random, as a list of edits, so that of damage that is not noticed the least can be shown."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

HEAD = 4000  # bytes at the start, where formats keep their own lists, get half of the damage


class Edit(NamedTuple):
    """Bytes from a place on are taken away, and others put there."""

    at: int
    removed: int
    put: bytes

    def applied(self, content: bytes) -> bytes:
        """Return the content with this edit."""
        return content[: self.at] + self.put + content[self.at + self.removed :]

    def halves(self) -> Iterator[Edit]:
        """Yield edits of the same kind that do half as much."""
        at, removed, put = self
        cut = max(removed, len(put)) // 2
        if cut and removed == len(put):
            yield Edit(at, cut, put[:cut])
            yield Edit(at + cut, removed - cut, put[cut:])
        elif cut and not put:
            yield Edit(at, cut, b"")
            yield Edit(at + cut, removed - cut, b"")
        elif cut and not removed:
            yield Edit(at, 0, put[:cut])
            yield Edit(at, 0, put[cut:])


def draw(content: bytes, rng: random.Random, most: int = 100) -> list[Edit]:
    """Draw one damage or more: bits, bytes, cuts, pieces that are zero, lost, new, copied or swapped."""
    edits: list[Edit] = []
    for _ in range(min(most, rng.choice([1] * 8 + [2, 2, 3, 3, 10, 100]))):
        if not content:
            break
        for edit in _ways(content, rng):
            content = edit.applied(content)
            edits.append(edit)
    return edits


def _ways(content: bytes, rng: random.Random) -> list[Edit]:
    at = rng.randrange(len(content) if rng.random() < 0.5 else min(len(content), HEAD))
    size = min(rng.choice([1, 2, 8, 16, 64, 512, 4096]), len(content) - at)
    if rng.random() < 0.5:
        at -= at % size  # as blocks of a disk
    way = rng.randrange(10)
    if way <= 3:
        return [Edit(at, 1, bytes([content[at] ^ (1 << rng.randrange(8))]))]
    if way == 4:
        return [Edit(at, 1, rng.randbytes(1))]
    if way == 5:
        left = rng.choice([at, max(0, len(content) - rng.randint(1, 200))])
        return [Edit(left, len(content) - left, b"")]
    if way == 6:
        return [Edit(at, size, rng.choice([b"\0", b"\0", b"\xff"]) * size)]
    if way == 7:
        return [Edit(at, size, b"")]
    if way == 8:
        return [Edit(at, 0, rng.randbytes(size))]
    to = rng.randrange(len(content) - size + 1)
    copied = Edit(to, size, content[at : at + size])
    return [copied] if rng.random() < 0.5 else [copied, Edit(at, size, content[to : to + size])]


def edited(content: bytes, edits: Sequence[Edit]) -> bytes:
    """Return the content with edits, one after the other."""
    for edit in edits:
        content = edit.applied(content)
    return content


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return content with drawn edits."""
    return edited(content, draw(content, rng))


def less(edits: Sequence[Edit]) -> Iterator[list[Edit]]:
    """Yield damage that is a little less: half of the edits, one edit less, half of an edit."""
    edits = list(edits)
    if len(edits) > 3:
        yield edits[: len(edits) // 2]
        yield edits[len(edits) // 2 :]
    for i, edit in enumerate(edits):
        if len(edits) > 1:
            yield [*edits[:i], *edits[i + 1 :]]
        for half in edit.halves():
            yield [*edits[:i], half, *edits[i + 1 :]]


def shown(edits: Sequence[Edit], size: int) -> str:
    """Say what is done to a file of so many bytes."""
    parts = [f"at {at} {removed} bytes are {put[:40]!r}{'...' if len(put) > 40 else ''}" for at, removed, put in edits]
    return f"of {size} bytes " + ", ".join(parts[:10]) + (f" and {len(parts) - 10} more" if len(parts) > 10 else "")
