"""What is known of each effect measure: what it fits, how many effects it gives, their sign and unit. No PyTorch.

`marginome.effects` computes them, under the same names. It is apart, so that a config can be checked where PyTorch is
not, and so that an edit of a measure is no reason to attribute anything again.
"""

from __future__ import annotations

from dataclasses import dataclass

from marginome.errors import MarginomeError, unknown_name
from marginome.usercode import load_user_object

KINDS = ("scalar", "profile")


@dataclass(frozen=True)
class Measure:
    """How before and after of an output are compared, and what is known of the number that comes of it.

    Attributes
    ----------
    name : str
        As configs and tables have it: one of `MEASURES`, or ``path/to/file.py:function``.
    fits : tuple of {"scalar", "profile"}, default both
        Kinds of outputs that it can compare.
    per_target : bool, default True
        Whether the targets of a scalar output are compared one by one; else an output as a whole has one effect, as a
        profile has in any case.
    signed : bool, default True
        Whether an effect may be negative. Of one that cannot be, only more than a meaningless insert does is of
        interest: its p is one-sided.
    unit : str or None, default None
        Of the effect; None: that of the output.
    nonnegative : bool, default False
        Whether the output's values must be at least 0.
    """

    name: str
    fits: tuple[str, ...] = KINDS
    per_target: bool = True
    signed: bool = True
    unit: str | None = None
    nonnegative: bool = False


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("difference", fits=("scalar",)),
        Measure("log2_fold_change", fits=("scalar",), unit="log2 fold change", nonnegative=True),
        Measure("euclidean", per_target=False, signed=False),
        Measure(
            "jensen_shannon_distance",
            fits=("profile",),
            per_target=False,
            signed=False,
            unit="Jensen-Shannon distance (0 to 1)",
        ),
    )
}
#: What a function of the user's may say of itself, as attributes, and the type of each.
_OWN = {"per_target": bool, "signed": bool, "unit": str}


def measure_named(name: str, *, where: str) -> Measure:
    """Return what is known of a measure.

    Parameters
    ----------
    name : str
        One of `MEASURES`, or ``path/to/file.py:function``. Of a function of the user's its attributes ``per_target``,
        ``signed`` and ``unit`` are taken; the file is run for that.
    where : str
        For messages.

    Returns
    -------
    Measure

    Raises
    ------
    MarginomeError
        An unknown name; a function that cannot be loaded, or says something else of itself than a `Measure` holds.
    """
    if name in MEASURES:
        return MEASURES[name]
    if ".py:" not in name:
        raise unknown_name("measure", name, [*MEASURES, "path/to/file.py:function"], where=where)
    function = load_user_object(name, where=f"measure of {where}")
    said = {word: getattr(function, word) for word in _OWN if hasattr(function, word)}
    for word, value in said.items():
        if not isinstance(value, _OWN[word]):
            raise MarginomeError(
                f"{word} is {value!r}, wanted {'True or False' if _OWN[word] is bool else 'text'}",
                where=f"measure of {where}, {name}",
            )
    return Measure(name, **said)


def misfit(name: str, kind: str, *, where: str) -> MarginomeError | None:
    """Return the error for a measure that cannot compare outputs of a kind; None where it can, and for the user's own.

    Parameters
    ----------
    name : str
    kind : {"scalar", "profile"}
        Of the output.
    where : str
        For the message.
    """
    if name not in MEASURES or kind in MEASURES[name].fits:
        return None
    fitting = [measure.name for measure in MEASURES.values() if kind in measure.fits]
    other = "profile" if kind == "scalar" else "scalar"
    return MarginomeError(
        f"{name} compares {other} outputs; this one is a {kind}",
        where=where,
        remedy=f"Use {', '.join(fitting[:-1])} or {fitting[-1]}, or kind: {other} if it is one.",
    )
