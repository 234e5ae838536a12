"""What a model of a sheet costs: planning, jobs by rule, memory, and a screen of a few models against the bare engine.

Models are the shipped BPNet with perturbed weights, in batches; of `growth` a corner of it, so that 200 take minutes.
Nothing here passes or fails on time.

    python tests/benchmarks/bench_scale.py plan --models 7500
    python tests/benchmarks/bench_scale.py batch --models 1 4 16
    python tests/benchmarks/bench_scale.py growth --models 10 50 200 --inserts 100
    python tests/benchmarks/bench_scale.py engine --models 12
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
import yaml

ROOT = Path(__file__).resolve().parents[2]
BPNET = ROOT / "resources" / "models" / "bpnet_ctcf_k562_2114.state_dict.pt"
JASPAR = "resources/motifs/JASPAR2026_CORE_vertebrates.meme"


# Input lengths of the shipped model, and of its first 16 filters and 4 dilated layers.
LENGTH, SMALL_LENGTH = 2114, 512


def perturbed(path: Path, seed: int, *, small: bool = False) -> None:
    """Write the shipped weights, or a corner of them, each changed by 5 % of itself at random."""
    draw = torch.Generator().manual_seed(seed)
    state = torch.load(BPNET, weights_only=True)
    if small:
        kept = {"iconv", "fconv", "linear", *(f"rconvs.{i}" for i in range(4))}
        state = {name: value for name, value in state.items() if name.rpartition(".")[0] in kept}
        for name, value in state.items():
            last = name.startswith(("fconv", "linear"))  # of the head, inputs; of all else, outputs and inputs
            value = value if last else value[:16]
            state[name] = (value[:, :16] if value.ndim > 1 and not name.startswith("iconv") else value).clone()
    for name, value in state.items():
        if value.is_floating_point() and value.ndim > 1:
            state[name] = value * (1 + 0.05 * torch.randn(value.shape, generator=draw))
    torch.save(state, path)


def atlas(folder: Path, models: int, *, sets: int, backgrounds: int, motifs: list[str] | None, batch: int,
          outputs: list[str] | None = None, links: bool = False, controls: bool = True,
          small: bool = False) -> None:  # fmt: skip
    """Write a sheet of models, their weights (or links to one file, where nothing is computed) and a config."""
    (folder / "weights").mkdir(exist_ok=True)
    (folder / "resources").unlink(missing_ok=True)
    (folder / "resources").symlink_to(ROOT / "resources")
    names = [f"m{i:05d}" for i in range(models)]
    for i, name in enumerate(names):
        file = folder / "weights" / f"{name}.pt"
        if not file.exists() and links:
            os.link(shutil.copy(BPNET, folder / "one.pt") if i == 0 else folder / "one.pt", file)
        elif not file.exists():
            perturbed(file, i, small=small)
    length = SMALL_LENGTH if small else LENGTH
    rows = [f"{name}\tweights/{name}.pt\t{length}\ttissue{i % 10}" for i, name in enumerate(names)]
    (folder / "models.tsv").write_text("\n".join(["name\tweights\tinput_length\ttissue", *rows]) + "\n")
    collection = {"files": [JASPAR], **({"include": motifs} if motifs else {})}
    uniform = {f"set{i}": {"kind": "uniform", "n": backgrounds, "length": length} for i in range(sets)}
    screen = {"models": {"tissue": sorted({f"tissue{i % 10}" for i in range(models)})}, "motifs": ["jaspar"],
              "backgrounds": list(uniform), "outputs": outputs,
              "controls": None if controls else False}  # fmt: skip
    config = {"sheets": ["models.tsv"], "batch": batch, "motifs": {"jaspar": collection}, "backgrounds": uniform,
              "screens": {"s": {key: value for key, value in screen.items() if value is not None}}}  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def snakemake(folder: Path, *arguments: str, cores: int = 1) -> tuple[float, float, str]:
    """Run it; return processor seconds of it and its jobs, seconds elapsed, and what it said."""
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder),
         "--configfile", str(folder / "config.yaml"), "--cores", str(cores), "--nocolor", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stdout[-4000:])
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return used, time.perf_counter() - start, done.stdout


def by_rule(folder: Path) -> pd.DataFrame:
    """Jobs, processor seconds and peak memory of each rule, from Snakemake's benchmarks."""
    rows = []
    for file in sorted((folder / "benchmarks").rglob("*.tsv")):
        table = pd.read_csv(file, sep="\t", na_values="NA")
        rule = file.relative_to(folder / "benchmarks").parts[0]
        rows.append({"rule": rule, "cpu": table["cpu_time"].sum(), "rss": table["max_rss"].max()})
    return pd.DataFrame(rows).groupby("rule").agg(jobs=("cpu", "size"), cpu=("cpu", "sum"), rss=("rss", "max"))


def motif_names(n: int) -> list[str]:
    """The first n motifs of JASPAR."""
    lines = (ROOT / JASPAR).read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("MOTIF ")][:n]


