"""The bases between motifs that a config asks for, how many arrangements may be, what pairs need to be judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from marginome.errors import MarginomeError

#: Two motifs nearer than this (bp) are reported, and never chosen as the best arrangement: the seam may make a site.
LEAST_GAP = 3
#: Mismatched pairs of the same arrangements: fewer give no p.
MIN_MISMATCHED = 40
#: Arrangements of a list: 10 million take 12 GB and ten minutes to list, before anything is computed.
MOST_ARRANGEMENTS = 10_000_000


def gaps_of(gaps: Sequence | Mapping[str, int]) -> Sequence:
    """Return the gaps (bp) that a setting means: a list as given, or a grid up to and not with its stop."""
    return range(gaps["start"], gaps["stop"], gaps["step"]) if isinstance(gaps, Mapping) else gaps


def far_apart(gaps: Iterable[int]) -> int:
    """Return from which gap (bp) on two motifs are taken as far apart: the largest quarter, one at least."""
    different = gaps if isinstance(gaps, range) else sorted(set(gaps))  # a grid may have any length: it is not listed
    return int(different[-max(1, len(different) // 4)])


def may_be_best(gaps: Sequence[int]) -> bool:
    """Say whether any of the gaps (bp) may be the best one: neither nearer than `LEAST_GAP` nor far apart."""
    far = far_apart(gaps)
    return any(LEAST_GAP <= gap < far for gap in gaps)


def check_size(arrangements: int, said: str, *, where: str) -> None:
    """Refuse more arrangements than a list can hold, before they are listed.

    Parameters
    ----------
    arrangements : int
        Of the entry at `where` and those before it.
    said : str
        What the entry's are made of.
    """
    if arrangements > MOST_ARRANGEMENTS:
        raise MarginomeError(
            f"{said}: {arrangements:,} arrangements in all, and a list has at most {MOST_ARRANGEMENTS:,}",
            where=where,
            remedy="Ask for fewer motifs, gaps or orientations, or make several screens of it.",
        )
