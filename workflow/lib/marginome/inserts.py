"""What goes into the backgrounds, and where: consensus, samples, orientations, positions, flanks, pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from marginome.bases import reverse_complement_text
from marginome.config_checks import whole_number
from marginome.errors import MarginomeError, unknown_name
from marginome.gaps import gaps_of
from marginome.motifs.motif import Motif
from marginome.motifs.table import find_motif
from marginome.placing import check_inside, insert_id
from marginome.seeds import stable_seed

MODES = ("consensus", "sample", "given")
ORIENTATIONS = {"+": ("+",), "-": ("-",), "both": ("+", "-")}


@dataclass(frozen=True)
class Insert:
    """One sequence and where it goes: one row of the effect table per model, background set and output.

    Attributes
    ----------
    motif_id, motif_name : str
        The motif; of a pair, the one named first in the config.
    orientation : str
        "+" as given or "-" reverse complement.
    start : int
        First base of `sequence` in the background (0-based, bp).
    sequence : str
        A, C, G, T, and N, which keeps the background's base.
    sample : int or None
        Number of the PWM sample, from 0.
    partner_id, partner_orientation, gap, order :
        Of a pair: the second motif, its orientation, the bases between the two (bp), and whether the
        first motif comes first ("given") or second ("swapped"). None for a motif alone.
    collection : str
        Name of the motif collection.
    """

    motif_id: str
    motif_name: str
    orientation: str
    start: int
    sequence: str
    sample: int | None = None
    partner_id: str | None = None
    partner_orientation: str | None = None
    gap: int | None = None
    order: str | None = None
    collection: str = ""

    @property
    def insert_id(self) -> str:
        """Text that identifies the insert in its screen: a seed or a key may be made from it."""
        return insert_id(
            self.collection, self.motif_id, self.orientation, self.start, self.sample, self.partner_id,
            self.partner_orientation, self.gap, self.order,
        )  # fmt: skip


def insert_sequence(motif: Motif, *, mode: str = "consensus", sample: int | None = None, seed: int = 1) -> str:
    """Return the bases that stand for a motif, in its own orientation.

    Parameters
    ----------
    motif : Motif
    mode : {"consensus", "sample", "given"}
        ``consensus``: the most probable base of each position (`Motif.consensus`). ``sample``: one
        base per position drawn from the PWM. ``given``: the sequence of a TSV or FASTA entry.
        A motif with a given sequence goes in as given under ``consensus`` too; N in it keeps the
        background's base and other ambiguity codes become the first of their bases.
    sample : int, optional
        Number of the sample.
    seed : int, default 1
        The config's seed. A sample depends on it, the motif's id and `sample` alone.

    Returns
    -------
    str
    """
    if mode not in MODES:
        raise unknown_name("kind of insert", mode, MODES, where="inserts")
    if not (motif.pwm >= 0).all():  # NaN would be read as A
        raise MarginomeError("its matrix holds what is no probability", where=f"motif '{motif.motif_id}'")
    if mode == "sample":
        rng = np.random.default_rng(stable_seed(seed, "motif sample", motif.motif_id, sample))
        cumulative = motif.pwm.cumsum(1)
        chosen = (rng.random(motif.width)[:, None] * cumulative[:, -1:] >= cumulative).sum(1)
        bases = np.array(list("ACGT"))[np.minimum(chosen, 3)]
        if motif.sequence is not None:  # N of a given sequence still means the background's base
            bases[np.array(list(motif.sequence)) == "N"] = "N"
        return "".join(bases)
    if mode == "given" and motif.sequence is None:
        raise MarginomeError(
            f"motif '{motif.motif_id}' ({motif.format}) is a matrix, not a given sequence",
            where=f"{motif.source}, line {motif.line}",
            remedy="Use inserts: consensus or sample, or give sequences in a TSV or FASTA file.",
        )
    consensus = motif.consensus
    if set(consensus) == {"N"}:
        raise MarginomeError(
            f"every position of motif '{motif.motif_id}' has four equal probabilities: there is nothing to put in",
            where=f"{motif.source}, line {motif.line}",
            remedy="Exclude it, or use inserts: sample.",
        )
    return consensus


def list_starts(positions: object, *, length: int | None, width: int) -> list[int]:
    """Return the starts that a `positions` setting means for an insert of that width.

    Parameters
    ----------
    positions : "centre", int, sequence of int, or mapping with start, stop, step
        First base of the insert (0-based, bp). ``centre`` is ``length // 2 - width // 2``. A grid goes
        from ``start`` up to and not including ``stop``.
    length : int or None
        Of the background (bp). None where it is not known yet: ``centre`` is then counted from the middle,
        ``-(width // 2)``; the others do not depend on it.
    width : int
        Of the insert (bp).

    Returns
    -------
    list of int
        Ascending for a grid, as given for a list.
    """
    if positions == "centre":
        return [(length or 0) // 2 - width // 2]
    if isinstance(positions, Mapping):
        grid = list(range(positions["start"], positions["stop"], positions["step"]))
        if not grid:
            raise MarginomeError(
                f"the grid from {positions['start']} to {positions['stop']} is empty",
                where="positions",
                remedy="stop must be larger than start.",
            )
        return grid
    if isinstance(positions, (int, np.integer)) and not isinstance(positions, bool):
        return [int(positions)]
    if isinstance(positions, Sequence) and not isinstance(positions, str):
        return [whole_number(start, where="positions") for start in positions]
    raise MarginomeError(
        f"found {positions!r}, wanted centre, a start, a list of starts or start, stop and step", where="positions"
    )


def list_inserts(
    motifs: Sequence[Motif],
    *,
    mode: str = "consensus",
    orientations: str = "both",
    positions: object = "centre",
    length: int | None,
    draws: int = 1,
    seed: int = 1,
    flanks: Mapping[str, str] | None = None,
    pairs: Sequence[Mapping] | None = None,
    collection: str = "",
) -> list[Insert]:
    """List the inserts of a screen in their canonical order.

    Parameters
    ----------
    motifs : sequence of Motif
        Ids are unique.
    mode : {"consensus", "sample", "given"}, default "consensus"
        See `insert_sequence`.
    orientations : {"+", "-", "both"}, default "both"
    positions :
        See `list_starts`; flanks belong to the insert. Of a pair, the position is that of the whole
        arrangement, so ``centre`` centres it (as `multisubstitute` does).
    length : int or None
        Of the backgrounds (bp). None where it is not known yet: see `list_starts`; whether inserts fit is then not
        checked (`marginome.placing.place` does it).
    draws : int, default 1
        Samples per motif when `mode` is "sample"; another number leaves the first ones as they are.
    seed : int, default 1
    flanks : mapping, optional
        ``left`` and ``right``: bases before and after the motif in its "+" orientation; they turn with it.
    pairs : sequence of mappings, optional
        Each with ``motifs`` (two ids or names), ``gaps`` (bp), ``orientations`` (of first and second,
        default ["++"]) and ``orders`` (given, swapped or both, default given). With pairs, the screen has
        the pairs, and each motif of a pair alone at the place that it has in the pair, instead of every
        motif of the collection.
    collection : str, optional
        Name of the collection, kept with every insert.

    Returns
    -------
    list of Insert
        Motifs in their order; for each, orientations (+ first), positions, samples. With pairs: in the
        order of the pairs, their orders, orientations, gaps, positions and samples, each followed by its two
        motifs alone unless these are in the list already.

    Raises
    ------
    MarginomeError
        An insert that does not lie within the background, an unknown motif, nothing to insert.
    """
    if orientations not in ORIENTATIONS:
        raise unknown_name("orientation", orientations, ORIENTATIONS, where="orientations")
    numbers: Sequence[int | None] = range(draws) if mode == "sample" else [None]
    left, right = ((flanks or {}).get(side, "").upper() for side in ("left", "right"))
    if pairs:
        if left or right:
            raise MarginomeError("flanks and pairs cannot be combined", where="flanks", remedy="Leave one out.")
        inserts = list(_pair_inserts(motifs, pairs, mode, positions, length, numbers, seed, collection))
    else:
        inserts = []
        for motif in motifs:
            given = [left + insert_sequence(motif, mode=mode, sample=n, seed=seed) + right for n in numbers]
            for orientation in ORIENTATIONS[orientations]:
                turned = given if orientation == "+" else [reverse_complement_text(sequence) for sequence in given]
                for start in list_starts(positions, length=length, width=len(given[0])):
                    for number, sequence in zip(numbers, turned):
                        inserts.append(
                            Insert(motif.motif_id, motif.motif_name, orientation, start, sequence, number,
                                   collection=collection)
                        )  # fmt: skip
    if not inserts:
        raise MarginomeError("there is nothing to insert", where="motifs", remedy="Give at least one motif.")
    if length is not None:
        check_inside([(f"motif '{i.motif_id}'", i.start, len(i.sequence)) for i in inserts], length)
    return inserts


def _pair_inserts(
    motifs: Sequence[Motif],
    pairs: Sequence[Mapping],
    mode: str,
    positions: object,
    length: int | None,
    numbers: Sequence[int | None],
    seed: int,
    collection: str,
) -> Iterator[Insert]:
    listed: set[Insert] = set()
    for i, pair in enumerate(pairs):
        first, second = (find_motif(motifs, name, where=f"pairs[{i}].motifs") for name in pair["motifs"])
        orders = {"given": ("given",), "swapped": ("swapped",), "both": ("given", "swapped")}
        wanted = pair.get("orders", "given")
        if wanted not in orders:
            raise unknown_name("order", wanted, orders, where=f"pairs[{i}].orders")
        for order in orders[wanted]:
            for strands in pair.get("orientations", ["++"]):
                for gap in gaps_of(pair["gaps"]):
                    for number in numbers:
                        parts = [
                            insert_alone(motif, strand, mode=mode, sample=number, seed=seed, collection=collection)
                            for motif, strand in zip((first, second), strands)
                        ]
                        ordered = parts if order == "given" else parts[::-1]
                        sequence = ordered[0].sequence + "N" * gap + ordered[1].sequence
                        for start in list_starts(positions, length=length, width=len(sequence)):
                            whole = replace(
                                parts[0],
                                start=start,
                                sequence=sequence,
                                partner_id=second.motif_id,
                                partner_orientation=strands[1],
                                gap=gap,
                                order=order,
                            )
                            behind = start + len(ordered[0].sequence) + gap
                            for insert in (
                                whole,
                                replace(ordered[0], start=start),
                                replace(ordered[1], start=behind),
                            ):
                                if insert not in listed:
                                    listed.add(insert)
                                    yield insert


def insert_alone(motif: Motif, strand: str, *, mode: str, sample: int | None, seed: int, collection: str) -> Insert:
    """Return a motif in an orientation, starting at 0; the arguments are those of `insert_sequence`."""
    sequence = insert_sequence(motif, mode=mode, sample=sample, seed=seed)
    turned = sequence if strand == "+" else reverse_complement_text(sequence)
    return Insert(motif.motif_id, motif.motif_name, strand, 0, turned, sample, collection=collection)
