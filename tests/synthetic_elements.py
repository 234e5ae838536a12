"""An attribution entry as its jobs would leave it: sites of two motifs in random loci, named and isolated."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd

from marginome.arrays import dataset, write_hdf5
from marginome.columns import conform
from marginome.element_tables import PATTERN_SEQLETS, PATTERNS, SEQLETS
from marginome.jobs.report_elements import report_elements
from marginome.storage import write_json, write_table
from marginome.tables import EFFECTS

SITES = {"CTCF": "CCAGCAGGGGGCGC", "AP1": "ATGACTCATC"}


class Elements(NamedTuple):
    """The folder of an entry, its tables, and what is in its arrays."""

    folder: Path
    seqlets: pd.DataFrame
    effects: pd.DataFrame
    patterns: pd.DataFrame
    members: pd.DataFrame
    observed: np.ndarray
    text: list[str]


def synthetic_elements(folder: Path, n: int = 12, length: int = 400, found: bool = True) -> Elements:
    """Make `n` loci; two of three have a site of CTCF, every third one of AP1 too, which lowers the output."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (n, length))
    values = rng.normal(0, 0.004, (n, length)).astype(np.float16)
    rows = []
    for i in range(n):
        for name, site in SITES.items():
            if not found or (i % 3 == 2 if name == "CTCF" else i % 3 != 1):
                continue
            at = int(rng.integers(40, length - 60))
            codes[i, at : at + len(site)] = ["ACGT".index(base) for base in site]
            size = (1 if name == "CTCF" else -0.5) * rng.uniform(0.5, 1.5)
            values[i, at : at + len(site)] = size / len(site) * rng.uniform(0.5, 1.5, len(site))
            rows.append((i, at, at + len(site), name))
    one_hot = np.eye(4, dtype=np.int8)[codes].transpose(0, 2, 1)
    ids = [f"chr{1 + i % 2}:{10_000 * i}-{10_000 * i + length}" for i in range(n)]
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"unit": "log counts", "model": "bpnet", "output": "counts", "target": 0}
    with write_hdf5(folder / "attributions.h5", metadata) as handle:
        handle.create_dataset("ids", data=np.array(ids, dtype=object), dtype=h5py.string_dtype())
        dataset(handle, "sequences", data=one_hot)
        dataset(handle, "hypothetical", data=one_hot * values[:, None])
        dataset(handle, "observed", data=values)
        handle["deltas"] = np.zeros((n, 1), np.float32)
    text = ["".join("ACGT"[c] for c in row) for row in codes]
    seqlets = pd.DataFrame({
        "seqlet_id": [f"{ids[i]}|{a}-{b}" for i, a, b, _ in rows], "example_idx": [i for i, *_ in rows],
        "sequence_id": [ids[i] for i, *_ in rows], "chrom": [f"chr{1 + i % 2}" for i, *_ in rows],
        "genome_start": [10_000 * i + a for i, a, *_ in rows], "genome_end": [10_000 * i + b for i, _, b, _ in rows],
        "start": [a for _, a, *_ in rows], "end": [b for _, _, b, _ in rows],
        "attribution": [float(values[i, a:b].sum(dtype=np.float64)) for i, a, b, _ in rows], "p_value": 0.001,
        "sequence": [text[i][a:b] for i, a, b, _ in rows], "caller": "recursive",
    })  # fmt: skip
    seqlets["sign"] = np.where(seqlets["attribution"] > 0, "+", "-")
    seqlets["match_name"] = [name for *_, name in rows]
    patterns, members, pattern_effects = [], [], []
    for name, site in SITES.items():
        mine = seqlets[seqlets["match_name"] == name]
        if not len(mine):
            continue
        sign = "pos" if name == "CTCF" else "neg"
        pwm = np.full((len(site), 4), 0.04)
        pwm[np.arange(len(site)), ["ACGT".index(base) for base in site]] = 0.88
        mean = mine["attribution"].mean()
        patterns.append({
            "pattern_id": f"{sign}_patterns.pattern_0", "sign": "+" if sign == "pos" else "-", "n_seqlets": len(mine),
            "width": len(site), "consensus": site, "attribution": mean, "pwm": pwm.ravel(),
            "contributions": (pwm * mean / len(site)).ravel(),
        })  # fmt: skip
        members.append(mine.assign(pattern_id=patterns[-1]["pattern_id"], number=np.arange(len(mine)), strand="+"))
    table = conform(pd.DataFrame(patterns), PATTERNS)
    listed = pd.concat(members) if members else pd.DataFrame()
    seqlet_effects = _effects(seqlets, "seqlets", rng) if len(rows) else pd.DataFrame()
    pattern_effects = _effects(table.to_pandas(), "patterns", rng) if patterns else pd.DataFrame()
    columns = [c.name for c in PATTERN_SEQLETS]
    write_table(folder / "seqlets.parquet", conform(seqlets, SEQLETS, extra=True))
    write_table(folder / "patterns.parquet", table)
    write_table(folder / "members.parquet", conform(listed.reindex(columns=columns), PATTERN_SEQLETS))
    write_table(folder / "effects.parquet", conform(seqlet_effects, EFFECTS, extra=True))
    write_table(folder / "pattern_effects.parquet", conform(pattern_effects, EFFECTS, extra=True))
    write_json(folder / "provenance.json", {"command": "snakemake --cores all", "seed": 1})
    (folder / "elements.svg").write_text("<svg></svg>")
    return Elements(folder, seqlets, seqlet_effects, table.to_pandas(), listed, values.astype(np.float32), text)


