"""A screen's shards: bit-identical however many there are, equal to the full pass, and right for ensembles."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from batch import write_checks, write_inserts
from marginome.background_set import write_background
from marginome.backgrounds import make_background
from marginome.errors import MarginomeError
from marginome.incremental import Edits, Engine, paths
from marginome.jobs import marginalize
from marginome.jobs.marginalize import _keeps_backgrounds, marginalize_blocks, marginalize_shard
from marginome.jobs.predict_baseline import predict_baselines
from marginome.jobs.runner import job
from marginome.models import load_model
from marginome.models.outputs import Output
from marginome.motifs import read_motifs
from marginome.prediction import predict
from marginome.sequences import one_hot_encode
from marginome.shards import whole_blocks
from marginome.substitution import substitute
from workspace import RESOURCES

BPNET = {"weights": str(RESOURCES / "models" / "bpnet_ctcf_k562_2114.state_dict.pt"), "input_length": 2114}
MPRA = {
    "weights": str(RESOURCES / "models" / "mpra_dragonn_conv.hdf5"),
    "architecture": str(RESOURCES / "models" / "mpra_dragonn_conv.model.json"),
    "outputs": {"tasks": {"names": [f"task {i}" for i in range(12)]}},
}
ENGINE = {"precision": "float32", "engine": "auto", "threads": 1, "memory_mb": 500}
SCREEN = {"outputs": None, "keep": {"backgrounds_mb": 10, "profiles": True}}


class Bench:
    """Everything a shard job reads, made for one model."""

    def __init__(self, folder, settings: dict, *, length: int, n: int = 3, motifs: int = 20, block: int = 1,
                 precision: str = "float32"):  # fmt: skip
        self.folder, self.settings = folder, settings
        made = make_background({"kind": "uniform", "n": n, "length": length}, name="u", seed=1)
        self.sequences = made.sequences
        write_background(made, fasta=folder / "u.fa.gz", bed=folder / "u.bed", tsv=folder / "u.tsv")
        found = read_motifs(RESOURCES / "motifs" / "JASPAR2026_CORE_vertebrates.meme")
        found = [m for m in found if m.motif_id == "MA0139.2"] + found[: motifs - 1]
        inserts = [m.consensus for m in found]
        starts = [length // 2 - len(s) // 2 for s in inserts]
        self.table = pd.DataFrame(
            {"insert": inserts, "start": starts, "role": ["motif"] * 15 + ["control"] * (motifs - 15)}
        )
        write_inserts(folder / "inserts.parquet", self.table)
        write_checks(folder / "check.json", m={"block": block, "engine": {"kernels": "torch"}})
        predict_baselines({"m": settings}, digests={"m": {}}, engine=ENGINE | {"precision": precision}, device="cpu",
                          check=folder / "check.json", fasta=folder / "u.fa.gz",
                          predictions=folder / "base.h5")  # fmt: skip

    def run(self, shards: int, **engine) -> dict[str, np.ndarray]:
        """Compute all shards and put them together."""
        parts: list[dict] = []
        for i in range(1, shards + 1):
            file = self.folder / f"{i}-of-{shards}.h5"
            marginalize_shard(
                {"m": self.settings}, digests={"m": {}}, screen=SCREEN, engine=ENGINE | engine, device="cpu",
                check=self.folder / "check.json", fasta=self.folder / "u.fa.gz", baseline=self.folder / "base.h5",
                inserts=self.folder / "inserts.parquet", shard=f"{i}-of-{shards}", output=file,
            )  # fmt: skip
            with h5py.File(file) as handle:
                part, names = handle["m"], []
                part.visit(names.append)
                found = {name: part[name][...] for name in names if isinstance(part[name], h5py.Dataset)}
                self.engine = json.loads(part.attrs["engine"])
                parts.append(found)
        return {name: np.concatenate([p[name] for p in parts if name in p]) for name in parts[0]}

    @cached_property
    def whole(self) -> dict[str, np.ndarray]:
        """All of it by one shard, computed once for all tests that compare with it."""
        return self.run(1)


@pytest.fixture(scope="module")
def mpra(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("mpra"), MPRA, length=145)


@pytest.fixture(scope="module")
def bpnet(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bpnet"), BPNET, length=2114, block=4)


@pytest.mark.parametrize("shards", [3, 16])
def test_any_number_of_shards_gives_the_same_bits(mpra, shards):
    one, many = mpra.whole, mpra.run(shards)
    assert set(one) == set(many) and {"effect", "effect_sd", "after_mean", "effects"} <= set(one)
    for name in one:
        np.testing.assert_array_equal(one[name], many[name], err_msg=name)


def test_profiles_too(bpnet):
    one, many = bpnet.whole, bpnet.run(3)
    assert one["profiles/profile/logits"].shape == (15, 2, 1000)  # motifs only
    for name in one:
        np.testing.assert_array_equal(one[name], many[name], err_msg=name)


def test_the_incremental_engine_gives_the_numbers_of_the_full_pass(bpnet):
    incremental = bpnet.run(1)
    assert bpnet.engine["path"] == "incremental"
    full = bpnet.run(1, engine="full")
    assert bpnet.engine["path"] == "full"
    for name in ("effect", "after_mean", "profiles/profile/logits"):
        np.testing.assert_allclose(incremental[name], full[name], atol=2e-5, err_msg=name)


def _memory_runs_out(monkeypatch, times):
    """Let the first batches of edits, or all, fail as on a GPU that is full; the engine has been checked before."""
    original, run = marginalize.marginalize_blocks, paths.Plan.run
    left = iter(range(times))

    def failing(*args, **kwargs):
        if next(left, None) is not None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")
        return run(*args, **kwargs)

    def blocks(*args, **kwargs):
        monkeypatch.setattr(paths.Plan, "run", failing)
        return original(*args, **kwargs)

    monkeypatch.setattr(marginalize, "marginalize_blocks", blocks)


def test_a_shard_that_runs_out_of_memory_does_less_at_a_time(bpnet, monkeypatch):
    want = bpnet.whole
    _memory_runs_out(monkeypatch, 1)
    found = bpnet.run(1)
    (note,) = bpnet.engine["notes"]  # kept with the result
    assert "memory ran out: batches of pairs 2 times smaller" in note
    assert found.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-5, atol=2e-6, err_msg=name)


def test_a_shard_for_which_memory_never_suffices_says_so_and_writes_nothing(bpnet, monkeypatch, tmp_path):
    _memory_runs_out(monkeypatch, 10**9)
    (bpnet.folder / "1-of-1.h5").unlink(missing_ok=True)
    with pytest.raises(SystemExit), job(tmp_path / "job.log"):
        bpnet.run(1)
    lines = (tmp_path / "job.log").read_text().splitlines()
    assert any("batches of pairs 2 times smaller" in line for line in lines)
    assert "ERROR: memory ran out: CUDA out of memory" in lines[-1] and "Traceback" not in "".join(lines)
    assert not list(bpnet.folder.glob("*1-of-1.h5"))


def test_effects_are_those_of_plain_predictions(bpnet):
    """Insert by insert: substitute, predict, subtract, average."""
    found = bpnet.whole
    model = load_model("m", BPNET).module
    X = torch.stack([one_hot_encode(s) for s in bpnet.sequences])
    before = predict(model, X, device="cpu")[1].double()
    for i in (0, 7, 19):
        row = bpnet.table.iloc[i]
        after = predict(model, substitute(X, row["insert"], start=row["start"]), device="cpu")[1].double()
        assert found["effect"][i, 0] == pytest.approx((after - before).mean().item(), abs=1e-5)
        assert found["after_mean"][i, 0] == pytest.approx(after.mean().item(), abs=1e-5)


def test_an_ensemble_has_the_mean_effect_and_the_spread_of_its_members(tmp_path):
    state = torch.load(BPNET["weights"], weights_only=True)
    other = {k: v * 1.1 if k == "linear.weight" else v for k, v in state.items()}
    torch.save(other, tmp_path / "other.pt")
    both = Bench(tmp_path, {"weights": [BPNET["weights"], str(tmp_path / "other.pt")], "input_length": 2114},
                 length=2114, n=2, motifs=16)  # fmt: skip
    found = both.run(1)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a = Bench(tmp_path / "a", BPNET, length=2114, n=2, motifs=16).run(1)["effect"][:, 0]
    b = Bench(tmp_path / "b", {"weights": str(tmp_path / "other.pt"), "input_length": 2114},
              length=2114, n=2, motifs=16).run(1)["effect"][:, 0]  # fmt: skip
    np.testing.assert_allclose(found["effect"][:, 0], (a + b) / 2, atol=1e-5)
    np.testing.assert_allclose(found["effect_fold_sd"][:, 0], np.std([a, b], axis=0, ddof=1), atol=1e-5)
    assert "effect_by_member" not in found  # pairs alone need it


def test_raw_predictions_are_kept_when_asked_for(mpra, monkeypatch):
    assert not any(name.startswith("predictions") for name in mpra.whole)
    monkeypatch.setitem(SCREEN["keep"], "predictions", True)
    found = mpra.run(2)
    raw = found["predictions/tasks"]
    assert raw.shape == (20, 3, 12)
    np.testing.assert_allclose(raw.astype(np.float64).mean(1), found["after_mean"], atol=1e-6)


def test_a_shard_is_a_run_of_whole_blocks():
    for n, block, shards in [(20, 3, 4), (5, 10, 3), (100, 7, 16), (0, 4, 2)]:
        runs = [whole_blocks(n, block, i, shards) for i in range(1, shards + 1)]
        rows = [r for run in runs for s in run for r in range(s.start, s.stop)]
        assert rows == list(range(n))
        assert all(s.start % block == 0 for run in runs for s in run)


SATURATED = """
import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.dense = torch.nn.Conv1d(4, 8, 7), torch.nn.Linear(8, 1)

    def forward(self, X):
        return torch.sigmoid(20 + self.dense(self.conv(X).relu().mean(2)))
