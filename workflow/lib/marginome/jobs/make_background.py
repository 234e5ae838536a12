"""A background set: sequences, where they are from, and whether they are what was asked for."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from marginome import backgrounds
from marginome.background_set import write_background
from marginome.opened_files import OpenedFiles
from marginome.plots import composition_figure, save_figure

log = logging.getLogger("marginome")


def make_background(
    settings: Mapping[str, Any],
    *,
    opened: OpenedFiles,
    index: tuple[str | os.PathLike, ...],
    name: str,
    seed: int,
    digests: Mapping[str, str],
    fasta: str | os.PathLike,
    bed: str | os.PathLike,
    tsv: str | os.PathLike,
    figure: str | os.PathLike,
    checks: str | os.PathLike,
) -> None:
    """Make one background set and write it for this workflow and for others.

    Parameters
    ----------
    settings : mapping
        The set's entry in the config.
    opened : OpenedFiles
        Where the files are that the entry names.
    index : tuple of path
        The index of its genome (`index_genome`), empty where it names none.
    name : str
        Its name.
    seed : int
        The config's seed.
    digests : mapping
        SHA-256 of its files, by name.
    fasta, bed, tsv, figure, checks : path
        bgzip FASTA, coordinates (none for sets without), one row per background, composition against the target, and
        what the checks found as JSON, with the digests under ``files``.
    """
    made = backgrounds.make_background(opened.settings(settings), name=name, seed=seed, index=index or None)
    made.table["source"] = [opened.name(source) for source in made.table["source"]]
    made.checks["files"] = dict(digests)
    write_background(made, fasta=fasta, bed=bed, tsv=tsv, checks=checks)
    save_figure(composition_figure(made), figure)
    log.info("%d backgrounds of %d bp", len(made.ids), len(made.sequences[0]))
    for check, value in made.checks.items():
        log.info("%s: %s", check, json.dumps(value, default=str))
