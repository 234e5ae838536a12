"""Attribution jobs on a small model: oracle, gate, ensembles, shards, damaged and foreign files, seqlets."""

from __future__ import annotations

import logging
import textwrap

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from marginome import dinucleotide_shuffle, integrated_gradients
from marginome.attribution_file import open_attributions
from marginome.background_set import BackgroundSet, write_background
from marginome.errors import MarginomeError
from marginome.jobs.attribute import attribute_shard
from marginome.jobs.call_seqlets import call_seqlets
from marginome.jobs.merge_attributions import merge_attributions
from marginome.provenance import file_digests
from marginome.seeds import stable_seed
from marginome.sequences import one_hot_encode
from synthetic_elements import synthetic_elements

LENGTH = 60
MODEL = textwrap.dedent(
    """
    import torch

    class Toy(torch.nn.Module):
        def __init__(self, hard=False):
            super().__init__()
            self.conv, self.head, self.hard = torch.nn.Conv1d(4, 6, 7), torch.nn.Linear(6, 2), hard
            self.relu = torch.nn.ReLU()

        def forward(self, X):
            h = self.relu(self.conv(X))
            if self.hard is True:  # an operation that DeepLIFT has no rule for
                h = torch.cumprod(h[:, :, :8] + 1, -1)
            if self.hard == "log of 0":
                h = h.log().exp()
            if self.hard == "noise":
                h = h + torch.rand_like(h)
            if self.hard == "add in place":
                h += self.relu(1 - h)
            return self.head(h.mean(-1))
    """
)
SETTINGS = {"output": None, "target": "b", "method": "deep_lift_shap", "max_delta": 0.001, "on_exceed": "fail",
            "references": {"kind": "dinucleotide_shuffle", "n": 4}, "precision_bits": 32}  # fmt: skip
ENGINE = {"precision": "float32", "engine": "auto", "threads": 1, "device": "cpu", "memory_mb": 1000}
SEQLETS = {"caller": "recursive", "signs": "both", "threshold": 0.05, "min_length": 4, "max_length": 25, "window": 21,
           "flank": 10, "target_fdr": 0.2, "min_attribution": 0}  # fmt: skip


class Case:
    """A model file or three, loci, and the jobs on them."""

    def __init__(self, folder, n=19):
        self.folder = folder
        (folder / "toy.py").write_text(MODEL)
        namespace: dict = {}
        exec(MODEL, namespace)
        self.weights = []
        for seed in range(3):
            torch.manual_seed(seed)
            self.weights.append(str(folder / f"{seed}.pt"))
            torch.save(namespace["Toy"]().state_dict(), self.weights[-1])
        rng = np.random.default_rng(1)
        self.ids = [f"chr1:{1000 * i}-{1000 * i + LENGTH}" for i in range(n)]
        self.sequences = ["".join("ACGT"[b] for b in rng.integers(0, 4, LENGTH)) for _ in self.ids]
        self.sequences[2] = self.sequences[2][:10] + "NNN" + self.sequences[2][13:]
        self.fasta = folder / "loci.fa.gz"
        write_background(BackgroundSet("loci", self.ids, self.sequences, None, pd.DataFrame()), fasta=self.fasta)

    def model(self, members=1, hard=False):
        return {"loader": f"{self.folder / 'toy.py'}:Toy", "weights": self.weights[:members], "input_length": LENGTH,
                "parameters": {"hard": hard}, "outputs": {"both": {"names": ["a", "b"]}}}  # fmt: skip

    def run(self, name, *, members=1, hard=False, shards=1, only=None, model_name="toy", **settings):
        model = self.model(members, hard)
        digests = file_digests(model["weights"], cache=None)
        parts = []
        for i in range(1, shards + 1):
            parts.append(self.folder / name / f"{i}-of-{shards}.h5")
            if only is not None and i not in only:
                continue
            attribute_shard(
                model, name=name, model=model_name, digests=digests, attribution=SETTINGS | settings, seed=1,
                engine=ENGINE, device="cpu", fasta=self.fasta, references=None, shard=f"{i}-of-{shards}",
                output=parts[-1],
            )  # fmt: skip
        merged = self.folder / name / "attributions.h5"
        merge_attributions(shards=parts, fasta=self.fasta, attributions=merged)
        return merged


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return Case(tmp_path_factory.mktemp("attributions"))