# The graph of such a run with nothing in it: as many jobs and files, no settings, logs, benchmarks or scripts.
BARE = """
import pathlib
FILES = sorted(str(file) for file in pathlib.Path("weights").iterdir())
BATCHES = {{f"b{{i}}": FILES[i : i + {batch}] for i in range(0, len(FILES), {batch})}}
rule all:
    input: expand("pages/{{batch}}.html", batch=BATCHES), expand("checks/{{batch}}.html", batch=BATCHES)
rule check:
    input: lambda wildcards: BATCHES[wildcards.batch]
    output: "checks/{{batch}}.json"
    shell: "true"
rule page_of_check:
    input: "checks/{{batch}}.json"
    output: "checks/{{batch}}.html"
    shell: "true"
rule baseline:
    input: lambda wildcards: BATCHES[wildcards.batch], "checks/{{batch}}.json"
    output: "baselines/{{batch}}/{{background}}.h5"
    shell: "true"
rule shard:
    input: lambda wildcards: BATCHES[wildcards.batch], "checks/{{batch}}.json", "baselines/{{batch}}/{{background}}.h5"
    output: "shards/{{batch}}/{{background}}.h5"
    shell: "true"
rule summary:
    input: expand("shards/{{{{batch}}}}/{{background}}.h5", background=["set0", "set1"])
    output: "effects/{{batch}}.parquet"
    shell: "true"
rule page:
    input: "effects/{{batch}}.parquet"
    output: "pages/{{batch}}.html"
    shell: "true"
"""


