"""One shard of elements in isolation: a screen's, or an empty one where there is nothing to put in."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from marginome.arrays import write_hdf5
from marginome.jobs.marginalize import marginalize_shard
from marginome.storage import read_table

log = logging.getLogger("marginome")


def marginalize_elements(
    models: Mapping[str, Mapping[str, Any]],
    *,
    inserts: str | os.PathLike,
    shard: str,
    output: str | os.PathLike,
    **given: Any,
) -> None:
    """Compute one shard of elements; nothing to put in is a valid, empty shard.

    Parameters
    ----------
    models, inserts, shard, output, **given
        As `marginalize_shard` takes them.
    """
    if len(read_table(inserts, columns=["insert"])) == 0:
        log.warning("there is nothing to put in: an empty shard")
        with write_hdf5(output, {"empty": True, "shard": shard}):
            return
    marginalize_shard(models, inserts=inserts, shard=shard, output=output, **given)
