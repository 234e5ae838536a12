"""Models side by side: matrices, labels, families and tau, each against loops."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from marginome.agreements import consensus
from marginome.columns import conform
from marginome.errors import MarginomeError
from marginome.jobs.compare_models import compare_models
from marginome.list_tables import FAMILIES
from marginome.model_matrices import (
    INSERT,
    ModelMatrix,
    family_matrix,
    label_consensus,
    read_matrices,
    specificity,
    tau,
)
from marginome.model_tables import LABEL_CONSENSUS, TAU
from marginome.storage import table_writer, write_table
from marginome.tables import CONSENSUS

MODELS = ("liver_1", "liver_2", "heart_1", "heart_2", "brain_1")
TISSUE = {model: model.partition("_")[0] for model in MODELS}
FAMILY = {"A": 0, "B": 0, "C": 1}


@pytest.fixture
def rows():
    """A consensus table as loops would have it: model -> output -> insert -> (mean, q)."""
    draw = np.random.default_rng(0)
    inserts = [(m, o, s) for m in "ABC" for o in "+-" for s in (3, 9)]
    told = {
        (model, output, insert): (draw.normal(), draw.uniform())
        for model in MODELS
        for output in ("counts", "profile")
        for insert in inserts
    }
    del told["liver_2", "counts", ("B", "-", 9)]
    return told


def table_of(rows, models=MODELS, q=True):
    """Those rows in the columns of `CONSENSUS`."""
    made = [
        {"model": model, "output": output, "collection": "c", "motif_id": motif, "orientation": o, "start": s,
         "insert": f"{motif}{o}", "sample": None, "mean": mean, **({"q_max": qs} if q else {})}
        for (model, output, (motif, o, s)), (mean, qs) in rows.items() if model in models
    ]  # fmt: skip
    rest = ("spread", "lowest", "highest", "sign_agreement", "mean_rank", "worst_rank", "consensus_rank")
    return pd.DataFrame(made).assign(n_sets=2, **dict.fromkeys(rest, 0.5))


def write(folder, rows, batches, **options):
    """A file for each batch, a row group for each model."""
    paths = []
    for i, batch in enumerate(batches):
        made = [conform(table_of(rows, [model], **options), CONSENSUS) for model in batch]
        paths.append(folder / f"{i}.parquet")
        with table_writer(paths[-1], made[0].schema) as writer:
            for table in made:
                writer.write_table(table)
    return paths


def families(folder):
    made = pd.DataFrame(
        {"collection": "c", "motif_id": list(FAMILY), "motif_name": list("abc"), "family": list(FAMILY.values()),
         "family_representative": ["B", "B", "C"]}
    )  # fmt: skip
    write_table(folder / "families.parquet", conform(made, FAMILIES))
    return made, folder / "families.parquet"


def value_of(matrix, i, model):
    return matrix.effect[i, matrix.models.index(model)], matrix.q[i, matrix.models.index(model)]


@pytest.mark.parametrize("batches", [[MODELS], [MODELS[:2], MODELS[2:]], [[m] for m in reversed(MODELS)]])
def test_matrices_hold_what_the_files_hold(tmp_path, rows, batches):
    found = read_matrices(write(tmp_path, rows, batches), models=MODELS)
    assert [m.output for m in found] == ["counts", "profile"] and all(m.models == MODELS for m in found)
    for matrix in found:
        assert list(matrix.rows) == list(INSERT) and len(matrix.rows) == 12
        for i, row in enumerate(matrix.rows.itertuples()):
            for model in MODELS:
                wanted = rows.get((model, matrix.output, (row.motif_id, row.orientation, row.start)), (np.nan,) * 2)
                np.testing.assert_array_equal(value_of(matrix, i, model), wanted)
    some = read_matrices(write(tmp_path, rows, batches), models=["brain_1", "liver_1"])
    assert some[0].models == ("brain_1", "liver_1")
    np.testing.assert_array_equal(some[1].effect, found[1].effect[:, [4, 0]])


def test_an_insert_or_a_model_that_is_there_twice(tmp_path, rows):
    twice = pd.concat([table_of(rows, ["heart_1"])] * 2)
    write_table(tmp_path / "t.parquet", conform(twice, CONSENSUS))
    with pytest.raises(MarginomeError, match=r"t.parquet.*'heart_1' has an insert twice.*'motif_id': 'A'"):
        read_matrices([tmp_path / "t.parquet"])
    paths = write(tmp_path, rows, [["heart_1"], ["heart_1"]])
    with pytest.raises(MarginomeError, match=r"1.parquet.*'heart_1' is in two places"):
        read_matrices(paths)


def test_families_by_loops(tmp_path, rows):
    grouped, _ = families(tmp_path)
    matrix = read_matrices(write(tmp_path, rows, [MODELS]))[0]
    found = family_matrix(matrix, grouped)
    assert found.matrix.rows.to_dict("list") == {
        "collection": ["c", "c"], "family": [0, 1], "family_representative": ["B", "C"],
    }  # fmt: skip
    for f in (0, 1):
        for model in MODELS:
            mine = {i: v for (m, o, i), v in rows.items() if (m, o) == (model, "counts") and FAMILY[i[0]] == f}
            best = max(mine, key=lambda i: abs(mine[i][0]))
            assert value_of(found.matrix, f, model) == mine[best]
            named = matrix.rows.iloc[found.strongest[f, MODELS.index(model)]]
            assert (named["motif_id"], named["orientation"], named["start"]) == best
    with pytest.raises(MarginomeError, match="the motif 'C' is in no family"):
        family_matrix(matrix, grouped.iloc[:2])
    gone = matrix._replace(effect=np.where(np.arange(5) == 3, np.nan, matrix.effect))
    assert (family_matrix(gone, grouped).strongest[:, 3] == -1).all()
    assert np.isnan(family_matrix(gone, grouped).matrix.effect[:, 3]).all()


def test_a_label_says_what_consensus_says_of_its_models(tmp_path, rows):
    matrix = read_matrices(write(tmp_path, rows, [MODELS]))[0]
    table, means = label_consensus(matrix, {m: tissue for m, tissue in TISSUE.items() if m != "brain_1"})
    assert means.models == ("liver", "heart")
    for value in means.models:
        models = [m for m in MODELS if TISSUE[m] == value]
        part = table_of(rows, models).query("output == 'counts'").drop(columns="sample")
        of = [c for c in INSERT if c != "sample"]
        wanted = consensus(part.rename(columns={"mean": "effect"}).assign(q=part["q_max"]), "model", of=of)
        mine = table[table["value"] == value].rename(columns={"n_models": "n_sets"})
        shared = [*of, "n_sets", "mean", "spread", "lowest", "highest", "sign_agreement", "mean_rank", "worst_rank",
                  "consensus_rank", "q_max"]  # fmt: skip
        pd.testing.assert_frame_equal(
            mine[shared].sort_values(of, ignore_index=True), wanted[shared].sort_values(of, ignore_index=True)
        )
        for i, row in enumerate(matrix.rows.itertuples()):
            key = (row.motif_id, row.orientation, row.start)
            given = [rows[m, "counts", key] for m in models if (m, "counts", key) in rows]
            assert means.effect[i, means.models.index(value)] == pytest.approx(np.mean([g[0] for g in given]))
            wanted_q = max(g[1] for g in given) if len(given) == len(models) else np.nan
            np.testing.assert_equal(means.q[i, means.models.index(value)], wanted_q)


def tau_by_loops(values):
    given = [v for v in values if not math.isnan(v)]
    if len(given) < 2 or not any(given):
        return math.nan
    sign = math.copysign(1, max(given, key=abs))
    given = [max(0.0, sign * v) for v in given]
    return sum(1 - v / max(given) for v in given) / (len(given) - 1)


def test_tau_by_loops():
    draw = np.random.default_rng(1)
    values = draw.normal(size=(200, 6)) * draw.integers(0, 2, (200, 6))
    values[draw.uniform(size=values.shape) < 0.2] = np.nan
    found = tau(values)
    np.testing.assert_allclose(found.tau, [tau_by_loops(row) for row in values.tolist()], rtol=1e-12)
    assert 0 <= np.nanmin(found.tau) and np.nanmax(found.tau) <= 1 + 1e-12 and np.isnan(found.tau).any()
    np.testing.assert_array_equal(found.n, (~np.isnan(values)).sum(1))
    up = np.abs(values)
    np.testing.assert_allclose(tau(up).tau, tau(-up).tau)
    np.testing.assert_array_equal(tau(-up).direction, -tau(up).direction)
    np.testing.assert_allclose(tau(7.5 * values).tau, found.tau, rtol=1e-12)  # no unit


def test_tau_of_what_is_known():
    cases = {
        (2, 0, 0, 0): (1, 1), (3, 3, 3, 3): (0, 1), (0, -4, 0, 0): (1, -1), (1, 1, -1, -1): (2 / 3, 1),
        (-5, 1, 1, 1): (1, -1), (0, 8, 4, 4): ((1 + 0 + 0.5 + 0.5) / 3, 1),
    }  # fmt: skip
    found = tau(np.array(list(cases), dtype=float))
    np.testing.assert_allclose(found.tau, [t for t, _ in cases.values()])
    assert found.direction.tolist() == [d for _, d in cases.values()]
    assert tau(np.array([[0, 8, 0, 0, 0, 2, 0, 2, 0, 0, 0, 0]], dtype=float)).tau[0] == pytest.approx(10.5 / 11)
    for nothing in ([[0.0, 0, 0]], [[1.0, np.nan, np.nan]], [[np.nan] * 3], np.empty((1, 0))):
        assert np.isnan(tau(np.array(nothing)).tau[0]) and tau(np.array(nothing)).direction[0] == 0
    with pytest.raises(MarginomeError, match="wanted"):
        tau(np.zeros(3))


def test_specificity_counts_what_is_found():
    nan = np.nan
    matrix = ModelMatrix(
        "counts", pd.DataFrame({"family": [0, 1, 2]}), ("a", "b", "c"),
        np.array([[1.0, 1, 1], [0, -2, nan], [nan, nan, nan]]),
        np.array([[0.01, 0.2, 0.05], [nan, 0.01, nan], [nan] * 3]),
    )  # fmt: skip
    told = specificity(matrix).set_index("family")
    assert told.index.tolist() == [1, 0, 2]
    assert told.loc[[0, 1], "tau"].tolist() == [0, 1] and told["n"].to_dict() == {0: 3, 1: 2, 2: 0}
    assert told.loc[1, ["strongest_in", "strongest", "n_found"]].tolist() == ["b", -2, 1]
    assert told.loc[0, "n_found"] == 2 and pd.isna(told.loc[2, "n_found"]) and pd.isna(told.loc[2, "strongest_in"])


@pytest.mark.parametrize("q", [True, False])
def test_the_job_writes_both_tables(tmp_path, rows, q):
    paths = write(tmp_path, rows, [MODELS], q=q)
    grouped, families_file = families(tmp_path)
    sheet = pd.DataFrame(
        {
            "model": MODELS,
            "tissue": list(TISSUE.values()),
            "some": ["liver", "liver", "b", "b", None],
            "id": list(MODELS),
            "one": "x",
            "few": ["y", "y", None, None, None],
            "single": ["z", None, None, None, None],
        }
    )
    write_table(tmp_path / "models.parquet", sheet)
    compare_models(models=tmp_path / "models.parquet", consensus=paths[0], families=[families_file],
                   labels=tmp_path / "labels.parquet", tau=tmp_path / "tau.parquet")  # fmt: skip
    labels, specific = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("labels", "tau"))
    assert {label: set(part) for label, part in labels.groupby("label")["value"]} == {
        "tissue": {"liver", "heart", "brain"}, "some": {"liver", "b"}, "one": {"x"}, "few": {"y"},
    }  # fmt: skip
    for table, columns in ((labels, LABEL_CONSENSUS), (specific, TAU)):
        assert not table.duplicated([c.name for c in columns if c.key and c.name in table]).any()
    assert len(labels) == 2 * 7 * 12 and labels["q_max"].isna().all() != q
    assert set(zip(specific["across"], specific["output"])) == {
        (across, output) for across in ("model", "tissue", "some") for output in ("counts", "profile")
    }
    assert len(specific) == 6 * 2
    matrix = family_matrix(read_matrices(paths)[0], grouped).matrix
    mine = specific[(specific["across"] == "model") & (specific["output"] == "counts")].set_index("family")
    np.testing.assert_allclose(mine.loc[[0, 1], "tau"], tau(matrix.effect).tau)
    assert mine["n_found"].isna().all() != q
