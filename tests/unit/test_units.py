"""The unit of work: its numbers depend on no other unit, whatever batch its model is in and however it is cut."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from batch import write_checks
from marginome.background_set import write_background
from marginome.backgrounds import make_background
from marginome.batch_files import failed_records, read_record
from marginome.controls import list_controls
from marginome.discoveries import controls_needed
from marginome.effects import probabilities
from marginome.errors import MarginomeError
from marginome.figures.profiles import profiles_figure
from marginome.insert_lists import insert_table
from marginome.inserts import list_inserts
from marginome.jobs.check_model import check_models
from marginome.jobs.marginalize import marginalize_shard
from marginome.jobs.merge_batches import merge_batches
from marginome.jobs.predict_baseline import predict_baselines
from marginome.jobs.report_model import report_model
from marginome.jobs.runner import job
from marginome.jobs.summarize_batch import _probabilities, summarize_batch
from marginome.jobs.summarize_screen import summarize_screen
from marginome.model_check import engine
from marginome.motifs import read_motifs
from marginome.motifs.motif import motif_from_sequence
from marginome.placing import MIDDLE, place
from marginome.results import read_profiles, unsigned_measures
from marginome.storage import read_table, write_table
from marginome.units import controls_of, of_list, shards_of
from workspace import RESOURCES

LENGTH = 80
CODE = textwrap.dedent(
    """
    import torch

    class Toy(torch.nn.Module):
        def __init__(self, seed):
            super().__init__()
            torch.manual_seed(seed)
            self.conv, self.relu = torch.nn.Conv1d(4, 6, 7), torch.nn.ReLU()
            self.counts, self.profile = torch.nn.Linear(6, 2), torch.nn.Conv1d(6, 2, 1)
            self.broken = seed == 13
            self.told = seed

        def forward(self, X):
            if self.broken:
                raise ValueError("no such luck")
            h = self.relu(self.conv(X))
            return self.counts(h.mean(-1)), self.profile(h)
    """
) + "".join(f"\n\ndef toy_{seed}():\n    return Toy({seed})\n" for seed in (0, 1, 2, 3, 4, 13))
ENGINE = {"precision": "float32", "engine": "auto", "threads": 1, "device": "cpu", "memory_mb": 300, "block": 8}
SCREEN = {"outputs": None, "keep": {"backgrounds_mb": 10, "profiles": True}}
BACKGROUNDS = ("one",)


class Screen:
    """A screen of toy models by their seeds, in batches, lists and shards; the jobs that a run would start."""

    def __init__(self, folder: Path, batches: dict[str, list[int]], lists: dict[str, list], shards: int = 1):
        self.folder, self.lists, self.count = folder, lists, shards
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "toy.py").write_text(CODE)
        self.batches = {
            name: {
                f"m{seed}": {"loader": f"{folder / 'toy.py'}:toy_{seed}", "input_length": LENGTH,
                             "outputs": {"counts": {"head": 0, "names": ["a", "b"]},
                                         "profile": {"head": 1, "kind": "profile", "bin": 1}}}
                for seed in seeds
            }
            for name, seeds in batches.items()
        }  # fmt: skip
        for number, name in enumerate(BACKGROUNDS):
            made = make_background({"kind": "uniform", "n": 3, "length": LENGTH}, name=name, seed=number)
            write_background(made, fasta=folder / f"{name}.fa.gz", bed=folder / "x.bed", tsv=folder / "x.tsv")
        for name, motifs in lists.items():
            listed = list_inserts(motifs, length=None, collection=name)
            write_table(folder / f"{name}.parquet", insert_table(listed, {"pool": 60}, 1), {"from": MIDDLE})
            families = {"collection": name, "motif_id": [m.motif_id for m in motifs], "family": 0,
                        "family_representative": motifs[0].motif_id}  # fmt: skip
            write_table(folder / f"{name}.families.parquet", pd.DataFrame(families))

    def run(self) -> None:
        for batch in self.batches:
            self.pass_check(batch)
            self.baselines(batch)
            for path in self.shards(batch):
                self.marginalize(batch, path)
            self.summarize(batch)
        self.merge()

    def at(self, batch: str, name: str) -> Path:
        return self.folder / batch / name

    def common(self, batch: str) -> dict:
        models = self.batches[batch]
        return {"digests": {name: {} for name in models}, "engine": ENGINE, "device": "cpu"}

    def pass_check(self, batch: str) -> None:
        """What later jobs read of a check, which takes seconds."""
        found = {name: {"block": ENGINE["block"], "engine": {"kernels": "torch"}} for name in self.batches[batch]}
        write_checks(self.at(batch, "check.json"), **found)

    def check(self, batch: str) -> None:
        check_models(self.batches[batch], **self.common(batch), json=self.at(batch, "check.json"))

    def baselines(self, batch: str) -> None:
        for background in BACKGROUNDS:
            predict_baselines(
                self.batches[batch], **self.common(batch), check=self.at(batch, "check.json"),
                fasta=self.folder / f"{background}.fa.gz", predictions=self.at(batch, f"{background}.h5"),
            )  # fmt: skip

    def shards(self, batch: str) -> list[Path]:
        return [
            self.at(batch, f"{background}/{name}/{shard}.h5")
            for background in BACKGROUNDS
            for name in self.lists
            for shard in shards_of(self.count, name)
        ]

    def marginalize(self, batch: str, path: Path) -> None:
        background, name = path.parts[-3:-1]
        marginalize_shard(
            self.batches[batch], **self.common(batch), screen=SCREEN, check=self.at(batch, "check.json"),
            fasta=self.folder / f"{background}.fa.gz", baseline=self.at(batch, f"{background}.h5"),
            inserts=self.folder / f"{name}.parquet", shard=path.stem, output=path,
        )  # fmt: skip

    def summarize(self, batch: str) -> None:
        summarize_batch(
            {"backgrounds": list(BACKGROUNDS), "shards": [self.count] * len(self.lists)},
            models=list(self.batches[batch]), inserts=[self.folder / f"{name}.parquet" for name in self.lists],
            families=[self.folder / f"{name}.families.parquet" for name in self.lists],
            baselines=[self.at(batch, f"{background}.h5") for background in BACKGROUNDS], shards=self.shards(batch),
            effects=self.at(batch, "effects.parquet"), backgrounds=self.at(batch, "effects.h5"),
            profiles=self.at(batch, "profiles.h5"), failed=self.at(batch, "failed.json"),
        )  # fmt: skip

    def merge(self) -> None:
        def parts(name: str) -> list[Path]:
            return [self.at(batch, name) for batch in self.batches]

        summarize_screen(
            batches=dict(zip(self.batches, parts("effects.parquet"))), failed=parts("failed.json"),
            manifest=self.folder / "manifest.parquet", agreement_table=self.folder / "agreement.parquet",
            consensus_table=self.folder / "consensus.parquet",
        )  # fmt: skip
        merge_batches(
            parts=parts("effects.parquet"), part_backgrounds=parts("effects.h5"), part_profiles=parts("profiles.h5"),
            effects=self.folder / "effects.parquet", tsv=self.folder / "effects.tsv.gz",
            backgrounds=self.folder / "effects.h5", profiles=self.folder / "profiles.h5",
        )  # fmt: skip

    def table(self) -> pd.DataFrame:
        return read_table(self.folder / "effects.parquet")

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything of the merged HDF5 files."""
        found: dict[str, np.ndarray] = {}
        for name in ("effects.h5", "profiles.h5"):
            with h5py.File(self.folder / name) as handle:
                handle.visititems(
                    lambda path, item, name=name: (
                        found.update({f"{name}/{path}": item[...]}) if isinstance(item, h5py.Dataset) else None
                    )
                )
        return found