@pytest.fixture(scope="module")
def one(case):
    return case.run("one")


def arrays(path):
    with h5py.File(path) as handle:
        return {name: handle[name][...] for name in handle}


def toy(case, number):
    namespace: dict = {}
    exec(MODEL, namespace)
    module = namespace["Toy"]()
    module.load_state_dict(torch.load(case.weights[number], weights_only=True))
    return module.eval()


def test_attributions_are_tangermemes_with_the_same_references(case, one):
    from tangermeme.deep_lift_shap import deep_lift_shap

    from marginome.shuffles import dinucleotide_shuffle

    X = torch.stack([one_hot_encode(s) for s in case.sequences])
    seeds = [stable_seed(1, "references", name) for name in case.ids]
    references = dinucleotide_shuffle(X, n=4, random_state=seeds, allow_N=True)
    keep = [i for i in range(len(X)) if i != 2]  # the one with N, which tangermeme refuses
    theirs = deep_lift_shap(
        toy(case, 0), X[keep].float(), target=1, references=references[keep].float(), hypothetical=True, device="cpu"
    ).numpy()
    found = arrays(one)
    np.testing.assert_allclose(found["hypothetical"][keep], theirs, atol=1e-6)
    np.testing.assert_allclose(found["observed"][keep], (theirs * X[keep].numpy()).sum(1), atol=1e-6)
    assert (found["sequences"] == X.numpy()).all()
    assert found["seeds"].tolist() == seeds
    assert (found["observed"][2, 10:13] == 0).all()
    assert found["deltas"].shape == (19, 4) and found["deltas"].max() < 1e-5
    assert found["start"].tolist()[:2] == [0, 1000] and found["chrom"][0] == b"chr1"


@pytest.mark.parametrize("shards", [2, 5])
def test_shards_do_not_change_a_bit(case, one, shards):
    again = arrays(case.run(f"in {shards}", shards=shards))
    for name, values in arrays(one).items():
        assert (again[name] == values).all(), name


def test_half_precision_is_the_same_rounded(case, one):
    half = arrays(case.run("half", precision_bits=16))
    assert half["hypothetical"].dtype == np.float16
    assert (half["hypothetical"] == arrays(one)["hypothetical"].astype(np.float16)).all()


def test_an_ensemble_is_averaged_and_its_spread_kept(case, one):
    found = arrays(case.run("ensemble", members=3))
    from marginome.attribution import deep_lift_shap
    from marginome.shuffles import dinucleotide_shuffle

    X = torch.stack([one_hot_encode(s) for s in case.sequences])
    references = dinucleotide_shuffle(X, n=4, random_state=found["seeds"].tolist(), allow_N=True)
    members = [
        deep_lift_shap(toy(case, i), X, target=1, references=references, hypothetical=True, device="cpu").numpy()
        for i in range(3)
    ]
    np.testing.assert_allclose(found["hypothetical"], np.mean(members, 0), atol=1e-6)
    observed = [(m * X.numpy()).sum(1) for m in members]
    np.testing.assert_allclose(found["member_sd"], np.std(observed, 0, ddof=1), atol=1e-6)
    assert "member_sd" not in arrays(one)


def test_saturation_mutagenesis_is_tangermemes(case):
    from tangermeme.saturation_mutagenesis import saturation_mutagenesis

    found = arrays(case.run("ism", method="saturation_mutagenesis"))
    X = torch.stack([one_hot_encode(s) for s in case.sequences]).float()
    keep = [i for i in range(len(X)) if i != 2]
    theirs = saturation_mutagenesis(toy(case, 0), X[keep], target=1, hypothetical=True, device="cpu")
    np.testing.assert_allclose(found["hypothetical"][keep], theirs.numpy(), atol=1e-5)
    assert (found["method"] == 1).all() and found["deltas"].shape == (19, 0)