def _effects(table: pd.DataFrame, kind: str, rng: np.random.Generator) -> pd.DataFrame:
    """Isolated effects near the attributions, in two outputs; half of the seqlets are significant."""
    own = table.rename(columns={
        "seqlet_id": "motif_id", "pattern_id": "motif_id", "start": "seqlet_start", "end": "seqlet_end",
        "sequence": "seqlet", "width": "pattern_width", "p_value": "seqlet_p"
    }).drop(columns=["example_idx", "caller", "pwm", "contributions"], errors="ignore")  # fmt: skip
    own["family"] = pd.factorize(own["match_name"] if "match_name" in own else own["motif_id"])[0]
    own["family_representative"] = own.groupby("family")["motif_id"].transform("first")
    parts = []
    for output in ("other", "counts"):
        effect = own["attribution"] * rng.uniform(0.6, 1.2, len(own)) + rng.normal(0, 0.02, len(own))
        parts.append(own.assign(
            model="bpnet", background="gc_matched", collection=kind,
            motif_name=own["match_name"] if "match_name" in own else own["motif_id"], orientation="+", start=100,
            insert=own["seqlet"] if "seqlet" in own else own["consensus"], output=output, measure="difference",
            unit="log counts", n_backgrounds=8, before_mean=3.0, after_mean=3.0 + effect, effect=effect, effect_sd=0.1,
            effect_se=0.03, ci_low=effect - 0.07, ci_high=effect + 0.07, z=effect * 10, p=0.001,
            q=np.where(np.abs(effect) > 0.5, 0.002, 0.4), engine="incremental", precision="float32",
        ))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def write_elements_page(
    made: Elements,
    *,
    backgrounds: Path | None = None,
    isolated: bool = True,
    patterns: bool = True,
    name: str = "peaks",
) -> Path:
    """Write the page of the entry, with isolated effects and patterns or without, as its rule would."""
    at = {name: made.folder / f"{name}.parquet" for name in
          ("seqlets", "effects", "patterns", "members", "pattern_effects")}  # fmt: skip
    page = made.folder / f"report{'' if isolated else '_plain'}.html"
    report_elements(
        name, attributions=made.folder / "attributions.h5", seqlets=at["seqlets"],
        effects=at["effects"] if isolated else None, backgrounds=backgrounds,
        patterns=at["patterns"] if patterns else None, members=at["members"] if patterns else None,
        pattern_effects=at["pattern_effects"] if isolated and patterns else None, figure=made.folder / "elements.svg",
        provenance=made.folder / "provenance.json", page=page,
    )  # fmt: skip
    return page
