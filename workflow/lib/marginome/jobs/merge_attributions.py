"""The shards of an entry's attributions, put together."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence

import h5py
import numpy as np

from marginome.arrays import append, dataset, hdf5_metadata, read_hdf5, write_hdf5
from marginome.attribution_file import CHUNK_BYTES
from marginome.attribution_names import ATTRIBUTIONS, METHODS
from marginome.fasta import count_sequences
from marginome.intervals import regions_of
from marginome.shards import rows_of_shard
from marginome.storage import damaged, disagreeing

log = logging.getLogger("marginome")


def merge_attributions(
    *, shards: Sequence[str | os.PathLike], fasta: str | os.PathLike, attributions: str | os.PathLike
) -> None:
    """Put the shards of an entry together, in the loci's order; memory is a few hundred loci.

    Parameters
    ----------
    shards : sequence of path
        In their order.
    fasta : path
        The loci.
    attributions : path
        HDF5 to write, see `merge_attributions`.
    """
    total = count_sequences(fasta)
    metadata = hdf5_metadata(shards[0])
    largest, exceeded, replaced = 0.0, 0, 0
    with write_hdf5(attributions, metadata) as target:
        for number, path in enumerate(shards, start=1):
            with read_hdf5(path) as source:
                if json.loads(source.attrs["marginome"]) != metadata:
                    raise disagreeing(shards, "the shards were made with different settings")
                start, stop = (int(v) for v in source.attrs["rows"])
                share = rows_of_shard(total, metadata["block"], number, len(shards))
                if (start, stop) != share:
                    raise damaged(path, f"it holds loci {start} to {stop}, its share is {share[0]} to {share[1]}")
                if start == stop:
                    continue
                for begin in range(0, stop - start, 256):
                    for name in source:
                        append(target, name, source[name][begin : begin + 256], chunk_bytes=CHUNK_BYTES)
                deltas = source["deltas"][...]
                if deltas.size:
                    largest = float(np.maximum(largest, deltas.max()))  # NaN stays NaN
                    exceeded += int((~(deltas <= metadata["max_delta"]).all(1)).sum())
                replaced += int((source["method"][...] != METHODS.index(metadata["method"])).sum())
        regions = regions_of([name.decode() for name in target["ids"][...]])
        if regions is not None:
            target.create_dataset("chrom", data=regions["chrom"].to_numpy(object), dtype=h5py.string_dtype())
            for column in ("start", "end"):
                dataset(target, column, data=regions[column].to_numpy(np.int64), unit="bp")
        for name, what in _DESCRIPTIONS.items():
            if name in target:
                target[name].attrs["description"] = what
                if name in ("hypothetical", "observed", "member_sd", "deltas"):
                    target[name].attrs["unit"] = metadata["unit"]
        target.attrs["alphabet"] = "ACGT"
        target.attrs["methods"] = json.dumps(METHODS)
    log.info("%d loci; largest convergence delta %.3g, %d loci above %g, %d by mutagenesis instead", total, largest,
             exceeded, metadata["max_delta"], replaced)  # fmt: skip


_DESCRIPTIONS = {
    "ids": "Name of the locus; chrom:start-end (0-based, half-open) where it is a region.",
    "sequences": "One-hot (locus, A C G T, position); all-zero where the base is unknown.",
    "hypothetical": "Attribution of each base at each position as if it were there.",
    "observed": "Attribution of the base that is there.",
    "member_sd": "Standard deviation of `observed` between the members of the ensemble.",
    "deltas": "Convergence delta of every (locus, reference) pair, the largest of any member.",
    "method": ", ".join(f"{i} {title}" for i, title in enumerate(ATTRIBUTIONS.values())) + ".",
    "seeds": "Seed of the locus's references.",
}