@pytest.fixture(scope="module")
def motifs():
    return read_motifs(RESOURCES / "motifs" / "JASPAR2026_CORE_vertebrates.meme")


@pytest.fixture(scope="module")
def lists(motifs):
    return {"jaspar": motifs[:12], "mine": motifs[20:23]}


@pytest.fixture(scope="module")
def alone(tmp_path_factory, lists):
    """Four models, a batch each."""
    made = Screen(tmp_path_factory.mktemp("alone"), {f"m{i}": [i] for i in range(4)}, lists)
    made.run()
    return made


def same(first: Screen, second: Screen) -> None:
    pd.testing.assert_frame_equal(first.table(), second.table(), check_exact=True)
    a, b = first.arrays(), second.arrays()
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_a_run_stores_which_measures_are_unsigned(alone):
    assert unsigned_measures(alone.folder / "effects.h5") == ["jensen_shannon_distance"]  # of counts: difference


SUMMARY = """
import json, sys
from marginome.jobs.summarize_batch import summarize_batch
screen, given = json.loads(sys.argv[1])
summarize_batch(screen, **given)
assert "torch" not in sys.modules, "PyTorch was imported"
"""


def test_a_batch_with_profiles_is_summarized_without_pytorch(alone, lists, tmp_path):
    """Its import took half of the job."""
    with mock.patch(f"{__name__}.summarize_batch") as call:
        alone.summarize("m0")
    made = {name: tmp_path / alone.at("m0", call.call_args[1][name]).name
            for name in ("effects", "backgrounds", "profiles", "failed")}  # fmt: skip
    given = json.dumps([*call.call_args[0], {**call.call_args[1], **made}], default=str)
    subprocess.run([sys.executable, "-c", SUMMARY, given], check=True)
    mine, theirs = (read_table(where / "effects.parquet") for where in (tmp_path, alone.folder / "m0"))
    pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


