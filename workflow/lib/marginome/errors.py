"""The one exception for mistakes a user can mend, how its message is built, and what it calls files."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

_CALLED: dict[str, str] = {}


def call_files(names: Mapping[str, str]) -> None:
    """Have this process call files as the user named them, in messages and records.

    Parameters
    ----------
    names : mapping of str to str
        Path -> name, of files that were fetched to a place that means nothing to the user.
    """
    _CALLED.update(names)


def called(text: str) -> str:
    """Return a path, or a text with paths in it, with files called as the user named them (`call_files`)."""
    for path in sorted(_CALLED, key=len, reverse=True):  # one may be the beginning of another
        text = text.replace(path, _CALLED[path])
    return text


class MarginomeError(ValueError):
    """A mistake in what the user gave: says what is wrong, where, and what to do.

    Parameters
    ----------
    what : str
        What was found and what was wanted, in the user's words.
    where : str, optional
        The file, line, config key, argument or motif it was found in.
    remedy : str, optional
        What the user can do about it.

    Examples
    --------
    >>> raise MarginomeError("motif is 35 bp, background is 30 bp", where="motif 'MA0139.2'",
    ...                      remedy="Raise the background's length or leave the motif out.")
    Traceback (most recent call last):
    ...
    marginome.errors.MarginomeError: motif 'MA0139.2': motif is 35 bp, background is 30 bp. Raise the ...
    """

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None):
        what, where, remedy = (text and called(text) for text in (what, where, remedy))
        if where and not where.isprintable():  # a path may hold any character
            where = repr(where)[1:-1]
        # what a damaged file has in one line may be all of it
        what = re.sub(r"\S{300,}", lambda word: f"{word[0][:100]}...", what)
        what = "\n".join(line if len(line) <= 1000 else f"{line[:1000]} ..." for line in what.split("\n"))
        self.what, self.where, self.remedy = what, where, remedy
        message = f"{where}: {what}" if where else what
        if remedy:
            message = f"{message.rstrip('.')}. {remedy}"
        super().__init__(message)


def shown(value: object, *, quotes: bool = True, limit: int = 80) -> str:
    """Return what a user gave on one line: control characters escaped, long things cut short.

    Parameters
    ----------
    value : object
    quotes : bool, default True
        Text as Python writes it, in quotes. Without: as it is, if it can be printed.
    limit : int, default 80
        Characters; the middle of longer text is left out.

    Returns
    -------
    str
    """
    try:
        text = str(value) if isinstance(value, str) and not quotes else repr(value)
    except (RecursionError, ValueError):  # nested without end, or a number of thousands of digits
        text = f"a {type(value).__name__}"
    if not text.isprintable():
        text = repr(text)[1:-1]
    return text if len(text) <= limit else f"{text[: limit - 23]}...{text[-20:]}"


def first_line(error: BaseException) -> str:
    """Return an exception's type and the first line of its text, or the type alone: ``ValueError: no``."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:300]}" if first else type(error).__name__


def unknown_name(kind: str, name: object, allowed: Iterable[object], *, where: str | None = None) -> MarginomeError:
    """Build the error for a name that is not one of a known set, with the closest match.

    Parameters
    ----------
    kind : str
        What the name names, e.g. ``"model"``.
    name : object
        The name that was found.
    allowed : iterable
        The names there are.
    where : str, optional
        Config key, file or argument.

    Returns
    -------
    MarginomeError
        To be raised by the caller.
    """
    known = [str(a) for a in allowed]
    close = difflib.get_close_matches(str(name)[:200], known, n=1, cutoff=0.5)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    listed = ", ".join(known[:30]) + (f" and {len(known) - 30} more" if len(known) > 30 else "")
    return MarginomeError(
        f"there is no {kind} '{shown(name, quotes=False)}'",
        where=where,
        remedy=f"{hint}Allowed: {listed or '(none)'}.",
    )
