"""The job that judges pairs, on an ensemble: how members differ, and single backgrounds at the best arrangements."""

from __future__ import annotations

import textwrap
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import handmade_pairs
from batch import write_checks
from marginome import load_model, one_hot_encode, substitute
from marginome.arrays import write_hdf5
from marginome.background_set import write_background
from marginome.backgrounds import make_background
from marginome.columns import conform
from marginome.jobs import summarize_batch
from marginome.jobs.marginalize import marginalize_shard
from marginome.jobs.merge_pairs import merge_pairs
from marginome.jobs.predict_baseline import predict_baselines
from marginome.jobs.score_pairs import score_screen_pairs
from marginome.jobs.summarize_batch import kept_effects
from marginome.list_tables import INSERT_LIST
from marginome.motifs.table import motif_table
from marginome.pair_tables import ARRANGEMENTS, PAIR_BACKGROUNDS
from marginome.pair_tables import PAIRS as PAIR_COLUMNS
from marginome.placing import FIRST_BASE
from marginome.storage import write_table

CODE = textwrap.dedent(
    """
    import torch

    class Toy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.counts = torch.nn.Conv1d(4, 8, 9), torch.nn.Linear(8, 1)
            self.wide = torch.nn.Conv1d(8, 8, 5, dilation=6)

        def forward(self, X):
            return self.counts(torch.relu(self.wide(torch.relu(self.conv(X)))).mean(-1))
    """
)
ENGINE = {"precision": "float32", "engine": "auto", "threads": 1, "device": "cpu", "memory_mb": 500}
PAIRS = [{"among": ["MA0099.4", "MA0062.4"], "gaps": [3, 10, 50], "orientations": ["++", "+-"], "mismatched": 40}]
N, SHARDS = 4, 2


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Two members of an ensemble, a list of pairs in two shards, and the tables that the job makes of them."""
    folder = tmp_path_factory.mktemp("folds")
    (folder / "toy.py").write_text(CODE)
    scope: dict = {}
    exec(CODE, scope)
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save(scope["Toy"]().state_dict(), folder / f"{seed}.pt")
    settings = {"loader": f"{folder}/toy.py:Toy", "weights": [str(folder / f"{seed}.pt") for seed in (1, 2)],
                "input_length": handmade_pairs.LENGTH, "outputs": {"counts": {}}}  # fmt: skip
    made = make_background({"kind": "uniform", "n": N, "length": handmade_pairs.LENGTH}, name="u", seed=1)
    write_background(made, fasta=folder / "u.fa.gz", bed=folder / "u.bed", tsv=folder / "u.tsv")
    table = handmade_pairs.listed(PAIRS)
    listed = conform(table.rename(columns={"start": "offset"}), INSERT_LIST, name="inserts")
    write_table(folder / "inserts.parquet", listed, {"from": FIRST_BASE})
    motifs = motif_table(handmade_pairs.motifs()).assign(collection="handmade")
    write_table(folder / "motifs.parquet", motifs)
    write_table(folder / "families.parquet", motifs.assign(family=0, family_representative="x"))
    write_checks(folder / "check.json", m={"block": 8, "engine": {"kernels": "torch"}})
    common = {"digests": {"m": {}}, "engine": ENGINE, "device": "cpu", "check": folder / "check.json",
              "fasta": folder / "u.fa.gz"}  # fmt: skip
    predict_baselines({"m": settings}, **common, predictions=folder / "base.h5")
    shards = [folder / f"{i}-of-{SHARDS}.h5" for i in range(1, SHARDS + 1)]
    tables = ("pairs", "arrangements", "backgrounds")
    for keep in (10, 0):
        for shard in shards:
            marginalize_shard(
                {"m": settings}, **common, baseline=folder / "base.h5", inserts=folder / "inserts.parquet",
                screen={"outputs": None, "keep": {"backgrounds_mb": keep, "profiles": True}}, shard=shard.stem,
                output=shard,
            )  # fmt: skip
        score_screen_pairs(
            {"backgrounds": ["u"], "shards": [SHARDS]}, models=["m"], inserts=[folder / "inserts.parquet"],
            families=[folder / "families.parquet"], motifs=[folder / "motifs.parquet"], baselines=[folder / "base.h5"],
            shards=shards, **{name: folder / f"{name}.{keep}.parquet" for name in tables},
        )  # fmt: skip
    return folder, settings, made.sequences


def test_the_interaction_of_folds_and_of_backgrounds_is_that_of_written_sequences(case):
    folder, settings, sequences = case
    pairs, arrangements, singles = (
        pd.read_parquet(folder / f"{name}.10.parquet") for name in ("pairs", "arrangements", "backgrounds")
    )
    modules = [load_model("m", settings | {"weights": weights}).module.double() for weights in settings["weights"]]
    X = torch.stack([one_hot_encode(sequence) for sequence in sequences])
    consensus = {m.motif_id: m.consensus for m in handmade_pairs.motifs()}
    turned = str.maketrans("ACGT", "TGCA")

    def effect(motif, strand, start):
        """By member and background."""
        insert = consensus[motif] if strand == "+" else consensus[motif].translate(turned)[::-1]
        with torch.no_grad():
            after = substitute(X, insert, start=start).double()
            return np.stack([(m(after) - m(X.double())).numpy()[:, 0] for m in modules])

    def together(row):
        two = [(row.motif_id, row.orientation), (row.partner_id, row.partner_orientation)]
        two = two[::-1] if row.order == "swapped" else two
        begin = [row.start, row.start + len(consensus[two[0][0]]) + int(row.gap)]
        inserted = X
        for (motif, strand), at in zip(two, begin):
            insert = consensus[motif] if strand == "+" else consensus[motif].translate(turned)[::-1]
            inserted = substitute(inserted, insert, start=at)
        with torch.no_grad():
            whole = np.stack([(m(inserted.double()) - m(X.double())).numpy()[:, 0] for m in modules])
        alone = [effect(*one, at) for one, at in zip(two, begin)]
        return whole, *(alone[::-1] if row.order == "swapped" else alone)

    assert len(arrangements) >= 18
    for row in arrangements.itertuples():
        whole, first, second = together(row)
        by_member = (whole - first - second).mean(axis=1)
        assert row.interaction == pytest.approx(by_member.mean(), abs=1e-6)
        assert row.interaction_fold_sd == pytest.approx(by_member.std(ddof=1), abs=1e-6)
    best = pairs[pairs["gap"].notna()]
    key = ["motif_id", "partner_id", "orientation", "partner_orientation", "order", "gap"]
    assert len(best) == 3 and len(singles) == 3 * N
    for _, pair in best.iterrows():
        (row,) = arrangements[(arrangements[key] == pair[key]).all(axis=1)].itertuples()
        mine = singles[(singles["motif_id"] == row.motif_id) & (singles["partner_id"] == row.partner_id)]
        assert mine["sequence"].tolist() == list(range(N))
        for column, values in zip(("effect_pair", "effect", "effect_partner"), together(row)):
            np.testing.assert_allclose(mine[column], values.mean(axis=0), atol=1e-6)


def test_effects_of_members_are_kept_as_float32(case):
    folder, settings, sequences = case
    X = torch.stack([one_hot_encode(sequence) for sequence in sequences]).double()
    found = []
    for i in range(1, SHARDS + 1):
        with h5py.File(folder / f"{i}-of-{SHARDS}.h5") as handle:
            assert handle["m/effect_by_member"].dtype == np.float32
            found.append(handle["m/effect_by_member"][...])
    table = handmade_pairs.listed(PAIRS)
    for row in (0, len(table) // 2, len(table) - 1):
        insert, start = table["insert"].iat[row], table["start"].iat[row]
        for member, weights in enumerate(settings["weights"]):
            module = load_model("m", settings | {"weights": weights}).module.double()
            with torch.no_grad():
                known = (module(substitute(X, insert, start=start).double()) - module(X)).mean().item()
            assert np.concatenate(found)[row, member, 0] == pytest.approx(known, abs=1e-6)


@pytest.mark.parametrize("held, opened", [(10**6, 2), (40 * 3 * 64, 2 * 3)])
def test_what_shards_keep_is_read_as_many_readouts_at_a_time_as_fit(tmp_path, monkeypatch, held, opened):
    values = np.random.default_rng(0).normal(size=(40, 3, 130)).astype(np.float32)
    files = [tmp_path / "1.h5", tmp_path / "2.h5", tmp_path / "3.h5"]
    parts = [values[:25], values[25:]]
    for file, part in zip(files, [*parts, values[:0]]):
        with write_hdf5(file, {}) as handle:
            group = handle.create_group("m")
            group["rows"] = np.arange(len(part))
            if len(part):
                group["effect_by_member"] = part
    reads = []
    get = h5py.Dataset.__getitem__
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda self, key: reads.append(self.name) or get(self, key))
    monkeypatch.setattr(summarize_batch, "_HELD", held)
    some = SimpleNamespace(files=files, effect=np.zeros((40, 130)))
    np.testing.assert_array_equal(list(kept_effects(some, "m", "effect_by_member")), values.transpose(2, 0, 1))
    assert reads.count("/m/effect_by_member") == opened


def test_where_single_backgrounds_are_not_kept_the_table_is_empty_and_the_rest_is_the_same(case):
    folder, *_ = case
    assert not len(pd.read_parquet(folder / "backgrounds.0.parquet"))
    for name in ("pairs", "arrangements"):
        kept, other = (pd.read_parquet(folder / f"{name}.{keep}.parquet") for keep in (10, 0))
        pd.testing.assert_frame_equal(kept, other)
    parts = {f"part_{name}": [folder / f"{name}.{keep}.parquet" for keep in (10, 0)]
             for name in ("pairs", "arrangements", "backgrounds")}  # fmt: skip
    whole = {name: folder / f"{name}.parquet" for name in ("pairs", "arrangements", "backgrounds")}
    merge_pairs(**parts, **whole)
    for name, path in whole.items():
        one, both = pd.read_parquet(folder / f"{name}.10.parquet"), pd.read_parquet(path)
        pd.testing.assert_frame_equal(both[: len(one)], one)
        assert len(both) == (1 if name == "backgrounds" else 2) * len(one)
        assert both.dtypes.equals(one.dtypes)


def test_merging_holds_a_batch_at_a_time_and_keeps_columns_that_some_lack(tmp_path):
    """Of many batches: their rows, in order, in memory that does not grow with them."""
    n, draw = 20_000, np.random.default_rng(0)
    known = []
    for i in range(12):
        head = {c.name: "x" * 8 if c.type == pa.string() else draw.integers(0, 9, n) for c in ARRANGEMENTS}
        head |= {c.name: draw.normal(size=n) for c in ARRANGEMENTS if c.type == pa.float64()}
        table = pd.DataFrame(head).assign(model=f"m{i}", eligible=draw.random(n) < 0.5)
        table = table.drop(columns="interaction_fold_sd") if i % 2 else table
        known.append(table)
        write_table(tmp_path / f"{i}.parquet", conform(table, ARRANGEMENTS, name="part"))
    for name, columns in (("pairs", PAIR_COLUMNS), ("backgrounds", PAIR_BACKGROUNDS), ("none", ARRANGEMENTS)):
        write_table(tmp_path / f"{name}.parquet", conform(pd.DataFrame(), columns, name="part"))
    files = [tmp_path / "none.parquet", *(tmp_path / f"{i}.parquet" for i in range(12))]
    whole = {name: tmp_path / f"all_{name}.parquet" for name in ("pairs", "arrangements", "backgrounds")}
    pool = pa.default_memory_pool()
    before, most = pool.bytes_allocated(), [0]
    write = pq.ParquetWriter.write_table

    def watched(self, *args, **kwargs):
        most.append(pool.bytes_allocated() - before)
        return write(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", watched)
        merge_pairs(part_pairs=[tmp_path / "pairs.parquet"], part_arrangements=files,
                    part_backgrounds=[tmp_path / "backgrounds.parquet"], **whole)  # fmt: skip
    found = pq.read_table(whole["arrangements"])
    assert found.schema.names == [c.name for c in ARRANGEMENTS]
    pd.testing.assert_frame_equal(
        found.to_pandas(), pd.concat(known, ignore_index=True)[found.schema.names], check_dtype=False
    )
    assert max(most) < found.nbytes / 4
    for name, columns in (("pairs", PAIR_COLUMNS), ("backgrounds", PAIR_BACKGROUNDS)):
        assert pq.read_table(whole[name]).schema.names == [c.name for c in columns]