"""


def test_effects_of_single_backgrounds_are_kept_up_to_a_size():
    for inserts, kept in ((1 << 15, True), ((1 << 15) + 1, False)):
        array = np.broadcast_to(np.float32(0), (inserts, 4, 8))
        assert (array.nbytes <= 4 << 20) == kept == _keeps_backgrounds(*array.shape, {"backgrounds_mb": 4})


def test_effects_on_saturated_outputs_exist_in_float64(tmp_path):
    """1 - p is 2e-9: float32 has no number between it and 1, so every effect is 0; float64 against brute force."""
    (tmp_path / "own.py").write_text(SATURATED)
    settings = {"loader": f"{tmp_path}/own.py:Model", "input_length": 60, "outputs": {"p": {}}}
    found = {}
    for precision in ("float32", "float64"):
        folder = tmp_path / precision
        folder.mkdir()
        bench = Bench(folder, settings, length=60, precision=precision)
        found[precision] = bench.run(1, precision=precision)["effects"]
    assert not found["float32"].any()
    module = load_model("m", settings).module.double()
    X = torch.stack([one_hot_encode(s) for s in bench.sequences])
    for i, row in bench.table.iterrows():
        edited = substitute(X, row["insert"], start=int(row["start"]))
        with torch.no_grad():
            expected = (module(edited.double()) - module(X.double()))[:, 0]
        np.testing.assert_allclose(found["float64"][i, :, 0], expected, rtol=1e-4, atol=1e-16)
    assert np.abs(found["float64"]).max() > 1e-12


def test_an_infinite_effect_and_a_measure_that_fails_name_the_output(tmp_path):
    class Given(torch.nn.Module):
        def forward(self, X):
            return {"y": torch.log(X[:, 0, 20:40].sum(1, keepdim=True) * 0 + (X[:, 0, 30:31] > 0))}

    X = torch.stack([one_hot_encode("C" * 30 + "A" + "C" * 29)] * 2)
    edits = Edits.stack([one_hot_encode("C")], [30])
    output = Output("y", names=("y",), shape=(1,))
    engine = Engine(Given(), X, engine="full")
    run = {"blocks": [slice(0, 1)], "with_profiles": [False]}
    with pytest.raises(
        MarginomeError, match="output 'y', measure difference: the effect is NaN or infinite for 1 of 1"
    ):
        list(marginalize_blocks(engine, [output], engine.before, edits, **run))
    code = "def fails(before, after):\n    return before[7]\n\n\ndef counts(before, after):\n    return 3\n"
    (tmp_path / "own.py").write_text(code)
    for name, message in (("fails", "it failed on .* IndexError"), ("counts", "it returned int for 2 pairs")):
        own = replace(output, measure=f"{tmp_path}/own.py:{name}")
        with pytest.raises(MarginomeError, match=f"output 'y', measure .*own.py:{name}: {message}"):
            list(marginalize_blocks(engine, [own], engine.before, edits, **run))
