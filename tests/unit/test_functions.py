"""Functions of a screen before and after inserts: against tangermeme, the user's own, shards, windows at the ends."""

from __future__ import annotations

import textwrap

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from batch import write_inserts
from marginome import integrated_gradients
from marginome.attribution.edited import EditAttributions
from marginome.background_set import BackgroundSet, write_background
from marginome.errors import MarginomeError
from marginome.functions import functions_of, window_of
from marginome.incremental import Edits
from marginome.jobs.apply_functions import Applier, Moments, Target, apply_functions
from marginome.jobs.merge_functions import merge_functions
from marginome.seeds import stable_seed
from marginome.sequences import one_hot_encode, random_one_hot
from marginome.shuffles import dinucleotide_shuffle
from marginome.storage import read_table, write_table
from marginome.substitution import substitute

LENGTH, FLANK = 70, 8
CODE = textwrap.dedent(
    """
    import torch

    class Toy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.relu = torch.nn.Conv1d(4, 6, 7), torch.nn.ReLU()
            self.head = torch.nn.Linear(6 * 64, 1)

        def forward(self, X):
            return self.head(self.relu(self.conv(X)).flatten(1))

    def gradient_times_input(model, X, args=None, scale=1.0):
        X = X.float().requires_grad_()
        (grad,) = torch.autograd.grad(model(X).sum(), X)
        return scale * grad * X

    def summed(model, X, args=None):
        return model(X.float())[:, 0]

    def wrong(model, X, args=None):
        return torch.zeros(1)
    """
)
ENGINE = {"precision": "float32", "engine": "auto", "threads": 1, "device": "cpu", "memory_mb": 1000}
INSERTS = [("TGACTCA", 30), ("ACGTN", 0), ("GGGCGG", 64), ("TTAACCGGT", 31), ("CAT", 33)]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("functions")
    (folder / "toy.py").write_text(CODE)
    rng = np.random.default_rng(2)
    sequences = ["".join("ACGT"[b] for b in rng.integers(0, 4, LENGTH)) for _ in range(5)]
    ids = [f"b{i}" for i in range(5)]
    write_background(BackgroundSet("b", ids, sequences, None, pd.DataFrame()), fasta=folder / "b.fa.gz")
    rows = [
        {"insert_id": f"m{i}|{start}", "role": role, "motif_id": f"m{i}", "motif_name": f"M{i}", "orientation": "+",
         "start": start, "insert": text, "collection": "c"}
        for i, (text, start, role) in enumerate([*[(t, s, "motif") for t, s in INSERTS], ("AAAA", 33, "control")])
    ]  # fmt: skip
    write_inserts(folder / "inserts.parquet", pd.DataFrame(rows))
    effects = pd.DataFrame(rows[:5]).assign(
        model="toy", background="b", output="y", unit="score", effect=[0.1, 3, -2, 0.5, 1]
    )
    write_table(folder / "effects.parquet", effects)
    return folder, torch.stack([one_hot_encode(s) for s in sequences]), ids


def run(case, functions, *, shards=1, references="dinucleotide_shuffle"):
    folder, _, _ = case
    model = {"toy": {"loader": f"{folder / 'toy.py'}:Toy", "input_length": LENGTH, "outputs": {"y": {}}}}
    screen = {"outputs": None, "functions": functions,
              "function_settings": {"references": references, "n_references": 3, "flank": FLANK}}  # fmt: skip
    common = {"name": "s", "digests": {"toy": {}}, "screen": screen, "seed": 1, "engine": ENGINE,
              "device": "cpu", "fasta": folder / "b.fa.gz"}  # fmt: skip
    apply_functions(model, **common, inserts=None, shard="1-of-1", output=folder / "before.h5")
    parts = [folder / f"{i}-of-{shards}.h5" for i in range(1, shards + 1)]
    for i, part in enumerate(parts, 1):
        apply_functions(model, **common, inserts=folder / "inserts.parquet", shard=f"{i}-of-{shards}", output=part)
    merge_functions(
        {**screen, "batches": {"toy": ["toy"]}, "backgrounds": ["b"], "shards": [shards]},
        inserts=[folder / "inserts.parquet"],
        effects=folder / "effects.parquet", before=[folder / "before.h5"], shards=parts, top=3,
        output=folder / "functions.h5", figure=folder / "functions.svg",
    )  # fmt: skip
    with h5py.File(folder / "functions.h5") as handle:
        part = handle["toy/b"]
        found = {(f, t, k): part[f][t][k][...] for f in part for t in part[f] for k in part[f][t]}
        return found, int(handle.attrs["window"]), [i.decode() for i in handle["inserts/motif_id"][...]]


