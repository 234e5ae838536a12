"""How a list of rows is divided among jobs: runs of whole blocks, the same for any number of shards."""

from __future__ import annotations

import numpy as np

#: Beside the outputs in a shard's group ``profiles``; no output has that name there.
PROFILE_ROWS = ("rows",)


def whole_blocks(n_inserts: int, block: int, shard: int, shards: int) -> list[slice]:
    """Return the blocks of one shard: a run of whole blocks in the one canonical order.

    Parameters
    ----------
    n_inserts : int
        Inserts in all.
    block : int
        Inserts per block, fixed per model and kind of device.
    shard : int
        1-based.
    shards : int
        How many there are; some are empty when there are more shards than blocks.

    Returns
    -------
    list of slice
    """
    blocks = [slice(i, min(i + block, n_inserts)) for i in range(0, n_inserts, block)]
    cuts = np.linspace(0, len(blocks), shards + 1).round().astype(int)
    return blocks[cuts[shard - 1] : cuts[shard]]


def rows_of_shard(total: int, block: int, number: int, count: int) -> tuple[int, int]:
    """Return the first locus of a shard and one after its last; (0, 0) for one without loci."""
    blocks = whole_blocks(total, block, number, count)
    return (blocks[0].start, blocks[-1].stop) if blocks else (0, 0)


def share_of_shard(rows: np.ndarray, number: int, count: int) -> np.ndarray:
    """Return the part of the inserts' rows that shard `number` (from 1) of `count` computes."""
    cuts = np.linspace(0, len(rows), count + 1).round().astype(int)
    return rows[cuts[number - 1] : cuts[number]]
