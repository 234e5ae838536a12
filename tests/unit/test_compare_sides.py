"""The job that compares two sides of models: from the files of a screen to its table."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from marginome.arrays import group_of, write_hdf5
from marginome.columns import conform
from marginome.discoveries import benjamini_hochberg
from marginome.errors import MarginomeError
from marginome.jobs.compare_sides import compare_sides
from marginome.model_differences import align_scales, model_differences
from marginome.model_tables import MODEL_DIFFERENCES
from marginome.storage import table_writer, write_table
from marginome.tables import EFFECTS
from simulated_models import simulate

INSERTS, CONTROLS = 80, 120
BACKGROUNDS = ("gc", "shuffled")


class Files:
    """Files of a screen with two insert lists, of simulated models that have one output in common."""

    def __init__(self, folder, n_first, n_second, *, kept=True, repeat=1, second_output="counts", said=None, same=()):
        self.folder, self.names = folder, ([f"a{i}" for i in range(n_first)], [f"b{i}" for i in range(n_second)])
        folder.mkdir(exist_ok=True)
        rng = np.random.default_rng(0)
        self.models = {b: simulate(rng, n_first, n_second, inserts=INSERTS, controls=CONTROLS, motifs=20, different=5,
                                   backgrounds=6) for b in BACKGROUNDS}  # fmt: skip
        for one, other in same:  # a model is a copy of another, but for rounding
            for models in self.models.values():
                side = models.first if one[0] == "a" else models.second
                side[:, :, int(one[1:])] = side[:, :, int(other[1:])] * (1 + 1e-6 * rng.normal(size=side.shape[:2]))
        self.models["shuffled"] = self.models["shuffled"]._replace(sequences=self.models["gc"].sequences)
        # each list: half of the inserts, then half of the controls
        half, more = INSERTS // 2, INSERTS + CONTROLS // 2
        self.order = [np.r_[:half, INSERTS:more], np.r_[half:INSERTS, more : INSERTS + CONTROLS]]
        self.lists = []
        for i, order in enumerate(self.order):
            role = np.where(order < INSERTS, "motif", "control")
            listed = pd.DataFrame({"role": role, "insert": self.models["gc"].sequences[order], "position": 0})
            self.lists.append(folder / f"list{i}.parquet")
            write_table(self.lists[-1], listed)
        self.everything = np.concatenate(self.order)
        role = np.where(self.everything < INSERTS, "motif", "control")
        self.singles = [folder / "one.h5", folder / "two.h5"]
        for path, models in zip(self.singles, self.names):
            with write_hdf5(path) as handle:
                for model in models:
                    for background in BACKGROUNDS:
                        group = handle.create_group(group_of(model, background))
                        outputs = ["counts", "own of a"] if model[0] == "a" else ["own of b", second_output]
                        told = {"output": outputs, "measure": ["difference"] * 2, "unit": ["log"] * 2}
                        group.attrs["readouts"] = json.dumps({**told, **(said or {}).get(model, {})})
                        values = self.single(model, background).astype(np.float32)
                        both = [values, np.zeros_like(values)]
                        if kept:
                            stacked = np.stack(both if model[0] == "a" else both[::-1], axis=-1)
                            group["effects"] = np.concatenate([stacked] * repeat, axis=1)
                        else:
                            group.attrs["note"] = "larger than keep.backgrounds_mb of the config: not kept"
                        group.create_dataset("role", data=role.astype(object), dtype=h5py.string_dtype())
        self.rows(family=1)

    def single(self, model, background):
        """Effects in single backgrounds, in the order of the lists."""
        models = self.models[background]
        side = models.first if model[0] == "a" else models.second
        return side[:, self.everything, int(model[1:])].T

    def rows(self, **families):
        """The effect table of the first side's models: a row group for each model and background set."""
        inserts = self.models["gc"].sequences[self.everything[self.everything < INSERTS]]
        fixed = {c.name: 0.0 for c in EFFECTS if c.required and c.type == "double"} | {
            "collection": "c", "motif_name": "x", "orientation": "+", "start": 3, "position": 0,
            "measure": "difference", "unit": "log", "n_backgrounds": 6, "engine": "full", "precision": "float32",
        } | families  # fmt: skip
        tables = []
        for model in self.names[0]:
            for background in BACKGROUNDS:
                some = pd.DataFrame({"insert": np.repeat(inserts, 2), "output": ["counts", "own of a"] * len(inserts)})
                ids = [f"m{i}" for i in range(len(inserts)) for _ in range(2)]
                some = some.assign(model=model, background=background, motif_id=ids, **fixed)
                tables.append(conform(some, EFFECTS))
        with table_writer(self.folder / "effects.parquet", tables[0].schema) as writer:
            for table in tables:
                writer.write_table(table)

    def compare(self, **other):
        given = {"first": self.names[0], "second": self.names[1], "backgrounds": BACKGROUNDS,
                 "effects": self.folder / "effects.parquet", "singles": self.singles, "inserts": self.lists,
                 "table": self.folder / "table.parquet"}  # fmt: skip
        compare_sides(**{**given, **other})
        return pd.read_parquet(self.folder / "table.parquet")


