"""A motif collection as one checked table."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping
from typing import Any

from marginome.columns import conform
from marginome.list_tables import MOTIFS
from marginome.motifs import collection
from marginome.motifs.table import motif_table
from marginome.opened_files import OpenedFiles
from marginome.storage import write_table
from marginome.textfiles import is_address

log = logging.getLogger("marginome")


def collect_motifs(
    settings: Mapping[str, Any],
    *,
    opened: OpenedFiles,
    name: str,
    readers: Mapping[str, str],
    digests: Mapping[str, str],
    table: str | os.PathLike,
) -> None:
    """Read, check and select the motifs of one collection and write them as a table.

    Parameters
    ----------
    settings : mapping
        The collection's entry in the config.
    opened : OpenedFiles
        Where the files are that the entry names.
    name : str
        Its name.
    readers : mapping
        The reader of each of its files (`marginome.motifs.formats.readers_of`).
    digests : mapping
        SHA-256 of its files, by path.
    table : path
        Parquet to write.
    """
    known = {opened.given(file): reader for file, reader in readers.items()}
    for file in known:
        # It was not here to be looked at when the run was planned. Imported by name: all formats count for collections
        # that have such files (`code_of_collection`).
        if is_address(opened.name(file)) and known[file] == "formats:read_auto":
            known[file] = importlib.import_module("marginome.motifs.formats").reader_of(file)
    found = collection.collect(opened.settings(settings), name=name, readers=known)
    frame = motif_table(found)
    frame["source"] = [opened.name(source) for source in frame["source"]]
    frame.insert(0, "collection", name)
    metadata = {"collection": name, "settings": dict(settings), "files": dict(digests)}
    write_table(table, conform(frame, MOTIFS, name=str(table)), metadata)
    widths = [len(m.pwm) for m in found]
    log.info("%d motifs, %d to %d bp wide", len(found), min(widths), max(widths))
