"""GC-matched backgrounds at the scale of a genome: time and peak memory on a synthetic FASTA file.

The genome is made in a temporary folder and deleted afterwards: contigs in the proportions of hg38, GC that varies
in blocks of 100 kb, runs of N, a third of it soft-masked; with 50,000 peaks and 900 excluded regions.

    python tests/benchmarks/bench_backgrounds.py --megabases 3000 --folder /scratch
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# lengths of chr1-22, X, Y of hg38 (Mb)
PROPORTIONS = [248, 242, 198, 190, 182, 171, 159, 145, 138, 134, 135, 133, 114, 107, 102, 90, 83, 80, 59, 64, 47, 51,
               156, 57]  # fmt: skip
BLOCK = 99_960  # a whole number of lines of 60

RUN = """
import json, resource, sys, time
from marginome.backgrounds import make_background
from marginome.fasta import index_fasta
settings = json.loads(sys.argv[1])
start = time.perf_counter()
index_fasta(settings["genome"])
indexed = time.perf_counter() - start
start = time.perf_counter()
made = make_background(settings, name="bench", seed=1)
seconds = time.perf_counter() - start
print(json.dumps({"index_s": indexed, "make_s": seconds, "n": len(made.ids), "ks": made.checks["gc_ks_distance"],
                  "dropped": made.checks["dropped"],
                  "cpu_s": time.process_time(), "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def write_genome(path: Path, megabases: int, rng: np.random.Generator) -> dict[str, int]:
    """Write the FASTA file; return the contigs' lengths (bp)."""
    sizes = {}
    with open(path, "wb") as handle:
        for i, share in enumerate(PROPORTIONS):
            blocks = max(2, int(share / sum(PROPORTIONS) * megabases * 1e6 / BLOCK))
            name = f"chr{i + 1 if i < 22 else 'XY'[i - 22]}"
            sizes[name] = blocks * BLOCK
            handle.write(f">{name} synthetic\n".encode())
            gc = 0.41 + 0.06 * rng.standard_normal(blocks).cumsum() / np.sqrt(np.arange(1, blocks + 1))
            for block in range(blocks):
                if block == 0 or block == blocks // 2:
                    bases = np.full(BLOCK, ord("N"), dtype=np.uint8)
                else:
                    edge = int(256 * (1 - np.clip(gc[block], 0.3, 0.65)) / 2)
                    draws = rng.integers(0, 256, BLOCK, dtype=np.uint8)
                    table = np.frombuffer(
                        b"A" * edge + b"C" * (128 - edge) + b"G" * (128 - edge) + b"T" * edge, np.uint8
                    )
                    bases = table[draws].copy()
                    if block % 3 == 0:
                        bases |= 0x20  # lower case
                lines = np.empty((BLOCK // 60, 61), dtype=np.uint8)
                lines[:, :60] = bases.reshape(-1, 60)
                lines[:, 60] = ord("\n")
                handle.write(lines.tobytes())
    return sizes


def write_regions(path: Path, sizes: dict[str, int], n: int, width: int, rng: np.random.Generator) -> None:
    names, lengths = list(sizes), np.array(list(sizes.values()))
    chosen = rng.choice(len(names), n, p=lengths / lengths.sum())
    starts = (rng.random(n) * (lengths[chosen] - 2 * BLOCK)).astype(int) + BLOCK
    path.write_text("".join(f"{names[c]}\t{s}\t{s + width}\n" for c, s in zip(chosen, starts)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabases", type=int, default=100)
    parser.add_argument("--folder", default=None, help="where the temporary genome goes")
    parser.add_argument("--bgzip", action="store_true", help="compress the genome as bgzip (slow to make)")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        genome = Path(folder) / "genome.fa"
        start = time.perf_counter()
        sizes = write_genome(genome, options.megabases, rng)
        print(f"genome of {sum(sizes.values()) / 1e6:,.0f} Mb made in {time.perf_counter() - start:.0f} s", flush=True)
        if options.bgzip:
            from Bio import bgzf

            packed = genome.with_name("genome.fa.gz")
            with open(genome, "rb") as source, bgzf.BgzfWriter(str(packed), "wb", compresslevel=1) as target:
                while block := source.read(1 << 24):
                    target.write(block)
            genome.unlink()
            genome = packed
        write_regions(Path(folder) / "peaks.bed", sizes, 50_000, 400, rng)
        write_regions(Path(folder) / "blacklist.bed", sizes, 900, 100_000, rng)
        settings = {
            "kind": "gc_matched",
            "n": 1000,
            "length": 2114,
            "genome": str(genome),
            "peaks": f"{folder}/peaks.bed",
            "exclude": [f"{folder}/blacklist.bed"],
            "off_edge": "drop",
            "max_soft_masked_fraction": 0.9,
        }
        done = subprocess.run(
            [sys.executable, "-c", RUN, json.dumps(settings)], capture_output=True, text=True, env=os.environ
        )  # fmt: skip
        if done.returncode:
            sys.exit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
    megabases = sum(sizes.values()) / 1e6
    print("| Mb | index (s) | 1,000 windows of 2,114 bp (s) | CPU of both (s) | peak memory (MB) | GC KS distance |")
    print("|---|---|---|---|---|---|")
    times = f"{found['index_s']:.0f} | {found['make_s']:.0f} | {found['cpu_s']:.0f}"
    print(f"| {megabases:,.0f} | {times} | {found['peak_mb']:,.0f} | {found['ks']:.3f} |")
    print(found["dropped"])


if __name__ == "__main__":
    main()
