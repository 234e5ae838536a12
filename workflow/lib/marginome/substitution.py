"""Motifs put into one-hot sequences.

An *insert* is what goes into a background, a one-hot ``(4, width)`` whose all-zero columns keep the base
that the background has there, so inserts of several widths can be padded to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from marginome.errors import MarginomeError
from marginome.sequences import DNA, UNKNOWN, one_hot_encode, validate_one_hot


@runtime_checkable
class NamedMotif(Protocol):
    """What a `Motif` of `read_motifs` has.

    Were its class imported here, each edit of a reader would be a reason to run every model again.
    """

    motif_id: str
    consensus: str


def encode_insert(
    motif: str | torch.Tensor | NamedMotif,
    alphabet: Sequence[str] = DNA,
    ignore: Sequence[str] = UNKNOWN,
    *,
    name: str = "motif",
) -> torch.Tensor:
    """Turn a motif, as users give it, into inserts ``(1 or n, 4, width)``.

    Parameters
    ----------
    motif : str, Motif, or torch.Tensor, shape (4, width), (1, 4, width) or (n, 4, width)
        A string over `alphabet`, a motif of `read_motifs` (its consensus goes in), or one-hot. N in a string and
        all-zero columns in a tensor keep the base of the background.
    alphabet, ignore : sequence of str
        As in `one_hot_encode`.
    name : str, default "motif"
        How messages call it.

    Returns
    -------
    torch.Tensor
        Three axes; int8 on the CPU for a string, as it is for a tensor.

    Raises
    ------
    MarginomeError
        Empty, not one-hot, a character outside the alphabet, or no base at all.
    """
    if isinstance(motif, NamedMotif):
        motif, name = motif.consensus, f"{name} '{motif.motif_id}'"
    if isinstance(motif, str):
        if not motif:
            raise MarginomeError("the motif is empty", where=name)
        try:
            encoded = one_hot_encode(motif, alphabet=alphabet, ignore=ignore)[None]
        except MarginomeError as error:
            raise MarginomeError(error.what, where=f"{name} {motif!r}", remedy=error.remedy) from None
    elif isinstance(motif, torch.Tensor) and motif.ndim == 2:
        encoded = motif[None]
    else:
        encoded = motif
    if len(alphabet) == len(DNA):
        validate_one_hot(encoded, name)
    return encoded


def insert_start(length: int, width: int, start: int | None = None, *, name: str = "motif") -> int:
    """Return where an insert of `width` starts in a background of `length`: `start`, or centred.

    Centred is ``length // 2 - width // 2``: the middles coincide, and for odd widths the middle base of
    the insert is at position ``length // 2``.

    Raises
    ------
    MarginomeError
        When the insert is longer than the background or sticks out of it.
    """
    if width > length:
        raise MarginomeError(f"it is {width} bp, longer than the background's {length} bp", where=name)
    if start is None:
        return length // 2 - width // 2
    if isinstance(start, bool) or int(start) != start:
        raise MarginomeError(f"expected a whole number, found {start!r}", where="start")
    if not 0 <= start <= length - width:
        raise MarginomeError(
            f"{name} of {width} bp at {int(start)} sticks out of a background of {length} bp",
            where="start",
            remedy=f"Choose 0 to {length - width}.",
        )
    return int(start)


def substitute(
    X: torch.Tensor,
    motif: str | torch.Tensor | NamedMotif,
    start: int | None = None,
    alphabet: Sequence[str] = DNA,
    ignore: Sequence[str] = UNKNOWN,
) -> torch.Tensor:
    """Put a motif into sequences in place of the bases that are there.

    Parameters
    ----------
    X : torch.Tensor, shape (n, 4, length)
        One-hot backgrounds; left as they are.
    motif : str, Motif, or torch.Tensor, shape (4, width), (1, 4, width) or (n, 4, width)
        One for all, or one per background. N (an all-zero column) keeps the background's base.
    start : int, optional
        Position of its first base, from 0. Centred by default (see `insert_start`).
    alphabet, ignore : sequence of str
        How to read a string, as in `one_hot_encode`.

    Returns
    -------
    torch.Tensor
        A new tensor with the shape, dtype and device of `X`.

    Raises
    ------
    MarginomeError
        Input that is not one-hot or empty, a motif that does not fit, a number of motifs that is neither
        1 nor n, a motif tensor on another device.

    Examples
    --------
    >>> one_hot_decode(substitute(one_hot_encode("AAAAAAAA")[None], "GNG"))
    ['AAAGAGAA']
    """
    validate_one_hot(X, "X")
    return put(X, _matching(X, motif, alphabet, ignore, "motif"), start)


def multisubstitute(
    X: torch.Tensor,
    motifs: Sequence[str | torch.Tensor | NamedMotif],
    spacing: int | Sequence[int],
    start: int | None = None,
    alphabet: Sequence[str] = DNA,
    ignore: Sequence[str] = UNKNOWN,
) -> torch.Tensor:
    """Put several motifs into sequences, with gaps of background between them.

    Parameters
    ----------
    X : torch.Tensor, shape (n, 4, length)
        One-hot backgrounds; left as they are.
    motifs : sequence of str, Motif or torch.Tensor
        In their order from left to right; each as in `substitute`.
    spacing : int or sequence of int
        Bases of background between neighbours: one number for all, or one per neighbouring pair.
    start : int, optional
        Position of the first base of the first motif. By default the whole arrangement is centred.
    alphabet, ignore : sequence of str
        As in `one_hot_encode`.

    Returns
    -------
    torch.Tensor
        A new tensor with the shape, dtype and device of `X`.

    Examples
    --------
    >>> one_hot_decode(multisubstitute(one_hot_encode("AAAAAAAA")[None], ["C", "GG"], 2))
    ['AACAAGGA']
    """
    validate_one_hot(X, "X")
    return put(X, arrange(X, motifs, spacing, alphabet, ignore), start, name="the arrangement of motifs")


def arrange(
    X: torch.Tensor,
    motifs: Sequence[str | torch.Tensor | NamedMotif],
    spacing: int | Sequence[int],
    alphabet: Sequence[str] = DNA,
    ignore: Sequence[str] = UNKNOWN,
) -> torch.Tensor:
    """Return several motifs with gaps between them as one insert, ``(1 or n, 4, width)``; see `multisubstitute`."""
    motifs = list(motifs) if not isinstance(motifs, str) else [motifs]
    if not motifs:
        raise MarginomeError("there is no motif in the list", where="motifs")
    if isinstance(spacing, int | np.integer):
        gaps = [int(spacing)] * (len(motifs) - 1)
    else:
        gaps = [int(gap) for gap in spacing]
    if len(gaps) != len(motifs) - 1:
        raise MarginomeError(
            f"{len(motifs)} motifs have {len(motifs) - 1} gaps between them, found {len(gaps)}", where="spacing"
        )
    if any(gap < 0 for gap in gaps):
        raise MarginomeError(f"a gap is at least 0, found {min(gaps)}", where="spacing")

    inserts = [_matching(X, motif, alphabet, ignore, f"motifs[{i}]") for i, motif in enumerate(motifs)]
    n = max(insert.shape[0] for insert in inserts)
    parts = [inserts[0].expand(n, -1, -1)]
    for gap, insert in zip(gaps, inserts[1:]):
        parts += [insert.new_zeros((n, X.shape[1], gap)), insert.expand(n, -1, -1)]
    return torch.cat(parts, dim=2)


def put(X: torch.Tensor, inserts: torch.Tensor, start: int | None = None, *, name: str = "motif") -> torch.Tensor:
    """Put encoded inserts ``(1 or n, 4, width)`` into a copy of `X`, without checking either for one-hot."""
    width = inserts.shape[2]
    start = insert_start(X.shape[2], width, start, name=name)
    Y = X.clone()
    window = Y[:, :, start : start + width]
    window.copy_(torch.where((inserts != 0).any(dim=1, keepdim=True), inserts.to(X.dtype), window))
    return Y


def _matching(
    X: torch.Tensor, motif: str | torch.Tensor | NamedMotif, alphabet: Sequence[str], ignore: Sequence[str], name: str
) -> torch.Tensor:
    """Encode a motif and see that it goes with `X`: as many as X or one, on its device, in its dtype."""
    insert = encode_insert(motif, alphabet, ignore, name=name)
    if not isinstance(motif, torch.Tensor):
        insert = insert.to(X.device)
    elif insert.device != X.device:
        raise MarginomeError(
            f"it is on {insert.device}, the backgrounds are on {X.device}",
            where=name,
            remedy=f"Use .to({str(X.device)!r}).",
        )
    if insert.shape[0] not in (1, X.shape[0]):
        raise MarginomeError(
            f"{insert.shape[0]} motifs for {X.shape[0]} backgrounds",
            where=name,
            remedy="Give one motif for all backgrounds, or one for each.",
        )
    return insert.to(X.dtype)