@pytest.mark.parametrize("softmax", ["strand", None])
def test_probabilities_of_a_summary_are_those_of_pytorch(softmax):
    logits = np.random.default_rng(0).normal(0, 30, (3, 2, 500)).astype(np.float32)
    wanted = probabilities(torch.from_numpy(logits), softmax).numpy()
    np.testing.assert_allclose(_probabilities(logits, softmax), wanted, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_batch_of_four_gives_the_bits_of_models_alone(tmp_path, alone, lists, shards):
    four = Screen(tmp_path, {"atlas-1": [0, 1, 2, 3]}, lists, shards)
    four.run()
    same(alone, four)


def test_so_it_does_in_more_shards_than_there_are_blocks(tmp_path, alone, lists):
    two = Screen(tmp_path, {"atlas-1": [0, 1]}, {"mine": lists["mine"]}, 16)
    two.run()
    wanted = alone.table()
    wanted = wanted[wanted["model"].isin(["m0", "m1"]) & (wanted["collection"] == "mine")].reset_index(drop=True)
    pd.testing.assert_frame_equal(two.table().drop(columns="q"), wanted.drop(columns="q"), check_exact=True)


def test_a_list_depends_on_no_other(tmp_path, alone, motifs, lists):
    """With another list beside it, every number of a row is as it was, but q, which is the screen's."""
    one = Screen(tmp_path, {"m0": [0]}, {"jaspar": lists["jaspar"]})
    one.run()
    both = alone.table()
    both = both[(both["model"] == "m0") & (both["collection"] == "jaspar")].reset_index(drop=True)
    pd.testing.assert_frame_equal(one.table().drop(columns="q"), both.drop(columns="q"), check_exact=True)
    assert not np.array_equal(one.table()["q"], both["q"])


def test_a_model_that_fails_in_the_middle_of_a_batch_costs_only_itself(tmp_path, alone, lists, monkeypatch):
    """One whose check fails, one whose baseline fails, one that fails in a shard."""
    broken = Screen(tmp_path, {"atlas-1": [0, 13, 1], "atlas-2": [2, 3, 4]}, lists)
    (batch, other) = broken.batches
    broken.check(batch)
    assert failed_records(broken.at(batch, "check.json")).keys() == {"m13"}
    with pytest.raises(MarginomeError, match=r"model 'm13': it failed: .*no such luck.*atlas-1/check\.json"):
        read_record(broken.at(batch, "check.json"), "m13")
    report_model(batch, check=broken.at(batch, "check.json"), page=broken.at(batch, "check.html"))
    page = broken.at(batch, "check.html").read_text()
    assert "m13: it failed" in page and "no such luck" in page and "m0: Verdict" in page and "m1: Verdict" in page
    broken.baselines(batch)
    for path in broken.shards(batch):
        broken.marginalize(batch, path)
    broken.summarize(batch)

    broken.pass_check(other)
    from marginome.jobs import marginalize as module

    original = module.marginalize_blocks

    def fails(runner, *given, **named):
        if _told(runner.model) == 3:
            raise RuntimeError("a bug in the third model\nmore of it")
        return original(runner, *given, **named)

    broken.baselines(other)
    first, *rest = broken.shards(other)
    monkeypatch.setattr(module, "marginalize_blocks", fails)
    broken.marginalize(other, first)
    monkeypatch.undo()
    for path in rest:
        broken.marginalize(other, path)
    with h5py.File(first) as handle:
        assert (
            handle["m3"].attrs["error"] == f"RuntimeError: a bug in the third model ({first})"
            and len(handle["m3"]) == 0
        )
        assert "effect" in handle["m2"] and "effect" in handle["m4"]
    broken.summarize(other)
    with pytest.raises(SystemExit), job(tmp_path / "job.log"):
        broken.merge()
    last = (tmp_path / "job.log").read_text().splitlines()[-1]
    assert "ERROR: 2 models failed (m13, m3); the first: model 'm13': it failed: " in last and "no such luck" in last
    assert str(broken.at(batch, "check.json")) in last
    # the others are there to the last bit, and a merge without the two has them
    for name, kept in (("atlas-1", ["m0", "m1"]), ("atlas-2", ["m2", "m4"])):
        found = read_table(broken.at(name, "effects.parquet"))
        assert [m for m in dict.fromkeys(found["model"]) if m != "m3"] == kept
    for model in ("m0", "m1", "m2"):
        found = pd.concat([read_table(broken.at(name, "effects.parquet")) for name in broken.batches])
        mine, wanted = (t[t["model"] == model].reset_index(drop=True) for t in (found, alone.table()))
        np.testing.assert_array_equal(mine["effect"], wanted["effect"])
        np.testing.assert_array_equal(mine["p"], wanted["p"])


def _told(module) -> int:
    """The seed of the toy model inside a module."""
    return next(m.told for m in module.modules() if hasattr(m, "told"))


def test_a_model_alone_that_fails_stops_its_job_at_once(tmp_path, lists):
    broken = Screen(tmp_path, {"m13": [13]}, lists)
    with pytest.raises(MarginomeError, match="no such luck"):
        broken.check("m13")
    assert not broken.at("m13", "check.json").exists()


def test_memory_that_runs_out_is_no_fault_of_the_model(tmp_path, lists, monkeypatch):
    """The whole batch is tried again, with more."""
    four = Screen(tmp_path, {"atlas": [0, 1]}, lists)
    write_checks(four.at("atlas", "check.json"), m0={}, m1={})
    from marginome.jobs import predict_baseline as module

    def runs_out(*given, **named):
        raise MemoryError

    monkeypatch.setattr(module, "predict", runs_out)
    with pytest.raises(MemoryError):
        four.baselines("atlas")


def test_models_of_other_kinds_make_one_table(tmp_path, lists):
    """A column that only some models have is null for the others."""
    made = Screen(tmp_path, {"m0": [0], "m1": [1]}, {"mine": lists["mine"]})
    for entry in made.batches["m1"].values():
        entry["outputs"].pop("profile")
    made.run()
    table = made.table()
    assert table.loc[table["output"] == "profile", "largest_change_bp"].notna().all()
    assert table.loc[table["model"] == "m1", "largest_change_bp"].isna().all()


BINNED = """
import torch

class Binned(torch.nn.Module):
    '''Logits of the middle bins of eight bases: how many G are in them.'''

    def forward(self, X):
        return 8 * torch.nn.functional.avg_pool1d(X[:, 2:3], 8)[..., 1:-1]
"""


def test_a_profile_in_bins_is_in_tables_and_figures_at_its_bases(tmp_path, lists):
    """A run of G fills one bin and not the one beside it; of a model whose bins are not known values are counted."""
    runs = [motif_from_sequence("G" * 15, "run", "test", "", 0, "test")]
    made = Screen(tmp_path, {"m0": [0], "m1": [1]}, {"mine": runs})
    (tmp_path / "bins.py").write_text(BINNED)
    for name, told in (("m0", {"bin": 8}), ("m1", {})):
        made.batches[name][name] |= {"loader": f"{tmp_path / 'bins.py'}:Binned",
                                     "outputs": {"profile": {"kind": "profile"} | told}}  # fmt: skip
    made.run()
    table = made.table().query("motif_id == 'run' and orientation == '+'").set_index("model")
    assert table.at["m0", "start"] == 33 and table.at["m0", "largest_change_bp"] == 40
    assert table.at["m1", "start"] == 33 and pd.isna(table.at["m1", "largest_change_bp"])
    with h5py.File(tmp_path / "profiles.h5") as handle:
        known, unknown = read_profiles(handle, made.table())
        assert (known.first, known.step) == (8, 8) and unknown.step == 0
        figures = [profiles_figure([block], made.table(), top=1) for block in (known, unknown)]
    assert [f.get_supxlabel().partition(" ")[0] for f in figures] == ["position", "number"]
    lines = [list(f.axes[0].lines[0].get_xdata()) for f in figures]
    assert lines == [[11.5, 19.5, 27.5, 35.5, 43.5, 51.5, 59.5, 67.5], [0, 1, 2, 3, 4, 5, 6, 7]]
    assert [len(f.axes[0].patches) for f in figures] == [1, 0]


@pytest.mark.parametrize("length", [80, 81, 2114])
@pytest.mark.parametrize("positions", ["centre", 7, [3, 9], {"start": 2, "stop": 30, "step": 9}])
def test_a_list_placed_later_is_one_that_knew_the_length(motifs, positions, length):
    few, pairs = motifs[:3], [{"motifs": [motifs[0].motif_id, motifs[1].motif_id], "gaps": [2, 5]}]
    for given in ({}, {"pairs": pairs}):
        known = list_inserts(few, positions=positions, length=length, **given)
        if given:  # a list of pairs is in the order of places
            known.sort(key=lambda i: (i.start, len(i.sequence)))
        later = insert_table(list_inserts(few, positions=positions, length=None, **given), False, 1)
        placed = place(later, length, counted_from=MIDDLE if positions == "centre" else "first base")
        assert list(placed["start"]) == [i.start for i in known]
        assert list(placed["insert"]) == [i.sequence for i in known]
        assert list(placed["insert_id"]) == [i.insert_id for i in known]


def test_how_many_controls_a_list_has(motifs):
    """A number of its own where the config names one; else as many as inserts, within limits."""
    few, some, many = (list_inserts(motifs[:n], length=None, collection="c") for n in (3, 7, 60))

    def count(listed, controls):
        return int((insert_table(listed, controls, 1)["role"] == "control").sum())

    assert count(few, {}) == 300
    distinct = len({i.sequence for i in some})
    assert count(some, {}) == pytest.approx(40 * distinct, abs=3) and count(many, {}) == pytest.approx(1000, abs=3)
    # enough that one insert alone that does more than all of them is a finding among the list's own
    assert count(some, {}) + 3 >= controls_needed(distinct) > 300
    assert count(few, controls_of({"pool": {"mine": 60}}, "mine")) == 60
    assert count(few, controls_of({"pool": {"mine": 60}}, "other")) == 300
    assert count(few, controls_of({"pool": 50}, "mine")) == 50
    assert controls_of(False, "mine") is False
    # which they are does not depend on what else there is: the same draw as of this list alone
    drawn = list_controls([(s, s) for s in {i.sequence for i in few}], n=50, seed=1)
    table = insert_table(few, {"pool": 50}, 1)
    assert tuple(table.loc[table["role"] == "control", "insert"]) == drawn.sequences


def test_a_setting_for_all_lists_or_by_name():
    assert of_list(4, "a") == 4 and of_list({"a": 2}, "a") == 2 and of_list({"a": 2}, "b") is None
    assert shards_of(3, "a") == ["1-of-3", "2-of-3", "3-of-3"]
    assert shards_of({"a": 2}, "a") == ["1-of-2", "2-of-2"] and shards_of({"a": 2}, "b") == ["1-of-1"]


def test_what_a_part_was_made_with_stays_with_it(alone):
    with h5py.File(alone.shards("m0")[0]) as handle:
        assert json.loads(handle["m0"].attrs["marginome"])["model"] == "m0"


def test_a_models_architecture_is_measured_once_in_a_batch(tmp_path, lists):
    """What depends on its weights is looked at in each."""
    three = Screen(tmp_path, {"atlas": [0, 13, 1]}, lists)
    three.check("atlas")
    path = three.at("atlas", "check.json")
    first, second = (read_record(path, name) for name in ("m0", "m1"))
    assert failed_records(path).keys() == {"m13"}  # of the same architecture, and it does not run
    assert first["measured_on"] is None and second["measured_on"] == "m0"
    for key in ("block", "pairs_per_second", "sequences_per_second"):
        assert first[key] == second[key]
    assert first["engine"]["check_error"] is not None and second["engine"]["check_error"] is None
    assert first["engine"]["path"] == second["engine"]["path"] == "incremental"
    assert first["attribution"]["deltas"] and not second["attribution"]
    assert first["outputs"][0]["mean"] != second["outputs"][0]["mean"] and second["precision_error"]
    report_model("atlas", check=path, page=tmp_path / "check.html")
    assert "measured on m0, which has the same architecture" in (tmp_path / "check.html").read_text()


def test_of_a_stated_block_only_its_own_speed_is_measured(tmp_path, lists, monkeypatch):
    """The run takes it whatever others give; it is not waited for where it is slow."""
    made = Screen(tmp_path, {"m0": [0]}, {"mine": lists["mine"]})
    for seconds, sizes in ((10.0, {"8"}), (0.0, {"16"})):
        monkeypatch.setattr(engine, "BLOCK_SECONDS", seconds)
        made.check("m0")
        check = read_record(made.at("m0", "check.json"), "m0")
        assert check["engine"]["path"] == "incremental" and check["block"] == 8
        assert check["pairs_per_second"].keys() == sizes