def toy():
    namespace: dict = {}
    exec(CODE, namespace)
    return namespace["Toy"]().eval(), namespace


def windows(values, size):
    """The mean over backgrounds (4, LENGTH) of each insert, cut like the file's windows."""
    cut = np.full((len(INSERTS), 4, size), np.nan)
    for row, (mean, (text, start)) in enumerate(zip(values, INSERTS)):
        middle = start + len(text) // 2
        for column in range(size):
            at = middle - size // 2 + column
            if 0 <= at < LENGTH:
                cut[row, :, column] = mean[:, at]
    return cut


def test_deep_lift_shap_before_and_after_is_tangermemes(case):
    from tangermeme.deep_lift_shap import deep_lift_shap

    _, X, ids = case
    found, size, motifs = run(case, ["predict", "deep_lift_shap"])
    assert motifs == ["m0", "m1", "m2", "m3", "m4"]  # controls are left out
    assert size == max(len(text) for text, _ in INSERTS) + 2 * FLANK
    seeds = [stable_seed(1, "references", name) for name in ids]

    def theirs(Z):
        references = dinucleotide_shuffle(Z, n=3, random_state=seeds, allow_N=True).float()
        return deep_lift_shap(toy()[0], Z.float(), references=references, device="cpu").mean(0).numpy()

    after = windows([theirs(substitute(X, text, start=start)) for text, start in INSERTS], size)
    before = windows([theirs(X)] * len(INSERTS), size)
    np.testing.assert_allclose(found["deep_lift_shap", "y", "after"], after, atol=1e-5)
    np.testing.assert_allclose(found["deep_lift_shap", "y", "before"], before, atol=1e-5)
    assert case[0].joinpath("functions.svg").read_text().startswith("<?xml")