def test_integrated_gradients_go_through_the_gate(tmp_path):
    case = Case(tmp_path, 5)
    found = arrays(case.run("ig", members=2, method="integrated_gradients", max_delta=1.0))
    X = torch.stack([one_hot_encode(s) for s in case.sequences])
    references = dinucleotide_shuffle(X, n=4, random_state=found["seeds"].tolist(), allow_N=True)
    options = {"target": 1, "references": references, "hypothetical": True, "device": "cpu", "return_deltas": True}
    members = [integrated_gradients(toy(case, i), X, **options) for i in range(2)]
    np.testing.assert_allclose(found["hypothetical"], np.mean([m.attributions for m in members], 0), atol=1e-6)
    np.testing.assert_allclose(found["deltas"], np.max([m.deltas for m in members], 0), atol=1e-6)
    assert (found["method"] == 2).all()
    worst = float(found["deltas"].max())
    with pytest.raises(MarginomeError, match=r"integrated gradients add up .* on_exceed: mutagenesis"):
        case.run("ig fails", method="integrated_gradients", max_delta=worst / 100)
    mutated = case.run("ig mutated", members=2, method="integrated_gradients", max_delta=worst / 2,
                       on_exceed="mutagenesis")  # fmt: skip
    over = (found["deltas"] > worst / 2).any(1)
    assert 0 < over.sum() < len(over) and (arrays(mutated)["method"] == np.where(over, 1, 2)).all()


def test_the_gate_names_the_operation(case):
    with pytest.raises(MarginomeError, match=r"max_delta 0\.001") as caught:
        case.run("gate", hard=True)
    message = str(caught.value)
    assert "cumprod" in message and "chr1:" in message and "saturation_mutagenesis" in message
    assert not (case.folder / "gate" / "1-of-1.h5").exists()


def test_the_gate_warns_or_mutates(case, caplog):
    logging.getLogger("marginome").propagate = True
    with caplog.at_level(logging.WARNING, logger="marginome"):
        warned = arrays(case.run("warned", hard=True, on_exceed="warn"))
    assert "cumprod" in caplog.text
    over = (warned["deltas"] > 0.001).any(1)
    assert over.any() and (warned["method"] == 0).all()
    mutated = arrays(case.run("mutated", hard=True, on_exceed="mutagenesis"))
    pure = arrays(case.run("pure", hard=True, method="saturation_mutagenesis"))
    assert (mutated["method"] == over).all()
    assert (mutated["deltas"] == warned["deltas"]).all()
    np.testing.assert_allclose(mutated["hypothetical"][over], pure["hypothetical"][over], atol=1e-6)
    assert (mutated["hypothetical"][~over] == warned["hypothetical"][~over]).all()


def test_what_is_not_a_number_is_over_the_gate(case, caplog):
    logging.getLogger("marginome").propagate = True
    with pytest.raises(MarginomeError, match=r"is nan log|is nan model units, more than max_delta 0\.001; in float64"):
        case.run("nan", hard="log of 0")
    with caplog.at_level(logging.INFO, logger="marginome"):
        mutated = arrays(case.run("nan mutated", hard="log of 0", on_exceed="mutagenesis"))
    pure = arrays(case.run("nan pure", hard="log of 0", method="saturation_mutagenesis"))
    over = np.isnan(mutated["deltas"]).any(1)
    assert over.any() and (mutated["method"] == over).all()
    assert np.isfinite(mutated["hypothetical"]).all()
    np.testing.assert_allclose(mutated["hypothetical"][over], pure["hypothetical"][over], atol=1e-6)
    n = over.sum()
    assert f"largest convergence delta nan, {n} loci above 0.001, {n} by mutagenesis instead" in caplog.text


@pytest.mark.parametrize(
    ("hard", "max_delta", "told"),
    [
        (False, 1e-9, r"in float64 it is \de-1\d: this is rounding.* precision: float64"),
        (True, 1e-9, "no DeepLIFT rule for aten.cumprod"),
        ("noise", 0.001, "this is no rounding"),
    ],
)
def test_the_gate_says_rounding_only_where_float64_says_so(case, hard, max_delta, told):
    with pytest.raises(MarginomeError, match=told) as caught:
        case.run("diagnosis", hard=hard, max_delta=max_delta)
    assert ("this is rounding" in str(caught.value)) == (hard is False)


def test_a_model_that_adds_in_place_passes_the_gate(case):
    found = arrays(case.run("in place", hard="add in place"))
    assert found["deltas"].max() < 1e-5