def planned(folder: Path, *arguments: str) -> tuple[float, float, str]:
    """Plan a run; return processor seconds, peak memory (GB) and the number of jobs."""
    code = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], capture_output=True, text=True); "
        "use = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(done.returncode, use.ru_utime + use.ru_stime, use.ru_maxrss); print(done.stdout[-3000:])"
    )
    made = subprocess.run(
        [sys.executable, "-c", code, sys.executable, "-m", "snakemake", "--directory", str(folder), "--cores", "1",
         "-n", "--quiet", "rules", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, *rest = made.stdout.splitlines()
    failed, used, peak = first.split()
    if failed != "0":
        raise SystemExit("\n".join(rest))
    jobs = next((line.split()[1] for line in rest if line.startswith("total ")), "?")
    return float(used), int(peak) * 1024 / 1e9, jobs


def plan(folder: Path, args: argparse.Namespace) -> None:
    """Plan a run of a sheet, and beside it the bare graph, which says how fast Snakemake is on this machine."""
    atlas(folder, args.models[0], sets=2, backgrounds=4, motifs=motif_names(1), batch=args.batch, links=True)
    (folder / "bare.smk").write_text(BARE.format(batch=args.batch))
    ours = ("--snakefile", str(ROOT / "Snakefile"), "--configfile", str(folder / "config.yaml"))
    bare = ("--snakefile", str(folder / "bare.smk"))
    print("| models | what | jobs | processor (s) | peak memory (GB) |\n|---|---|---|---|---|")
    for what, arguments in (("digests new", ours), *[("digests kept", ours), ("bare graph", bare)] * args.repeats):
        used, peak, jobs = planned(folder, *arguments)
        print(f"| {args.models[0]:,} | {what} | {jobs} | {used:.1f} | {peak:.2f} |", flush=True)


JOB = """
import json, os, resource, sys
settings = json.loads(sys.argv[1])
if settings["job"] is None:
    import torch
else:
    import importlib
    name, function = settings["job"]
    job = getattr(importlib.import_module(f"marginome.jobs.{name}"), function)
    import torch
    torch.set_num_threads(1)
    if settings["given"]:
        job(**settings["given"])
print(sum(os.times()[:2]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
"""


def job(name: str | None, function: str = "", **given: object) -> tuple[float, float]:
    """Run a job in a process of its own, as Snakemake does; return its processor seconds and peak memory (GB)."""
    told = json.dumps({"job": name and [name, function], "given": given})
    made = subprocess.run([sys.executable, "-c", JOB, told], capture_output=True, text=True, check=True)
    used, peak = map(float, made.stdout.split())
    return used, peak


def batch(folder: Path, args: argparse.Namespace) -> None:
    """The jobs of a batch with a model in them, of two background sets: what they take by how many models it has."""
    starts = [job(None)[0], job("marginalize", "marginalize_shard")[0]]
    print(f"processor seconds of importing torch alone: {starts[0]:.1f}, with a shard's job: {starts[1]:.1f}")
    atlas(folder, max(args.models), sets=2, backgrounds=args.backgrounds, motifs=motif_names(args.inserts // 2),
          batch=args.batch, controls=False)  # fmt: skip
    snakemake(folder, "--until", "list_inserts", "make_background")
    run = {"precision": "float32", "engine": "auto", "block": None, "memory_mb": 4000, "threads": 1}
    print("| models | check (s) | two baselines (s) | two shards (s) | of a model (s) | peak memory (GB) |")
    print("|---|---|---|---|---|---|")
    for count in args.models:
        names = [f"m{i:05d}" for i in range(count)]
        models = {name: {"weights": str(folder / "weights" / f"{name}.pt"), "input_length": LENGTH} for name in names}
        every = {"models": models, "digests": {name: {} for name in names}, "engine": run, "device": "cpu"}
        check, found = str(folder / "check.json"), []
        found.append(job("check_model", "check_models", **every, json=check))
        for number in (0, 1):
            given = every | {"check": check, "fasta": str(folder / f"results/backgrounds/set{number}.fa.gz")}
            baseline, keep = str(folder / f"{number}.h5"), {"profiles": False, "backgrounds_mb": 100}
            found.append(job("predict_baseline", "predict_baselines", **given, predictions=baseline))
            found.append(job(
                "marginalize", "marginalize_shard", **given, baseline=baseline, shard="1-of-1",
                screen={"outputs": None, "keep": keep}, output=str(folder / "shard.h5"),
                inserts=str(folder / "results/screens/s/inserts/jaspar.parquet"),
            ))  # fmt: skip
        used, peaks = zip(*found)
        parts = used[0], used[1] + used[3], used[2] + used[4], sum(used) / count
        print(f"| {count} | {' | '.join(f'{value:.1f}' for value in parts)} | {max(peaks):.2f} |", flush=True)


def growth(folder: Path, args: argparse.Namespace) -> None:
    """Run more and more models of one sheet: what was computed stays, as in an atlas that grows."""
    done, total = 0, 0.0
    print(
        f"{args.inserts} inserts without controls x {args.backgrounds} backgrounds x two sets, batches of {args.batch}"
    )
    print("| models | new | processor (s) | of a new model (s) | elapsed (s) |\n|---|---|---|---|---|")
    for models in args.models:
        # a motif has two orientations
        atlas(folder, models, sets=2, backgrounds=args.backgrounds, motifs=motif_names(args.inserts // 2),
              batch=args.batch, controls=False, small=True)  # fmt: skip
        shutil.rmtree(folder / "benchmarks", ignore_errors=True)
        used, elapsed, _ = snakemake(folder)
        total += used
        print(f"| {models} | {models - done} | {used:.0f} | {used / (models - done):.1f} | {elapsed:.0f} |", flush=True)
        table = by_rule(folder)
        table["cpu_per_model"] = table["cpu"] / (models - done)
        print(table.round(2).to_string(), flush=True)
        done = models


ENGINE = """
import os, sys, time
import torch
from marginome.fasta import read_background
from marginome.incremental import Engine
from marginome.jobs.marginalize import edits_of
from marginome.models.loading import load_model
from marginome.models.outputs import Readouts
from marginome.placing import read_inserts
from marginome.sequences import one_hot_encode

torch.set_num_threads(1)
folder, models, block = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sequences = read_background(f"{folder}/results/backgrounds/set0.fa.gz")[1]
X = torch.stack([one_hot_encode(text) for text in sequences])
edits = edits_of(read_inserts(f"{folder}/results/screens/s/inserts/jaspar.parquet", X.shape[2]))
start = sum(os.times()[:2])
for i in range(models):
    loaded = load_model("m", {"weights": f"{folder}/weights/m{i:05d}.pt", "input_length": 2114})
    outputs = [output for output in loaded.outputs if output.name == "counts"]
    engine = Engine(Readouts(loaded.module, outputs).eval(), X, block=block)
    for _ in engine.run(edits):
        pass
print(sum(os.times()[:2]) - start, len(edits.starts))
"""


def engine(folder: Path, args: argparse.Namespace) -> None:
    """A whole run, counts only, all of JASPAR in 8 backgrounds of one set, against the engine alone in one process."""
    models = args.models[0]
    atlas(folder, models, sets=1, backgrounds=8, motifs=motif_names(args.inserts // 2) if args.inserts else None,
          batch=args.batch, outputs=["counts"])  # fmt: skip
    used, _, _ = snakemake(folder)
    block = yaml.safe_load(next((folder / "results" / "models").rglob("check.json")).read_text())["models"]["m00000"]
    made = subprocess.run([sys.executable, "-c", ENGINE, str(folder), str(models), str(block["block"])],
                          capture_output=True, text=True, check=True, cwd=ROOT)  # fmt: skip
    bare, inserts = made.stdout.split()
    print("| models | inserts and controls | run (processor s) | engine alone (processor s) | ratio |")
    print("|---|---|---|---|---|")
    print(f"| {models} | {int(inserts):,} | {used:.0f} | {float(bare):.0f} | {used / float(bare):.2f} |")
    print(by_rule(folder).round(1).to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["plan", "batch", "growth", "engine"])
    parser.add_argument("--models", type=int, nargs="+", default=[12])
    parser.add_argument("--inserts", type=int, default=100)
    parser.add_argument("--backgrounds", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    print(f"two cores: load {os.getloadavg()[0]:.1f} when it began")
    with tempfile.TemporaryDirectory() as folder:
        {"plan": plan, "batch": batch, "growth": growth, "engine": engine}[args.what](Path(folder), args)


if __name__ == "__main__":
    main()
