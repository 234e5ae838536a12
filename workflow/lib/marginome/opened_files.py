"""The files that a job opens: named by the config, given by Snakemake, which may have fetched them from elsewhere."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from marginome.errors import MarginomeError, call_files
from marginome.storage import sha256_of
from marginome.textfiles import is_address

log = logging.getLogger(__name__)


class OpenedFiles:
    """What the config calls the files of a job, and where Snakemake has them.

    Parameters
    ----------
    named : mapping
        ``names``, the files as the config names them, and ``places``, where in the job's settings they are named: pairs
        of a path of keys and positions and of the numbers (from 0) of the files that stand there. A folder or a
        pattern stands for several, or for none where others named them before. ``digests`` has for each file its
        SHA-256, or None where it is not known.
    given : sequence of path
        Where each of the names is, in the same order.

    Raises
    ------
    MarginomeError
        A file that was fetched (its place is not its name) has another SHA-256 than the one that is known.
    """

    def __init__(self, named: Mapping[str, Any], given: Sequence[str | os.PathLike]):
        self._names, self._given = list(named["names"]), list(map(str, given))
        if len(self._names) != len(self._given):  # a rule whose params and inputs are not of the same files
            raise ValueError(f"{len(self._names)} files are named, {len(self._given)} given")
        self._found = {
            name: _check_fetched(name, path, known)
            for name, path, known in zip(self._names, self._given, named["digests"])
            if path != name and (known or is_address(name))
        }
        self._places = {tuple(path): numbers for path, numbers in named["places"]}
        call_files({path: name for path, name in zip(self._given, self._names) if path != name})

    def settings(self, settings: Any) -> Any:
        """Return the job's settings with the files that are given in place of those that are named.

        Parameters
        ----------
        settings : mapping
            An entry of the config, or the part of it that the places lead from; it is not changed.

        Returns
        -------
        mapping
            In a list, what stands for several files becomes several items.
        """
        return self._variants(settings, ())[0]

    def given(self, name: str) -> str:
        """Return where a file is that the config names."""
        return self._given[self._names.index(name)]

    def name(self, path: str) -> str:
        """Return what the config calls a file that was given; anything else as it is."""
        return self._names[self._given.index(path)] if path in self._given else path

    def digests(self, digests: Mapping[str, Any]) -> dict[str, Any]:
        """Return digests with the SHA-256 of what was fetched in place of what a server said of it.

        Parameters
        ----------
        digests : mapping
            By the names that the config has; or such mappings by model.

        Returns
        -------
        dict
        """
        return {
            name: self.digests(known) if isinstance(known, Mapping) else self._found.get(name, known)
            for name, known in digests.items()
        }

    def _variants(self, value: Any, path: tuple) -> list:
        """Return what stands in place of a value: itself, or one for each file of a pattern in it."""
        if path in self._places:
            return [self._given[number] for number in self._places[path]]
        if isinstance(value, Mapping):
            made: list[dict] = [{}]
            for key, item in value.items():
                made = [{**one, key: new} for one in made for new in self._variants(item, (*path, key))]
            return made
        if isinstance(value, list | tuple):
            return [[new for i, item in enumerate(value) for new in self._variants(item, (*path, i))]]
        return [value]


def _check_fetched(name: str, path: str, known: str | None) -> str:
    """Return the SHA-256 of a file that was fetched, and refuse another than the one that is known."""
    found = sha256_of(path)
    log.info("%s: SHA-256 %s%s", name, found, "" if known is None else ", as wanted" if known == found else "")
    if known not in (None, found):
        raise MarginomeError(
            f"what was fetched has the SHA-256 {found}, wanted {known}",
            where=name,
            remedy="Store the file that the run was planned with; or, if it was changed, run the same command again.",
        )
    return found