@pytest.mark.parametrize("sides", [(1, 1), (2, 3), (3, 3)])
def test_the_table_is_what_the_library_says_of_the_files(tmp_path, sides):
    files = Files(tmp_path / "s", *sides)
    table = files.compare()
    assert list(table) == [c.name for c in MODEL_DIFFERENCES if c.name in table] and len(table) == 2 * INSERTS
    assert not table.duplicated([c.name for c in MODEL_DIFFERENCES if c.key and c.name in table]).any()
    assert set(table["output"]) == {"counts"} and set(table["claim"]) == {
        {(1, 1): "these two models", (2, 3): "these models", (3, 3): "models like these"}[sides]
    }
    assert (table["n_first"] == sides[0]).all() and (table["n_second"] == sides[1]).all()
    sequences = files.models["gc"].sequences
    for background in BACKGROUNDS:
        part = table[table["background"] == background]
        first, second = (
            np.stack([files.single(m, background).astype(np.float32).astype(float).mean(1) for m in names], 1)
            for names in files.names
        )
        factors = align_scales(first, second).factors
        first, second = first * factors[: sides[0]], second * factors[sides[0] :]
        at, done = 0, 0
        for order in files.order:
            n, mine = (order < INSERTS).sum(), slice(at, at + len(order))
            a, b, s = first[mine], second[mine], sequences[order]
            wanted = model_differences(a[:n], b[:n], s[:n], a[n:], b[n:], s[n:])
            rows = part.iloc[done : done + n]
            assert rows["insert"].tolist() == s[:n].tolist()
            for name in ("difference", "z", "p_controls", "p_models", "p", "first_mean", "t"):
                np.testing.assert_allclose(rows[name], getattr(wanted, name), rtol=1e-9, err_msg=name)
            assert (rows["n_controls"] == CONTROLS // 2).all()
            at, done = at + len(order), done + n
        best = part.assign(p=np.maximum(part["p"], part["p_resolution"])).drop_duplicates("insert")
        wanted_q = dict(zip(best["insert"], benjamini_hochberg(best["p"].to_numpy())))
        np.testing.assert_allclose(part["q"], part["insert"].map(wanted_q))
    assert (table["p_models"].isna()).all() == (sides != (3, 3))
    told = json.loads(pq.read_schema(files.folder / "table.parquet").metadata[b"marginome"])
    assert told["first"] == files.names[0] and len(told["scales"]["gc"]["counts"]["factors"]) == sum(sides)


def test_collections_without_families(tmp_path):
    files = Files(tmp_path, 1, 1)
    with_families = files.compare()
    files.rows()
    pd.testing.assert_frame_equal(files.compare(), with_families.drop(columns="family"))


def test_backgrounds_given_twice_change_nothing(tmp_path):
    """They are no replication: with each background twice the table is the same."""
    once, twice = Files(tmp_path / "once", 3, 3).compare(), Files(tmp_path / "twice", 3, 3, repeat=2).compare()
    pd.testing.assert_frame_equal(once, twice, rtol=1e-6)


def test_what_cannot_be_compared(tmp_path):
    with pytest.raises(MarginomeError, match=r"not kept.*raise keep.backgrounds_mb"):
        Files(tmp_path / "kept", 1, 1, kept=False).compare()
    files = Files(tmp_path / "s", 1, 1)
    with pytest.raises(MarginomeError, match=r"model 'c0', background set 'gc'.*no effects in this screen"):
        files.compare(second=["c0"])
    other = Files(tmp_path / "other", 1, 1, second_output="more")
    with pytest.raises(MarginomeError, match="no output is in all of a0, b0"):
        other.compare()


@pytest.mark.parametrize("changed", [lambda rows: rows.iloc[::-1], lambda rows: rows.iloc[:-2]])
def test_effects_of_other_inserts_than_the_lists_are_damaged(tmp_path, changed):
    """In another order, or fewer: nothing is compared by their place alone."""
    files = Files(tmp_path / "s", 1, 1)
    path = files.folder / "effects.parquet"
    tables = [changed(rows) for _, rows in pd.read_parquet(path).groupby(["model", "background"], sort=False)]
    with table_writer(path, conform(tables[0], EFFECTS).schema) as writer:
        for table in tables:
            writer.write_table(conform(table, EFFECTS))
    with pytest.raises(MarginomeError, match=r"effects\.parquet.*of counts, the lists other ones"):
        files.compare()


def test_outputs_of_another_measure_or_unit(tmp_path):
    """One name may be of two things: both models are named, and what each says."""
    other = {"b1": {"measure": ["difference", "log2_fold_change"], "unit": ["log", "log2 fold change"]}}
    words = r"output 'counts', background set 'gc'.*is difference \(log\) of model 'a0', but log2_fold_change \(.* 'b1'"
    with pytest.raises(MarginomeError, match=words):
        Files(tmp_path / "measure", 2, 2, said=other).compare()
    with pytest.raises(
        MarginomeError, match=r"difference \(log\) of model 'a0', but difference \(share\) of model 'a1'"
    ):
        Files(tmp_path / "unit", 2, 2, said={"a1": {"unit": ["share", "log"]}}).compare()


def test_copies_are_no_replicates(tmp_path):
    """Whatever their files are called: three copies a side would make p of nothing but rounding."""
    with pytest.raises(MarginomeError, match="models 'b0' and 'b2' have the same effects: copies"):
        Files(tmp_path / "s", 3, 3, same=[("b2", "b0")]).compare()


def test_an_output_that_cannot_be_compared_costs_no_other(tmp_path, caplog):
    """Both outputs are shared; the second is 0 in every model."""
    both = {model: {"output": ["own of a", "counts"]} for model in ("b0", "b1")}
    table = Files(tmp_path / "s", 1, 2, said=both).compare()
    assert set(table["output"]) == {"counts"} and len(table) == 2 * INSERTS
    told = json.loads(pq.read_schema(tmp_path / "s" / "table.parquet").metadata[b"marginome"])["left_out"]
    assert len(told) == 2 and "output 'own of a', background set 'gc': model 'a0' has the same effect" in told[0]
    assert "left out: output 'own of a', background set 'shuffled'" in caplog.text