def test_with_the_background_as_reference_only_the_insert_has_attributions(case):
    from tangermeme.deep_lift_shap import deep_lift_shap

    _, X, _ = case
    found, size, _ = run(case, ["deep_lift_shap"], references="background")
    after = windows(
        [
            deep_lift_shap(
                toy()[0], substitute(X, text, start=start).float(), references=X.float()[:, None], device="cpu"
            ).mean(0).numpy()
            for text, start in INSERTS
        ],
        size,
    )  # fmt: skip
    np.testing.assert_allclose(found["deep_lift_shap", "y", "after"], after, atol=1e-5)
    first = found["deep_lift_shap", "y", "after"][0]
    inside = slice(size // 2 - 3, size // 2 + 4)
    outside = np.delete(first, np.arange(size)[inside], axis=1)
    assert (outside == 0).all() and (first[:, inside] != 0).any()
    assert np.nan_to_num(found["deep_lift_shap", "y", "before"]).any() == np.False_


def test_saturation_mutagenesis_is_tangermemes(case):
    from tangermeme.saturation_mutagenesis import saturation_mutagenesis

    _, X, _ = case
    found, size, _ = run(case, ["saturation_mutagenesis"])
    after = windows(
        [
            saturation_mutagenesis(toy()[0], substitute(X, text, start=start).float(), device="cpu").mean(0).numpy()
            for text, start in INSERTS
        ],
        size,
    )
    np.testing.assert_allclose(found["saturation_mutagenesis", "y", "after"], after, atol=1e-5)


def test_integrated_gradients_are_captums(case):
    from captum.attr import IntegratedGradients

    _, X, ids = case
    found, size, _ = run(case, ["integrated_gradients"], references="background")
    against = IntegratedGradients(toy()[0])
    after = windows(
        [
            against.attribute(Z := substitute(X, text, start=start).float(), baselines=X.float(), target=0)
            .sum(1, keepdim=True).mul(Z).mean(0).detach().numpy()
            for text, start in INSERTS
        ],
        size,
    )  # fmt: skip
    # captum's sum over the bases of a position is ours of the base that is there
    np.testing.assert_allclose(found["integrated_gradients", "y", "after"], after, atol=1e-5)
    assert np.nan_to_num(found["integrated_gradients", "y", "before"]).any() == np.False_
    shuffles, _, _ = run(case, ["integrated_gradients"])
    seeds = [stable_seed(1, "references", name) for name in ids]
    own = integrated_gradients(toy()[0], X, references=dinucleotide_shuffle(X, n=3, random_state=seeds), device="cpu")
    before = windows([own.mean(0).numpy()] * len(INSERTS), size)
    np.testing.assert_allclose(shuffles["integrated_gradients", "y", "before"], before, atol=1e-6)


def test_functions_of_the_users(case):
    folder, X, _ = case
    own = [{"function": f"{folder / 'toy.py'}:gradient_times_input", "arguments": {"scale": 2.0}},
           {"function": f"{folder / 'toy.py'}:summed", "arguments": {}}]  # fmt: skip
    found, size, _ = run(case, own)
    model, code = toy()
    edited = [substitute(X, text, start=start) for text, start in INSERTS]
    after = windows([code["gradient_times_input"](model, Z, scale=2.0).detach().mean(0).numpy() for Z in edited], size)
    np.testing.assert_allclose(found["gradient_times_input", "y", "after"], after, atol=1e-6)
    sums = [code["summed"](model, Z).detach().mean().item() for Z in edited]
    np.testing.assert_allclose(found["summed", "y", "after"], sums, atol=1e-6)
    np.testing.assert_allclose(found["summed", "y", "before"], code["summed"](model, X).mean().item(), atol=1e-6)
    with pytest.raises(MarginomeError, match=r"shape \(1,\) for 5 sequences"):
        run(case, [{"function": f"{folder / 'toy.py'}:wrong", "arguments": {}}])


def test_shards_do_not_change_a_bit(case):
    one, _, _ = run(case, ["deep_lift_shap", "saturation_mutagenesis"])
    three, _, _ = run(case, ["deep_lift_shap", "saturation_mutagenesis"], shards=3)
    assert set(one) == set(three)
    for key, values in one.items():
        np.testing.assert_array_equal(values, three[key], err_msg=str(key))


def test_names_and_windows():
    assert functions_of({"functions": ["predict"]}) == []
    with pytest.raises(MarginomeError, match="two functions are named f"):
        functions_of({"functions": [{"function": "a.py:f"}, {"function": "b.py:f"}]})
    assert window_of(30, 7, 23, 70) == (22, 45, 0)
    assert window_of(0, 5, 25, 70) == (0, 15, 10)
    assert window_of(64, 6, 25, 70) == (55, 70, 0)


@pytest.mark.parametrize("delta", [0.5, np.nan])
def test_a_delta_that_is_no_number_is_mentioned_too(delta, caplog):
    applier = Applier.__new__(Applier)
    applier.X = random_one_hot((2, 4, LENGTH), random_state=0)
    found = EditAttributions(torch.zeros(2, 4, 3), torch.tensor([0.0, delta]))
    applier._attributors = {None: lambda *given: found}
    edits = Edits.stack([one_hot_encode("ACG").to(torch.int8)] * 2, [5, 5])
    with caplog.at_level("WARNING"):
        applier._against_backgrounds(Target("y", "", None, 0), edits, 0, LENGTH)
    assert "miss the change of the output" in caplog.text


def test_of_models_with_other_inserts_each_has_its_own_and_nothing_of_the_rest(case, tmp_path):
    """As of judged pairs: an insert that two batches have is one; what a batch did not apply functions to is NaN."""
    folder, _, _ = case
    run(case, ["saturation_mutagenesis"])
    with h5py.File(folder / "functions.h5") as handle:
        whole = handle["toy/b/saturation_mutagenesis/y/after"][...]
    how = {"references": "dinucleotide_shuffle", "n_references": 3, "flank": FLANK}
    screen = {"outputs": None, "functions": ["saturation_mutagenesis"], "function_settings": how}
    settings = {"loader": f"{folder / 'toy.py'}:Toy", "input_length": LENGTH, "outputs": {"y": {}}}
    kept = {"toy": [0, 3], "other": [0, 4]}  # 9 and 7 bases at most: the windows of the second are narrower by 2
    table, files = read_table(folder / "inserts.parquet"), {"list": [], "before": [], "after": []}
    for name, rows in kept.items():
        for kind, found in files.items():
            found.append(tmp_path / f"{name}.{kind}.{'parquet' if kind == 'list' else 'h5'}")
        write_inserts(files["list"][-1], table.iloc[rows].reset_index(drop=True))
        common = {"name": "s", "digests": {name: {}}, "screen": screen, "seed": 1, "engine": ENGINE, "device": "cpu",
                  "fasta": folder / "b.fa.gz", "shard": "1-of-1"}  # fmt: skip
        apply_functions({name: settings}, **common, inserts=None, output=files["before"][-1])
        apply_functions({name: settings}, **common, inserts=files["list"][-1], output=files["after"][-1])
    merge_functions(
        {**screen, "batches": {name: [name] for name in kept}, "backgrounds": ["b"], "shards": [1]},
        inserts=files["list"], effects=folder / "effects.parquet", before=files["before"], shards=files["after"], top=3,
        output=tmp_path / "functions.h5", figure=tmp_path / "functions.svg",
    )  # fmt: skip
    with h5py.File(tmp_path / "functions.h5") as handle:
        assert handle["inserts/motif_id"].asstr()[...].tolist() == ["m0", "m3", "m4"]
        first, second = (handle[f"{name}/b/saturation_mutagenesis/y/after"][...] for name in kept)
    np.testing.assert_allclose(first, [whole[0], whole[3], np.full_like(whole[0], np.nan)], atol=1e-6)
    narrow = whole.copy()
    narrow[:, :, [0, -1]] = np.nan
    np.testing.assert_allclose(second, [narrow[0], np.full_like(whole[0], np.nan), narrow[4]], atol=1e-6)


def test_a_small_memory_changes_no_number(case, monkeypatch):
    """Sequences one after the other, each with its own references."""
    functions = ["deep_lift_shap", "saturation_mutagenesis"]
    wanted, _, _ = run(case, functions)
    seen = []
    references = Applier._references
    monkeypatch.setattr(Applier, "_references", lambda self, X, rows: seen.append(len(X)) or references(self, X, rows))
    monkeypatch.setitem(ENGINE, "memory_mb", 0)
    found, _, _ = run(case, functions)
    assert set(seen) == {1} and set(found) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5, err_msg=str(name))


@pytest.mark.parametrize("shape", [(23, 4, 7), (23,), (1, 3)])
def test_moments_of_parts_are_those_of_the_whole(shape):
    """However the entries are cut; a large mean costs no digits."""
    values = torch.from_numpy(1e6 + np.random.default_rng(0).standard_normal(shape))
    for size in (1, 4, 23):
        found = Moments()
        for part in values.split(size):
            found.add(part)
        assert found.n == len(values)
        np.testing.assert_allclose(found.mean, values.numpy().mean(0), rtol=1e-15)
        sd = values.numpy().std(0, ddof=1) if len(values) > 1 else np.full(shape[1:], np.nan)
        np.testing.assert_allclose(found.sd(), sd, rtol=1e-9)
