"""Every table has the columns of its schema, in the same types, also when there is nothing in it."""

from __future__ import annotations

import ast
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import marginome.jobs
from marginome import element_tables, tables
from marginome import patterns as modisco
from marginome.arrays import write_hdf5
from marginome.columns import conform
from marginome.jobs.annotate_patterns import annotate_patterns
from marginome.jobs.annotate_seqlets import annotate_seqlets
from marginome.jobs.call_seqlets import call_seqlets
from marginome.jobs.find_patterns import find_patterns
from marginome.jobs.list_elements import list_elements
from marginome.jobs.summarize_elements import summarize_elements
from marginome.jobs.summarize_screen import summarize_screen
from marginome.motifs.motif import Motif
from marginome.motifs.table import motif_table
from marginome.storage import write_json, write_table
from marginome.tables import AGREEMENT, CONSENSUS, EFFECTS, MANIFEST

LENGTH, SITE = 80, "TGACTCATCA"
SEQLETS = {"caller": "recursive", "threshold": 0.01, "signs": "both", "min_length": 4, "max_length": 25,
           "min_attribution": 3}  # fmt: skip
PATTERNS = {"window": LENGTH, "max_seqlets": 2000, "min_seqlets": 40, "leiden_runs": 1, "target_fdr": 0.05, "trim": 0.3}
ANNOTATE = {"flank": 3, "min_information_bits": 6, "shuffles": 200, "max_q": 0.05}
LISTED = {"flank": 3, "samples": 1, "controls": {"pool": 40}}


def planted_pattern(path, found, *, window, start, metadata):
    """What TF-MoDISco would write of the planted site: its own tests are in test_patterns.py."""
    sequences, hypothetical = found
    with write_hdf5(path, metadata) as handle:
        for group in ("pos_patterns", "neg_patterns"):
            handle.create_group(group)
        if not hypothetical.any():
            return
        pattern = handle.create_group("pos_patterns/pattern_0")
        at = [25 + i % 20 for i in range(len(sequences))]
        x = np.stack([one[:, a : a + len(SITE)].T for one, a in zip(sequences, at)])
        h = np.stack([one[:, a : a + len(SITE)].T for one, a in zip(hypothetical, at)])
        pattern["sequence"], pattern["contrib_scores"] = x.mean(0), (x * h).mean(0)
        pattern["seqlets/sequence"], pattern["seqlets/contrib_scores"] = x, x * h
        pattern["seqlets/is_revcomp"], pattern["seqlets/start"] = np.zeros(len(at), bool), at
        pattern["seqlets/example_idx"] = np.arange(len(at))


