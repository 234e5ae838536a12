"""One-hot encoded DNA: encoding, decoding, random sequences, and putting motifs into backgrounds.

Tensors are ``(n, 4, length)`` with rows A, C, G, T; an all-zero column is an unknown base (N). An
*insert* is what goes into a background, a one-hot ``(4, width)`` whose all-zero columns keep the base
that the background has there, so inserts of several widths can be padded to one.
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
                remedy="Choose sequences without N, or replace them.",
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


def encode_insert(
    motif: str | torch.Tensor, alphabet: Sequence[str] = DNA, ignore: Sequence[str] = UNKNOWN, *, name: str = "motif"
) -> torch.Tensor:
    """Turn a motif, as users give it, into inserts ``(1 or n, 4, width)``.

    Parameters
    ----------
    motif : str or torch.Tensor, shape (4, width), (1, 4, width) or (n, 4, width)
        A string over `alphabet`, or one-hot. N in a string and all-zero columns in a tensor keep the
        base of the background.
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
    motif: str | torch.Tensor,
    start: int | None = None,
    alphabet: Sequence[str] = DNA,
    ignore: Sequence[str] = UNKNOWN,
) -> torch.Tensor:
    """Put a motif into sequences in place of the bases that are there.

    Parameters
    ----------
    X : torch.Tensor, shape (n, 4, length)
        One-hot backgrounds; left as they are.
    motif : str or torch.Tensor, shape (4, width), (1, 4, width) or (n, 4, width)
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
    motifs: Sequence[str | torch.Tensor],
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
    motifs : sequence of str or torch.Tensor
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
    return put(X, torch.cat(parts, dim=2), start, name="the arrangement of motifs")


def put(X: torch.Tensor, inserts: torch.Tensor, start: int | None = None, *, name: str = "motif") -> torch.Tensor:
    """Put encoded inserts ``(1 or n, 4, width)`` into a copy of `X`, without checking either for one-hot."""
    width = inserts.shape[2]
    start = insert_start(X.shape[2], width, start, name=name)
    Y = X.clone()
    window = Y[:, :, start : start + width]
    window.copy_(torch.where((inserts != 0).any(dim=1, keepdim=True), inserts.to(X.dtype), window))
    return Y


def _matching(
    X: torch.Tensor, motif: str | torch.Tensor, alphabet: Sequence[str], ignore: Sequence[str], name: str
) -> torch.Tensor:
    """Encode a motif and see that it goes with `X`: as many as X or one, on its device, in its dtype."""
    insert = encode_insert(motif, alphabet, ignore, name=name)
    if isinstance(motif, str):
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
