"""Controls: the sequences whose effects say what an insert of no meaning does in the same backgrounds.

An insert overwrites a few bases of a background, and most of what it does is not the motif: it removes what stood there
and brings in letters of some composition. The null of its effect is therefore the effect of *other inserts of the same
width and composition in the same backgrounds*. This module says which ones to run; `marginome.nulls` compares.

The ladder, from the strictest control to the loosest; an insert takes the first rung that holds enough sequences:

1. ``dinucleotide``: shuffles with the insert's dinucleotide counts (and hence its two end letters).
2. ``mononucleotide``: shuffles with its letter counts.
3. ``pool``: random sequences with its width and its number of G and C.

Columns that keep the background's base (N) stay where they are in every control.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from marginome.bases import reverse_complement_text
from marginome.errors import MarginomeError
from marginome.seeds import stable_seed

log = logging.getLogger(__name__)

CONTROL_KINDS = ("dinucleotide", "mononucleotide", "pool")
#: A rung of the ladder with fewer distinct sequences than this is left for the next one: a handful of near copies of
#: the motif (TGACTCA has 2 dinucleotide shuffles besides itself) is no null.
MIN_DISTINCT = 20
#: Pooled controls: the least each width gets, if there are enough.
LEAST_PER_WIDTH = 10
#: Fewer controls than this in all give no tail to fit and no p-values.
MIN_CONTROLS = 40
#: Controls of an insert list when the config says no number: what one finding among its own inserts needs (q of 0.05,
#: `marginome.discoveries.controls_needed`), and at least what a null of one width is calibrated with. Of a long list as
#: many as six findings need (three matrices of one factor, in both orientations).
POOL_PER_INSERT, LEAST_POOL, MUCH_POOL, MOST_POOL = 40, 300, 1000, 10_000
POOL_PER_INSERT_OF_MANY = 20 / 3


def pool_size(n_inserts: int) -> int:
    """Return how many controls a list of so many distinct inserts has when nothing else is said.

    Parameters
    ----------
    n_inserts : int
        Distinct inserts, both orientations counted.

    Returns
    -------
    int
        40 for each, at least 300 and at most 1,000; of more than 150 inserts 20 for three, at most 10,000: then six
        inserts that do more than every control have q at most 0.05.
    """
    few = min(max(POOL_PER_INSERT * n_inserts, LEAST_POOL), MUCH_POOL)
    return max(few, min(math.ceil(POOL_PER_INSERT_OF_MANY * n_inserts), MOST_POOL))


class ControlSet(NamedTuple):
    """Which control sequences to run, and which of them belong to which insert.

    Attributes
    ----------
    sequences : tuple of str
        The control sequences, each once, sorted by width and then alphabetically: the order they are run in.
    members : tuple of numpy.ndarray
        Per insert, the indices (int64, ascending) into `sequences` of the controls made from it or from its reverse
        complement. Empty where a pooled set drew none from this insert: the null is the whole set's.
    kinds : tuple of str
        Per insert, the rung of the ladder its own controls are from (or, if it has none, would be from):
        "dinucleotide", "mononucleotide" or "pool".
    """

    sequences: tuple[str, ...]
    members: tuple[np.ndarray, ...]
    kinds: tuple[str, ...]


def gc_fraction(sequence: str) -> float:
    """Return the fraction of G and C among the letters of a sequence that are not N.

    Parameters
    ----------
    sequence : str
        Upper-case letters.

    Returns
    -------
    float
        Between 0 and 1; 0.5 for a sequence of nothing but N.
    """
    known = len(sequence) - sequence.count("N")
    return (sequence.count("G") + sequence.count("C")) / known if known else 0.5


def count_shuffles(sequence: str, kind: str = "dinucleotide") -> int:
    """Count the distinct sequences a control of a kind can be, the given one among them.

    Parameters
    ----------
    sequence : str
        The insert; N splits it for dinucleotides and is left out for the others.
    kind : str, default "dinucleotide"
        One of `CONTROL_KINDS`.

    Returns
    -------
    int
        At least 1.

    Notes
    -----
    Dinucleotides: a sequence is an Eulerian path of the multigraph whose edges are its dinucleotides. The BEST theorem
    (de Bruijn and van Aardenne-Ehrenfest 1951; Smith and Tutte 1941) counts the paths over labelled edges as the number
    of spanning trees towards the last letter (a determinant of the Laplacian) times the product over letters of
    (out-degree - 1)!; dividing by the factorials of the edges' multiplicities leaves the distinct sequences.
    """
    if kind == "dinucleotide":
        return math.prod(_count_eulerian(run) for run in sequence.split("N") if run)
    letters = sequence.replace("N", "")
    if kind == "mononucleotide":
        return math.factorial(len(letters)) // math.prod(math.factorial(n) for n in Counter(letters).values())
    return math.comb(len(letters), letters.count("G") + letters.count("C")) * 2 ** len(letters)


def _count_eulerian(run: str) -> int:
    """Count the distinct sequences with the dinucleotide counts and the ends of `run` (no N)."""
    edges = Counter(itertools.pairwise(run))
    out_degree = Counter(run)  # every occurrence leaves by an edge once the last letter is joined to the first
    others = [letter for letter in out_degree if letter != run[-1]]
    laplacian = [
        [out_degree[a] - edges[a, a] if a == b else -edges[a, b] for b in others] for a in others
    ]  # rows and columns of all letters but the last
    trees = _determinant(laplacian)
    paths = trees * math.prod(math.factorial(n - 1) for n in out_degree.values())
    return paths // math.prod(math.factorial(n) for n in edges.values())


def _determinant(matrix: list[list[int]]) -> int:
    """Return the exact determinant of a small integer matrix, by expansion of the first row."""
    if not matrix:
        return 1
    return sum(
        (-1) ** j * a * _determinant([row[:j] + row[j + 1 :] for row in matrix[1:]])
        for j, a in enumerate(matrix[0])
        if a
    )


def _shuffle_dinucleotides(run: str, rng: random.Random) -> str:
    """Draw uniformly from the sequences with the dinucleotide counts and the ends of `run` (no N).

    The successors of every letter are put into random order and walked; a walk that strands before it has used all of
    them is thrown away. Every complete walk is equally likely, so what is left is uniform.
    """
    while True:
        successors: dict[str, list[str]] = {}
        for a, b in itertools.pairwise(run):
            successors.setdefault(a, []).append(b)
        for letters in successors.values():
            rng.shuffle(letters)
        walk = [run[0]]
        while successors.get(walk[-1]):
            walk.append(successors[walk[-1]].pop())
        if len(walk) == len(run):
            return "".join(walk)


def draw_control(sequence: str, kind: str, rng: random.Random) -> str:
    """Draw one control sequence of an insert, uniformly from all there are (the insert itself among them).

    Parameters
    ----------
    sequence : str
        The insert (A, C, G, T; N keeps the background's base and stays in place).
    kind : str
        "dinucleotide", "mononucleotide" or "pool", see the module's text.
    rng : random.Random
        Where the randomness comes from.

    Returns
    -------
    str
        As long as `sequence`.
    """
    if kind == "dinucleotide":
        return "N".join(_shuffle_dinucleotides(run, rng) if run else "" for run in sequence.split("N"))
    letters = [letter for letter in sequence if letter != "N"]
    if kind == "pool":
        letters = [rng.choice("GC" if letter in "GC" else "AT") for letter in letters]
    rng.shuffle(letters)
    source = iter(letters)
    return "".join(letter if letter == "N" else next(source) for letter in sequence)


def draw_controls(sequence: str, n: int, seed: int) -> tuple[list[str], str]:
    """Draw distinct controls of one insert, by the ladder.

    Parameters
    ----------
    sequence : str
        The insert (A, C, G, T, N).
    n : int
        How many are wanted.
    seed : int
        Together with the insert (or its reverse complement, which gives the same controls) decides the draw.

    Returns
    -------
    controls : list of str
        `n` sequences, sorted; none is the insert, its reverse complement or another control. Fewer only where even the
        pool is smaller (inserts of up to about 5 bp): then all it has.
    kind : str
        The rung of the ladder: the first with at least `n` and at least `MIN_DISTINCT` sequences besides the insert
        and its reverse complement, otherwise the pool.

    Notes
    -----
    Each control is reverse-complemented or not by a fair coin. So one set of controls is exchangeable under the null
    with the insert *and* with its reverse complement, also for models that treat the strands differently.
    """
    sequence = min(sequence, reverse_complement_text(sequence))
    excluded = {sequence, reverse_complement_text(sequence)}
    available, kind = 0, CONTROL_KINDS[-1]
    for rung in CONTROL_KINDS:
        available = count_shuffles(sequence, rung) - len(excluded)
        if available >= max(n, MIN_DISTINCT):
            kind = rung
            break
    rng = random.Random(stable_seed(seed, "controls", sequence, n))
    controls: set[str] = set()
    # A draw of all there are is a coupon collector's: about m log m draws for m; 60 m leaves a chance below 1e-20 m.
    for _ in range(60 * (available + 2) if available < 4 * n else 100 * n):
        if len(controls) >= min(n, available):
            break
        control = draw_control(sequence, kind, rng)
        if rng.random() < 0.5:
            control = reverse_complement_text(control)
        if control not in excluded:
            controls.add(control)
    return sorted(controls), kind


def list_controls(
    inserts: Sequence[tuple[str, str]], *, n: int = 1000, seed: int = 0, pooled: bool = True
) -> ControlSet:
    """List the control sequences of a screen and which insert each is made from.

    Parameters
    ----------
    inserts : sequence of (str, str)
        Id and sequence (A, C, G, T; N keeps the background's base) of every insert of the screen, in any order. Both
        orientations of a motif may be among them: they share their controls.
    n : int, default 1000
        `pooled`: how many control sequences there are in all. Otherwise: how many for every insert (counting an
        insert, its duplicates and its reverse complement once).
    seed : int, default 0
        The config's seed.
    pooled : bool, default True
        Spread `n` controls evenly over the inserts instead of running `n` for each. The null is fitted to all of them
        by width and GC in either case, so this is a matter of cost and precision only.

    Returns
    -------
    ControlSet
        The same for the same inserts, `n` and `seed`, whatever their order and however the screen is sharded. Inserts
        may draw the same short sequence: a pool is drawn on until it holds `n`, or all that there are, and may hold a
        few more; any set until it holds 40 (`MIN_CONTROLS`). The log says so.

    Raises
    ------
    MarginomeError
        If an insert has other letters or nothing but N, `n` is not positive, or the inserts are so few and short that
        there are fewer than 40 different controls (`MIN_CONTROLS`).

    Notes
    -----
    Pooled controls are spread by systematic sampling: the distinct inserts sorted by width, GC and sequence, every
    (number of inserts / n)-th taken, so that each width and composition has its share however small `n` is. Before
    that every width gets 10 (or half of `n`, shared), because the location and scale of a rare width, 31 or 33 bp in
    JASPAR, cannot be had from the others. A control that happens to be another motif's consensus stays: random
    sequences do hold sites, and a null cleaned of them would be too narrow.
    """
    if not n >= 1:
        raise MarginomeError(f"n is {n}, wanted a positive number", where="controls")
    for name, sequence in inserts:
        if not sequence.strip("N") or set(sequence) - set("ACGTN"):
            raise MarginomeError(
                f"has the sequence '{sequence}', wanted letters A, C, G, T and N, not all of them N",
                where=f"insert '{name}'",
            )
    canonical = [min(sequence, reverse_complement_text(sequence)) for _, sequence in inserts]
    distinct = sorted(set(canonical), key=lambda s: (len(s), gc_fraction(s), s))
    drawn, sequences = _draw(distinct, n, seed, pooled)
    # Inserts draw the same sequences now and then, short ones often: a pool has the size that was asked for, since q
    # hangs on it, and what is drawn for each insert has at least what a null is fitted to.
    wanted, of_each, found = n if pooled else MIN_CONTROLS, n, len(sequences)
    while distinct and len(sequences) < max(wanted, MIN_CONTROLS):
        if all(len(controls) < share for share, controls, _ in drawn.values()):
            if len(sequences) >= MIN_CONTROLS:
                log.warning("there are no more than %d different controls of %d distinct inserts, %d were asked for",
                            len(sequences), len(distinct), n)  # fmt: skip
                break
            raise MarginomeError(
                f"there are {len(sequences)} different controls of {len(distinct)} distinct inserts this short, "
                f"{MIN_CONTROLS} are needed",
                where="controls",
                remedy="Give longer or more inserts, or switch controls off (controls: false).",
            )
        short = max(wanted, MIN_CONTROLS) - len(sequences)
        of_each += max(1, short // (1 if pooled else len(distinct)))
        drawn, sequences = _draw(distinct, of_each, seed, pooled)
    if of_each > n:
        log.info("%d controls came out of %d distinct inserts%s: drew on, to %d", found, len(distinct),
                 "" if pooled else f", {n} for each", len(sequences))  # fmt: skip
    index = {c: i for i, c in enumerate(sequences)}
    return ControlSet(
        sequences=tuple(sequences),
        members=tuple(np.array(sorted(index[c] for c in drawn[s].controls), dtype=np.int64) for s in canonical),
        kinds=tuple(drawn[s].kind for s in canonical),
    )


class _Drawn(NamedTuple):
    """What an insert was to draw, and what it drew."""

    share: int
    controls: list[str]
    kind: str


def _draw(distinct: list[str], n: int, seed: int, pooled: bool) -> tuple[dict[str, _Drawn], list[str]]:
    """Draw `n` controls shared by all inserts, or `n` of each; also return all of them, each once, in order."""
    share = _spread(distinct, n) if pooled else {sequence: n for sequence in distinct}
    drawn = {s: _Drawn(share[s], *draw_controls(s, max(share[s], 1), seed)) for s in distinct}
    # an insert without a share has a kind, but no controls of its own
    drawn = {s: made if made.share else made._replace(controls=[]) for s, made in drawn.items()}
    return drawn, sorted({c for made in drawn.values() for c in made.controls}, key=lambda c: (len(c), c))


def _spread(distinct: list[str], n: int) -> dict[str, int]:
    """Share `n` controls among inserts sorted by width: some for each width, the rest evenly."""
    share = dict.fromkeys(distinct, 0)
    by_width = [list(group) for _, group in itertools.groupby(distinct, key=len)]
    least = min(LEAST_PER_WIDTH, n // (2 * len(by_width))) if by_width else 0
    for group in by_width:
        _add_evenly(share, group, least)
    _add_evenly(share, distinct, n - least * len(by_width))
    return share


def _add_evenly(share: dict[str, int], inserts: list[str], n: int) -> None:
    """Add `n` controls to the shares of inserts by systematic sampling along their order."""
    each, rest = divmod(n, len(inserts)) if inserts else (0, 0)
    for sequence in inserts:
        share[sequence] += each
    for i in range(rest):
        share[inserts[(2 * i + 1) * len(inserts) // (2 * rest)]] += 1


def composition(sequences: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return what a null is matched by: the number of letters and the GC fraction of each sequence.

    Parameters
    ----------
    sequences : sequence of str
        Inserts or controls (A, C, G, T, N).

    Returns
    -------
    widths : numpy.ndarray
        Letters other than N, float64, shape (len(sequences),).
    gc : numpy.ndarray
        Fraction of G and C among them, float64, same shape.
    """
    widths = np.array([len(s) - s.count("N") for s in sequences], dtype=np.float64)
    return widths, np.array([gc_fraction(s) for s in sequences], dtype=np.float64)
