"""One-hot encoded DNA: encoding, decoding, checks, random sequences, the reverse complement.

Tensors are ``(n, 4, length)`` with rows A, C, G, T; an all-zero column is an unknown base (N).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from marginome.errors import MarginomeError

DNA = ("A", "C", "G", "T")
COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}
UNKNOWN = ("N",)


def name_some(indices: Sequence[int] | torch.Tensor, limit: int = 5) -> str:
    """Name the first few of many indices for a message, as in ``0, 4, 7 and 12 more``."""
    some = [str(int(i)) for i in indices[:limit]]
    more = len(indices) - len(some)
    return ", ".join(some) + (f" and {more} more" if more else "")


def validate_one_hot(X: torch.Tensor, name: str, *, allow_n: bool = True) -> None:
    """Raise unless `X` is a non-empty batch of one-hot sequences ``(n, 4, length)``.

    Parameters
    ----------
    X : torch.Tensor
        What to check, any dtype and device.
    name : str
        How the message calls it: the caller's argument name.
    allow_n : bool, default True
        Whether all-zero columns (N) may occur. A sequence of nothing but N is refused in any case.

    Raises
    ------
    MarginomeError
        Not a tensor, wrong rank, alphabet not on axis 1, empty, or not one-hot (says which sequences).
    """
    if not isinstance(X, torch.Tensor):
        raise MarginomeError(
            f"expected a tensor (n, 4, length), found {type(X).__name__}",
            where=name,
            remedy="torch.from_numpy or marginome.one_hot_encode make one.",
        )
    shape = tuple(X.shape)
    if X.ndim != 3:
        remedy = f"Add the batch axis: {name}[None]." if X.ndim == 2 and shape[0] == len(DNA) else None
        raise MarginomeError(
            f"expected 3 axes (n, 4, length), found {X.ndim}: shape {shape}", where=name, remedy=remedy
        )
    if shape[1] != len(DNA):
        remedy = f"Swap the axes: {name}.permute(0, 2, 1)." if shape[2] == len(DNA) else None
        raise MarginomeError(
            f"expected 4 rows (A, C, G, T) on axis 1, found {shape[1]}: shape {shape}", where=name, remedy=remedy
        )
    if X.numel() == 0:
        raise MarginomeError(f"there is no sequence in it: shape {shape}", where=name)
    refuse_meta(X, name)
    X = X.detach()  # sums in int8 have no gradient

    # int8 sums of a 0/1 tensor cannot overflow; for anything else the first condition fails on its own.
    zero_or_one = ((X == 0) | (X == 1)).all(dim=2).all(dim=1)
    if not zero_or_one.all():
        rows = (~zero_or_one).nonzero().flatten().tolist()
        raise MarginomeError(
            f"not one-hot: sequence {name_some(rows)} has values other than 0 and 1",
            where=name,
            remedy="Give each position one 1 and three 0, or four 0 for an unknown base.",
        )
    bases = X.sum(dim=1, dtype=torch.int8)
    crowded = (bases > 1).any(dim=1)
    if crowded.any():
        rows = crowded.nonzero().flatten().tolist()
        raise MarginomeError(f"not one-hot: sequence {name_some(rows)} has positions with several bases", where=name)
    unknown = bases == 0
    if unknown.any():
        blank = unknown.all(dim=1).nonzero().flatten().tolist()
        if blank:
            raise MarginomeError(f"sequence {name_some(blank)} has no known base (only N)", where=name)
        if not allow_n:
            rows = unknown.any(dim=1).nonzero().flatten().tolist()
            raise MarginomeError(
                f"sequence {name_some(rows)} has unknown bases (all-zero columns, N)",
                where=name,
                remedy="Give dinucleotide_shuffle allow_N=True, which keeps N as a fifth letter (for attributions: "
                "references=functools.partial(dinucleotide_shuffle, allow_N=True)), or choose sequences without N.",
            )


def refuse_meta(tensor: torch.Tensor, name: str) -> None:
    """Raise for a tensor on the meta device, which has a shape and no data."""
    if tensor.is_meta:
        raise MarginomeError(
            "it is on the meta device: a shape without data", where=name, remedy="Make it on the CPU or a GPU."
        )


def one_hot_encode(
    sequence: str,
    alphabet: Sequence[str] = DNA,
    dtype: torch.dtype | str = torch.int8,
    ignore: Sequence[str] = UNKNOWN,
) -> torch.Tensor:
    """Encode a sequence as one row per character of the alphabet.

    Parameters
    ----------
    sequence : str
        Upper case, as the alphabet is.
    alphabet : sequence of str, default A, C, G, T
        The row order of the encoding.
    dtype : torch.dtype or str, default torch.int8
        Of the encoding.
    ignore : sequence of str, default N
        Characters that become all-zero columns.

    Returns
    -------
    torch.Tensor
        Shape ``(len(alphabet), len(sequence))``.

    Raises
    ------
    MarginomeError
        For a character in neither `alphabet` nor `ignore` (names it and its position) or in both.

    Examples
    --------
    >>> one_hot_encode("ACN").tolist()
    [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]
    """
    if not isinstance(sequence, str):
        raise MarginomeError(f"expected a string, found {type(sequence).__name__}", where="sequence")
    both = sorted(set(alphabet) & set(ignore))
    if both:
        raise MarginomeError(f"{', '.join(both)} is in the alphabet and in the ignored characters", where="ignore")

    # A table from code point to row; 255 marks a character that is not allowed.
    table = np.full(256, 255, dtype=np.uint8)
    for row, character in enumerate(alphabet):
        table[ord(character)] = row
    for character in ignore:
        table[ord(character)] = len(alphabet)
    points = np.frombuffer(sequence.encode("latin-1", errors="replace"), dtype=np.uint8)
    codes = table[points]
    if (codes == 255).any():
        position = int((codes == 255).argmax())
        found = sequence[position]
        remedy = "Convert it with .upper()." if found.upper() in (*alphabet, *ignore) else None
        raise MarginomeError(
            f"character {found!r} at position {position} is not one of {''.join(alphabet)} (or {''.join(ignore)})",
            where="sequence",
            remedy=remedy,
        )
    encoded = torch.from_numpy(codes[None] == np.arange(len(alphabet), dtype=np.uint8)[:, None])
    return encoded.to(torch_dtype(dtype))


def one_hot_decode(X: torch.Tensor, alphabet: Sequence[str] = DNA) -> str | list[str]:
    """Decode one-hot sequences to text; all-zero columns become N.

    Parameters
    ----------
    X : torch.Tensor, shape (4, length) or (n, 4, length)
        One-hot, any dtype and device.
    alphabet : sequence of str, default A, C, G, T
        One character per row of the encoding.

    Returns
    -------
    str or list of str
        One string for two axes, a list of n for three.
    """
    if isinstance(X, torch.Tensor) and X.ndim == 2:
        return one_hot_decode(X[None], alphabet)[0]
    if not isinstance(X, torch.Tensor) or X.ndim != 3 or X.shape[1] != len(alphabet):
        found = tuple(X.shape) if isinstance(X, torch.Tensor) else type(X).__name__
        raise MarginomeError(
            f"expected a tensor ({len(alphabet)}, length) or (n, {len(alphabet)}, length), found {found}", where="X"
        )
    refuse_meta(X, "X")
    if bool((((X != 0) & (X != 1)).any(dim=1) | (X.sum(dim=1) > 1)).any()):
        raise MarginomeError("not one-hot: a column has values other than 0 and one 1", where="X")
    characters = np.frombuffer("".join([*alphabet, "N"]).encode("latin-1"), dtype=np.uint8)
    return [characters[row].tobytes().decode("latin-1") for row in base_codes(X).cpu().numpy()]


def base_codes(X: torch.Tensor) -> torch.Tensor:
    """Return the row index of each base of ``(n, k, length)``, k for an all-zero column; uint8 ``(n, length)``."""
    rows = torch.arange(1, X.shape[1] + 1, dtype=torch.uint8, device=X.device)
    total = (X.to(torch.uint8) * rows[:, None]).sum(dim=1, dtype=torch.uint8)
    return torch.where(total == 0, X.shape[1], total - 1).to(torch.uint8)


def torch_dtype(dtype: torch.dtype | str | np.dtype | type) -> torch.dtype:
    """Return the torch dtype of that name: ``torch.int8``, ``"int8"`` and ``numpy.int8`` are one."""
    if isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, dtype if isinstance(dtype, str) else np.dtype(dtype).name, None)
    if not isinstance(found, torch.dtype):
        raise MarginomeError(f"{dtype!r} is not a dtype", where="dtype", remedy="Give one such as 'float32'.")
    return found


def random_one_hot(
    shape: tuple[int, int, int],
    probs: Sequence | np.ndarray | torch.Tensor | None = None,
    dtype: torch.dtype | str | np.dtype = "int8",
    random_state: int | np.random.RandomState | None = None,
) -> torch.Tensor:
    """Draw random sequences, every position independent of the others.

    Parameters
    ----------
    shape : tuple of int
        ``(n, 4, length)``.
    probs : array-like, shape (4,), (1, 4) or (n, 4), optional
        Probability of each base, for all sequences or for each. Uniform by default.
    dtype : dtype, default int8
        Of the encoding.
    random_state : int or numpy.random.RandomState, optional
        A seed for numpy's Mersenne Twister, so that a seed gives the sequences that it gives in the
        field's other tools; not reproducible when None.

    Returns
    -------
    torch.Tensor
        Shape `shape`, on the CPU.

    Examples
    --------
    >>> random_one_hot((2, 4, 6), random_state=0).shape
    torch.Size([2, 4, 6])
    """
    if not isinstance(shape, tuple) or len(shape) != 3:
        raise MarginomeError(f"expected a tuple (n, 4, length), found {shape!r}", where="shape")
    if not isinstance(random_state, np.random.RandomState):
        random_state = np.random.RandomState(random_state)
    n, characters, length = (int(s) for s in shape)
    if probs is None:
        codes = random_state.randint(0, characters, size=(n, length))
    else:
        p = np.atleast_2d(np.asarray(probs, dtype=np.float64))
        if p.ndim != 2 or p.shape[1] != characters or p.shape[0] not in (1, n):
            raise MarginomeError(
                f"expected ({characters},), (1, {characters}) or ({n}, {characters}), found shape {np.shape(probs)}",
                where="probs",
            )
        # 1e-6 lets rows pass that were rounded to float32.
        wrong = ~((p >= 0).all(axis=1) & (np.abs(p.sum(axis=1) - 1) <= 1e-6))
        if wrong.any():
            raise MarginomeError(
                f"row {name_some(np.flatnonzero(wrong))} is no probability distribution (at least 0, sum 1)",
                where="probs",
            )
        p = np.broadcast_to(p / p.sum(axis=1, keepdims=True), (n, characters))
        codes = np.empty((n, length), dtype=np.int64)
        for i in range(n):
            codes[i] = random_state.choice(characters, size=length, p=p[i])
    X = torch.zeros((n, characters, length), dtype=torch_dtype(dtype))
    return X.scatter_(1, torch.from_numpy(codes)[:, None], 1)


def reverse_complement(
    seq: str | torch.Tensor, complement_map: Mapping[str, str] = COMPLEMENT, allow_N: bool = True
) -> str | torch.Tensor:
    """Reverse-complement a sequence, or any batch of one-hot sequences.

    Parameters
    ----------
    seq : str or torch.Tensor, shape (..., 4, length)
        Text in upper case, or an encoding (or attributions, or a PWM) with the bases on the axis before
        the last.
    complement_map : mapping, default A-T, C-G
        Its key order is the row order of tensors.
    allow_N : bool, default True
        Whether text may hold N.

    Returns
    -------
    str or torch.Tensor
        Of the kind and shape of `seq`; a tensor is a copy.

    Examples
    --------
    >>> reverse_complement("AACGN")
    'NCGTT'
    """
    if isinstance(seq, str):
        known = dict(complement_map) | ({"N": "N"} if allow_N else {})
        unknown = [(i, c) for i, c in enumerate(seq) if c not in known]
        if unknown:
            raise MarginomeError(
                f"character {unknown[0][1]!r} at position {unknown[0][0]} has no complement", where="seq"
            )
        return "".join(known[c] for c in reversed(seq))
    characters = list(complement_map)
    if not isinstance(seq, torch.Tensor) or seq.ndim < 2 or seq.shape[-2] != len(characters):
        found = tuple(seq.shape) if isinstance(seq, torch.Tensor) else type(seq).__name__
        raise MarginomeError(
            f"expected a string or a tensor (..., {len(characters)}, length), found {found}", where="seq"
        )
    order = torch.tensor([characters.index(complement_map[c]) for c in characters], device=seq.device)
    return seq.index_select(-2, order).flip(-1)