def run(folder: Path, height: float, named: bool) -> dict[str, pa.Schema]:
    """The chain up to the elements, on loci with a site of some height, with coordinates or without."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (120, LENGTH))
    values = rng.normal(0, 0.02, (120, 4, LENGTH)).astype(np.float32)
    for i in range(120):
        at = 25 + i % 20
        codes[i, at : at + len(SITE)] = ["ACGT".index(base) for base in SITE]
        values[i, codes[i, at : at + len(SITE)], np.arange(at, at + len(SITE))] += 1
    values *= height
    one_hot = np.eye(4, dtype=np.int8)[codes].transpose(0, 2, 1)
    with write_hdf5(
        folder / "attributions.h5", {"attribution": "x", "model_files": {"m": "a"}, "unit": "log counts"}
    ) as handle:
        ids = [f"chr1:{100 * i}-{100 * i + LENGTH}" if named else f"locus {i}" for i in range(120)]
        handle.create_dataset("ids", data=np.array(ids, dtype=object), dtype=h5py.string_dtype())
        handle["sequences"], handle["hypothetical"] = one_hot, values
        handle["observed"], handle["deltas"] = (one_hot * values).sum(1), np.zeros((120, 2), np.float32)
    pwm = np.full((len(SITE), 4), 0.02)
    pwm[np.arange(len(SITE)), ["ACGT".index(base) for base in SITE]] = 0.94
    write_table(folder / "motifs.parquet", motif_table([Motif("M1", "AP1", pwm, "x", 1, "meme", None)] * 8).assign(
        collection="c", motif_id=[f"M{i}" for i in range(8)]))  # fmt: skip
    at = {name: folder / f"{name}.parquet" for name in
          ("seqlets", "annotations", "patterns", "members", "matches")}  # fmt: skip
    call_seqlets(SEQLETS, attributions=folder / "attributions.h5", seqlets=at["seqlets"], bed=folder / "s.bed")
    annotate_seqlets(ANNOTATE, seed=1, attributions=folder / "attributions.h5", seqlets=at["seqlets"],
                     motifs=[folder / "motifs.parquet"], annotations=at["annotations"])  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modisco, "find_patterns", lambda sequences, hypothetical, **_: (sequences, hypothetical))
        patch.setattr(modisco, "write_patterns", planted_pattern)
        find_patterns(PATTERNS, seed=1, attributions=folder / "attributions.h5", hdf5=folder / "p.h5",
                      patterns=at["patterns"], seqlets=at["members"])  # fmt: skip
    annotate_patterns(ANNOTATE, seed=1, patterns=at["patterns"], motifs=[folder / "motifs.parquet"],
                      matches=at["matches"])  # fmt: skip
    for kind, table in (("seqlets", "annotations"), ("patterns", "matches")):
        for what in ("inserts", "families", "elements"):
            at[f"{kind}.{what}"] = folder / f"{kind}.{what}.parquet"
        list_elements(LISTED, kind=kind, name="x", seed=1, digests={"m": "a"}, annotations={},
                      attributions=folder / "attributions.h5", table=at[table],
                      members=at["members"] if kind == "patterns" else None,
                      **{what: at[f"{kind}.{what}"] for what in ("inserts", "families", "elements")})  # fmt: skip
    return {name: pq.read_schema(path) for name, path in at.items()}


@pytest.fixture(scope="module")
def chains(tmp_path_factory) -> dict[str, tuple[Path, dict[str, pa.Schema]]]:
    made = {}
    for name, height, named in (("full", 1, True), ("without coordinates", 1, False), ("empty", 0, True)):
        folder = tmp_path_factory.mktemp("chain")
        made[name] = folder, run(folder, height, named)
    return made


def columns(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    return list(zip(schema.names, schema.types))


@pytest.mark.parametrize("other", ["empty", "without coordinates"])
def test_tables_have_the_same_columns_whatever_is_in_them(chains, other):
    full, schemas = chains["full"]
    folder, others = chains[other]
    for name, schema in schemas.items():
        assert len(pd.read_parquet(full / f"{name}.parquet")), name
        assert len(pd.read_parquet(folder / f"{name}.parquet")) == 0 or other != "empty", name
        assert columns(others[name]) == columns(schema), name
        assert not any(kind == pa.null() for kind in schema.types), name


@pytest.mark.parametrize("kind", ["seqlets", "patterns"])
def test_effects_of_nothing_have_all_columns(chains, tmp_path, kind):
    folder, _ = chains["empty"]
    out = {name: tmp_path / f"{name}.out" for name in ("effects", "backgrounds", "profiles")}
    summarize_elements(
        model="m", names=["b"], inserts=folder / f"{kind}.inserts.parquet",
        families=folder / f"{kind}.families.parquet", elements=folder / f"{kind}.elements.parquet", baselines=[],
        shards=[], tsv=tmp_path / "effects.tsv.gz", **out,
    )  # fmt: skip
    schema = pq.read_schema(out["effects"])
    own = pq.read_schema(folder / f"{kind}.elements.parquet")
    assert columns(schema) == [
        *((c.name, c.type) for c in EFFECTS), *((f.name, f.type) for f in own if f.name != "motif_id")
    ]  # fmt: skip
    assert pd.read_csv(tmp_path / "effects.tsv.gz", sep="\t").columns.tolist() == schema.names


def test_agreement_and_consensus_of_one_background_set(tmp_path):
    rows = pd.DataFrame({
        "model": "m", "background": ["a", "a", "b", "b"], "output": "o", "collection": "c", "motif_id": ["x", "y"] * 2,
        "orientation": "+", "start": 3, "insert": ["AC", "GT"] * 2, "sample": None, "partner_id": None,
        "effect": [1.0, 2, 1.5, 2.5], "q": 0.01,
    })  # fmt: skip
    write_json(tmp_path / "failed.json", {})
    found = {}
    for name, part in (("one", rows[:2]), ("two", rows)):
        write_table(tmp_path / "batch.parquet", part.astype({"sample": "Int64", "partner_id": "string"}))
        out = {kind: tmp_path / f"{name}.{kind}" for kind in ("manifest", "agreement_table", "consensus_table")}
        summarize_screen(batches={"b": tmp_path / "batch.parquet"}, failed=[tmp_path / "failed.json"], **out)
        for kind, stated in zip(out, (MANIFEST, AGREEMENT, CONSENSUS)):
            assert columns(pq.read_schema(out[kind])) == [(c.name, c.type) for c in stated]
        found[name] = {kind: pd.read_parquet(path) for kind, path in out.items()}
    assert found["two"]["agreement_table"][["across", "model", "first", "second", "n"]].iloc[0].tolist() == [
        "background", "m", "a", "b", 2]  # fmt: skip
    assert len(found["one"]["agreement_table"]) == 0
    assert found["two"]["manifest"].to_numpy().tolist() == [["m", "b", "batch.parquet", 4]]


def test_an_empty_table_has_every_column_of_every_schema():
    for module in (tables, element_tables):
        for name, stated in vars(module).items():
            if isinstance(stated, tuple) and stated and isinstance(stated[0], tables.Column):
                made = conform(pd.DataFrame(), stated, name=name)
                assert columns(made.schema) == [(c.name, c.type) for c in stated], name


def test_every_job_writes_its_tables_by_a_schema():
    """A frame that is written as it is has the columns that its rows happen to have."""
    found = {}
    for path in sorted(Path(marginome.jobs.__path__[0]).glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.targets[0].id: node.value for node in ast.walk(tree)
                 if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}  # fmt: skip
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "write_table":
                value = call.args[1]
                value = names.get(value.id) if isinstance(value, ast.Name) else value
                found.setdefault(path.stem, []).append(getattr(getattr(value, "func", None), "id", "") == "conform")
    assert len(found) >= 8 and all(all(calls) for calls in found.values()), found
