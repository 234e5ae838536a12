"""Which pairs of motifs a screen asks for, and the mismatched pairs that they are judged by."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Any

from marginome.controls import draw_controls
from marginome.errors import MarginomeError
from marginome.gaps import LEAST_GAP, MIN_MISMATCHED, check_size, far_apart, gaps_of, may_be_best
from marginome.inserts import Insert, insert_sequence, list_inserts
from marginome.motifs.motif import Motif, motif_from_sequence
from marginome.motifs.table import find_motif
from marginome.seeds import stable_seed

log = logging.getLogger("marginome")

#: Mismatched pairs of a design when the config says no number: p reaches down to 1 / 201, of a large design further.
LEAST_MISMATCHED, MOST_MISMATCHED = 200, 1000
#: Pairs of two controls beside them, at least: they say how much of what a mismatched pair does is its control's.
LEAST_WITHOUT_MOTIF = 20


def expand_pairs(
    pairs: Sequence[Mapping[str, Any]],
    motifs: Sequence[Motif],
    representatives: Sequence[str] = (),
    *,
    places: int = 1,
) -> list[dict[str, Any]]:
    """Return the pairs of a screen one by one.

    Parameters
    ----------
    pairs : sequence of mapping
        Entries of the config, each with ``motifs`` (two ids or names), or ``among`` ("all", "representatives" or a
        list: every two of them, and each beside itself), or ``between`` (two lists: each of one with each of the
        other); and with ``gaps`` (a list, or start, stop, step), ``orientations``, ``orders`` and ``mismatched``.
    motifs : sequence of Motif
        The collection.
    representatives : sequence of str, optional
        Ids that families are named after, for ``among: representatives``.
    places : int, default 1
        At how many positions, and in how many samples, each arrangement goes in.

    Returns
    -------
    list of dict
        Each with two ids under ``motifs``, a list under ``gaps``, and ``entry``, the number of its entry; the other
        keys as given. A pair that an entry names twice (in either order) is there once.

    Raises
    ------
    MarginomeError
        An unknown motif, an entry without gaps or pairs, more arrangements than a list can hold.
    """
    expanded, arrangements = [], 0
    for i, entry in enumerate(pairs):
        rest = {key: entry[key] for key in ("orientations", "orders", "mismatched") if key in entry}
        gaps, seen = gaps_of(entry["gaps"]), set()
        found = []
        for first, second in _two_by_two(entry, motifs, representatives, where=f"pairs[{i}]"):
            if frozenset((first, second)) not in seen:
                seen.add(frozenset((first, second)))
                found.append([first, second])
        if not found or not gaps:
            raise MarginomeError(f"it names no {'gap' if found else 'pair'}", where=f"pairs[{i}]")
        each = len(gaps) * len(entry.get("orientations") or [0]) * (2 if entry.get("orders") == "both" else 1) * places
        arrangements += len(found) * each
        check_size(arrangements, f"{len(found):,} pairs in {each:,} arrangements each", where=f"pairs[{i}]")
        rest |= {"gaps": list(gaps), "entry": i}
        expanded += [{"motifs": two, **rest} for two in found]
    return expanded


def _two_by_two(
    entry: Mapping[str, Any], motifs: Sequence[Motif], representatives: Sequence[str], *, where: str
) -> Iterator[tuple[str, str]]:
    def ids(names: Sequence[str], key: str) -> list[str]:
        return list(dict.fromkeys(find_motif(motifs, name, where=f"{where}.{key}").motif_id for name in names))

    if entry.get("between"):
        first, second = (ids(names, "between") for names in entry["between"])
        yield from ((a, b) for a in first for b in second)
    elif entry.get("among"):
        wanted = entry["among"]
        if wanted == "all":
            wanted = [motif.motif_id for motif in motifs]
        elif wanted == "representatives":
            wanted = list(dict.fromkeys(representatives))
        yield from combinations_with_replacement(ids(wanted, "among"), 2)
    else:  # each by itself: a motif may stand beside itself
        yield tuple(find_motif(motifs, name, where=f"{where}.motifs").motif_id for name in entry["motifs"])


def mismatched_inserts(
    pairs: Sequence[Mapping[str, Any]],
    motifs: Sequence[Motif],
    *,
    positions: object,
    length: int | None,
    seed: int,
    collection: str,
) -> list[Insert]:
    """List mismatched pairs: one motif of a pair as it is, the other one a control of its sequence.

    Parameters
    ----------
    pairs : sequence of mapping
        As `expand_pairs` returns them. ``mismatched`` says how many an entry has: by default twice its pairs, at least
        200 and at most 1,000.
    motifs, positions, length, collection
        As in `list_inserts`; what goes in are consensus sequences.
    seed : int
        The config's seed.

    Returns
    -------
    list of Insert
        The mismatched pairs in every arrangement of their entry, a fifth as many pairs of two controls, and the
        controls alone at their places. What stands in for a motif is called ``control_<n>``; the motifs that were kept
        alone are inserts of the screen itself.

    Notes
    -----
    Pairs of an entry take turns, first and second motif too, and no control is used twice beside a motif, so that
    mismatched pairs differ in what one motif stands beside. Controls are drawn by the ladder of `marginome.controls`.
    """
    by_id = {motif.motif_id: motif for motif in motifs}
    listed: dict[Insert, None] = {}
    names: dict[str, str] = {}
    nulls: Counter[tuple] = Counter()
    fewest: dict[tuple, int] = {}
    _check_whole(pairs)
    for entry in dict.fromkeys(pair["entry"] for pair in pairs):
        mine = [pair for pair in pairs if pair["entry"] == entry]
        if not may_be_best(mine[0]["gaps"]):
            log.warning("pairs[%d] is not judged: from %d bp on (its largest quarter) motifs are far apart, "
                        "and no gap of %d bp or more is left", entry,
                        far_apart(mine[0]["gaps"]), LEAST_GAP)  # fmt: skip
            continue
        log.info("pairs[%d]: from %d bp on motifs are taken as far apart", entry, far_apart(mine[0]["gaps"]))
        wanted = mine[0].get("mismatched")
        if wanted is None:
            wanted = min(max(2 * len(mine), LEAST_MISMATCHED), MOST_MISMATCHED)
        # (pair, which of its motifs is kept); None: neither, for what two meaningless neighbours do to each other
        chosen = [_chosen(mine, i, wanted) for i in range(wanted)]
        without = max(LEAST_WITHOUT_MOTIF, wanted // 5)
        chosen += [(_chosen(mine, i, without)[0], None) for i in range(without)]
        replaced = [[side for side in (0, 1) if side != kept] for _, kept in chosen]
        uses = Counter(pair["motifs"][side] for (pair, _), sides in zip(chosen, replaced) for side in sides)
        drawn = {
            motif: iter(draw_controls(
                insert_sequence(by_id[motif]), n, stable_seed(seed, "mismatched", collection, entry, motif)
            )[0])
            for motif, n in uses.items()
        }  # fmt: skip
        short = 0
        for (pair, _), sides in zip(chosen, replaced):
            two = [by_id[motif] for motif in pair["motifs"]]
            for side in sides:
                sequence = next(drawn[pair["motifs"][side]], None)
                if sequence is None:  # so short a motif has no more controls
                    break
                name = names.setdefault(sequence, f"control_{len(names)}")
                two[side] = motif_from_sequence(sequence, name, "control", "", 0, "control")
            else:
                asked = {**pair, "motifs": [motif.motif_id for motif in two]}
                for insert in list_inserts(two, positions=positions, length=length, pairs=[asked],
                                           collection=collection):  # fmt: skip
                    if not {insert.motif_id, insert.partner_id}.isdisjoint(
                        motif.motif_id for motif in two if motif.format == "control"
                    ):
                        listed.setdefault(insert)
                nulls[_arrangements(pair)] += len(sides) == 1
                continue
            short += 1
        if short:
            log.info("pairs[%d]: %d of %d mismatched pairs are left out: its motifs have no more controls", entry,
                     short, len(chosen))  # fmt: skip
            fewest[_arrangements(mine[0])] = entry
    for design, entry in fewest.items():
        if nulls[design] < MIN_MISMATCHED:
            raise MarginomeError(
                f"its motifs have controls for {nulls[design]} mismatched pairs, and {MIN_MISMATCHED} are needed",
                where=f"pairs[{entry}]",
                remedy="So short a motif has few shuffles: leave it out, or the screen's controls (false).",
            )
    return list(listed)


def _arrangements(pair: Mapping[str, Any]) -> tuple:
    """What pairs have in common that are judged together."""
    return frozenset(pair["gaps"]), frozenset(pair.get("orientations", ["++"])), pair.get("orders", "given")


def _check_whole(pairs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a pair that several entries have in other arrangements: it is judged by pairs that have all of them."""
    first: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for pair in pairs:
        known = first.setdefault(tuple(pair["motifs"]), pair)
        if _arrangements(known) != _arrangements(pair):
            one, other = pair["motifs"]
            raise MarginomeError(
                f"'{one}' with '{other}' is in pairs[{known['entry']}] too, in other arrangements, and a pair is "
                "judged by mismatched pairs that have all of its arrangements",
                where=f"pairs[{pair['entry']}]",
                remedy="Give one entry all of its gaps and orientations, or make two screens of it.",
            )


def _chosen(pairs: Sequence[Mapping[str, Any]], i: int, wanted: int) -> tuple[Mapping[str, Any], int]:
    """Return the pair that mismatched pair number i is made of, and which of its motifs (0 or 1) is kept."""
    if wanted >= len(pairs):
        return pairs[i % len(pairs)], (i % len(pairs) + i // len(pairs)) % 2
    return pairs[(2 * i + 1) * len(pairs) // (2 * wanted)], i % 2
