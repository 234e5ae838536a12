"""Peak memory and time of a screen's summary over the tables of many models.

The tables are made up (`many_models`): what is measured is what reads them, `summarize_screen`, as a process.

    python tests/benchmarks/bench_tables.py --models 500 --inserts 2038
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

sys.path.insert(0, str(Path(__file__).parents[1]))

CODE = """
import json, resource, sys
from pathlib import Path

from marginome.jobs.summarize_screen import summarize_screen

folder, batches = Path(sys.argv[1]), json.loads(sys.argv[2])
summarize_screen(
    batches={batch: folder / "effects" / f"{batch}.parquet" for batch in batches},
    failed=[folder / "batches" / batch / "failed.json" for batch in batches],
    manifest=folder / "manifest.parquet", agreement_table=folder / "agreement.parquet",
    consensus_table=folder / "consensus.parquet",
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main() -> None:
    from many_models import BACKGROUNDS, OUTPUTS, write_batches

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--inserts", type=int, default=2038)
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    print(f"{args.inserts} inserts, {len(OUTPUTS)} outputs, {len(BACKGROUNDS)} sets; load {os.getloadavg()[0]:.1f}")
    print("| models | rows | tables (MB) | peak memory (GB) | processor (s) | elapsed (s) |\n|---|---|---|---|---|---|")
    for models in args.models:
        with tempfile.TemporaryDirectory() as folder:
            names = [f"m{i:05d}" for i in range(models)]
            batches = {f"b{i}": names[i : i + args.batch] for i in range(0, models, args.batch)}
            paths = write_batches(Path(folder), batches, args.inserts)
            size = sum(path.stat().st_size for path in paths.values()) / 1e6
            start, before = time.perf_counter(), os.times()
            made = subprocess.run([sys.executable, "-c", CODE, folder, json.dumps(list(batches))],
                                  capture_output=True, text=True, check=True)  # fmt: skip
            after = os.times()
            used = after.children_user + after.children_system - before.children_user - before.children_system
            rows = models * args.inserts * len(OUTPUTS) * len(BACKGROUNDS)
            peak = int(made.stdout) * 1024 / 1e9
            print(f"| {models} | {rows:,} | {size:.0f} | {peak:.2f} | {used:.0f} | {time.perf_counter() - start:.0f} |",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