def test_an_output_or_target_that_is_not_there(case):
    with pytest.raises(MarginomeError, match=r"no output 'counts'.*both"):
        case.run("wrong", output="counts")
    with pytest.raises(MarginomeError, match="no target 'c'"):
        case.run("wrong", target="c")
    with pytest.raises(MarginomeError, match=r"2 targets.*a, b"):
        case.run("wrong", target=None)
    with pytest.raises(MarginomeError, match="2, but there are 2 targets"):
        case.run("wrong", target=2)


def test_large_attributions_do_not_fit_into_16_bits(case):
    from marginome.jobs.attribute import Attributed, _write_block

    X = torch.stack([one_hot_encode(s) for s in case.sequences[:1]])
    large = Attributed(X * 1e5, X.float().sum(1) * 1e5, None, torch.zeros(1, 1), torch.zeros(1, dtype=torch.uint8))
    with (
        h5py.File("memory", "w", driver="core", backing_store=False) as handle,
        pytest.raises(MarginomeError, match="precision_bits"),
    ):
        _write_block(handle, ["x"], X, large, [1], 16)


def test_attributions_of_another_model_are_refused(case, one):
    with open_attributions(one, file_digests(case.weights[:1], cache=None)) as found:
        assert found.ids == case.ids and found.metadata["target"] == 1
    with (
        pytest.raises(MarginomeError, match="checksums differ"),
        open_attributions(one, file_digests(case.weights[1:2], cache=None)),
    ):
        pass


def test_a_truncated_file_is_named_and_removed(case, one):
    broken = case.folder / "broken.h5"
    broken.write_bytes(one.read_bytes()[: one.stat().st_size // 2])
    with pytest.raises(MarginomeError, match=r"broken.*damaged"), open_attributions(broken):
        pass
    assert not broken.exists()


def test_a_missing_shard_is_noticed(case, one):
    case.run("shards", shards=2)
    parts = [case.folder / "shards" / f"{i}-of-2.h5" for i in (1, 2)]
    with pytest.raises(MarginomeError, match="holds loci 0 to 16, its share is 0 to 19"):
        merge_attributions(shards=parts[:1], fasta=case.fasta, attributions=case.folder / "part.h5")


def test_seqlets_and_bed(case, one):
    table_file, bed = case.folder / "seqlets.parquet", case.folder / "seqlets.bed"
    call_seqlets(SEQLETS, attributions=one, seqlets=table_file, bed=bed)
    table = pd.read_parquet(table_file)
    found = arrays(one)
    assert len(table) and set(table["sign"]) == {"+", "-"}
    for row in table.itertuples():
        assert row.sequence == case.sequences[row.example_idx][row.start : row.end]
        assert row.attribution == pytest.approx(found["observed"][row.example_idx, row.start : row.end].sum(), abs=1e-5)
        assert row.genome_start == 1000 * row.example_idx + row.start
        assert (row.attribution > 0) == (row.sign == "+")
    lines = [line.split("\t") for line in bed.read_text().splitlines()]
    assert [(line[0], int(line[1]), int(line[2])) for line in lines] == list(
        table[["chrom", "genome_start", "genome_end"]].itertuples(index=False, name=None)
    )
    sizes = table["attribution"].abs()
    scores = np.array([int(line[4]) for line in lines])  # of BED, 0 to 1000
    assert scores.max() == 1000 and (abs(scores - 1000 * sizes / sizes.max()) <= 0.5001).all()
    assert [line[3] for line in lines] == list(table["seqlet_id"])


def test_no_seqlet_is_an_empty_table(case, one):
    table_file, bed = case.folder / "none.parquet", case.folder / "none.bed"
    call_seqlets(SEQLETS | {"min_attribution": 1e9}, attributions=one, seqlets=table_file, bed=bed)
    table = pd.read_parquet(table_file)
    assert len(table) == 0 and "seqlet_id" in table and bed.read_text() == ""
    assert table["start"].dtype == np.int64


def test_the_middle_of_all_loci_is_read_some_at_a_time(tmp_path):
    synthetic_elements(tmp_path, 260, 120)
    with h5py.File(tmp_path / "attributions.h5") as handle, open_attributions(tmp_path / "attributions.h5") as opened:
        for name in ("sequences", "hypothetical"):
            np.testing.assert_array_equal(opened.central(name, 30, 95), handle[name][:, :, 30:95])
