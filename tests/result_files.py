"""A tiny but complete set of results, made by the jobs themselves with a toy model whose names may be anything."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd

from batch import write_checks
from marginome.background_set import write_background
from marginome.backgrounds import make_background
from marginome.insert_lists import insert_table
from marginome.inserts import Insert
from marginome.jobs.apply_functions import apply_functions
from marginome.jobs.attribute import attribute_shard
from marginome.jobs.marginalize import marginalize_shard
from marginome.jobs.merge_attributions import merge_attributions
from marginome.jobs.merge_batches import merge_batches
from marginome.jobs.merge_functions import merge_functions
from marginome.jobs.predict_baseline import predict_baselines
from marginome.jobs.report_screen import report_screen
from marginome.jobs.summarize_batch import summarize_batch
from marginome.jobs.summarize_screen import summarize_screen
from marginome.jobs.write_provenance import write_provenance
from marginome.placing import MIDDLE
from marginome.plots import composition_figure, save_figure
from marginome.storage import write_table

LENGTH = 60
CODE = textwrap.dedent(
    """
    import torch

    class Toy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.relu = torch.nn.Conv1d(4, 6, 7), torch.nn.ReLU()
            self.counts, self.profile = torch.nn.Linear(6, 2), torch.nn.Conv1d(6, 2, 1)

        def forward(self, X):
            h = self.relu(self.conv(X))
            return self.counts(h.mean(-1)), self.profile(h)

    def rows(model, X, args=None):
        return model(X.float()).detach()[:, :1]
    """
)
ENGINE = {"precision": "float32", "engine": "auto", "threads": 1, "device": "cpu", "memory_mb": 500}
SEQUENCES = ("TGACTCA", "GGGCGGGG", "CACGTG", "TTAACCGGT")


class Results:
    """The files of one screen and one attribution entry in a folder, and the jobs that made them.

    Parameters
    ----------
    folder : Path
    targets, profile : (str, str), str
        Names of the scalar output's two targets and of the profile output.
    motifs : sequence of str
        Ids and names of four motifs.
    model, background : str
        Their names in the config.
    """

    def __init__(
        self, folder: Path, *, targets: tuple[str, str] = ("a", "b"), profile: str = "profile",
        motifs: tuple[str, ...] = ("m0", "m1", "m2", "m3"), model: str = "toy", background: str = "uniform",
    ):  # fmt: skip
        self.folder, self.model, self.background, self.targets = folder, model, background, targets
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "toy.py").write_text(CODE)
        self.settings = {
            "loader": f"{folder / 'toy.py'}:Toy", "input_length": LENGTH,
            "outputs": {"counts": {"head": 0, "names": list(targets)}, profile: {"head": 1, "kind": "profile"}},
        }  # fmt: skip
        made = make_background({"kind": "uniform", "n": 3, "length": LENGTH}, name=background, seed=1)
        write_background(made, fasta=self.at("set.fa.gz"), bed=self.at("set.bed"), tsv=self.at("set.tsv"),
                         checks=self.at("set.json"))  # fmt: skip
        save_figure(composition_figure(made), self.at("set.svg"))
        found = {
            "block": 8,
            "engine": {"kernels": "torch"},
            "model": model,
            "input_digests": {},
            "outputs": [{"name": "counts", "measure": "difference"}],
        }
        write_checks(self.at("check.json"), **{model: found})
        listed = [Insert(i, i, "+", -(len(s) // 2), s, collection="c") for i, s in zip(motifs, SEQUENCES)]
        write_table(self.at("inserts.parquet"), insert_table(listed, {"pool": 40}, 1), {"from": MIDDLE})
        write_table(self.at("families.parquet"), pd.DataFrame(
            {"collection": "c", "motif_id": motifs, "motif_name": motifs, "family": range(4),
             "family_representative": motifs}))  # fmt: skip
        write_table(self.at("motifs.parquet"), pd.DataFrame(
            {"collection": "c", "motif_id": motifs, "motif_name": motifs,
             "pwm": [[0.25] * 4 * len(s) for s in SEQUENCES]}))  # fmt: skip

    def at(self, name: str) -> Path:
        return self.folder / name

    def shards(self, kind: str) -> list[Path]:
        return [self.at(f"{kind}/{i}-of-2.h5") for i in (1, 2)]

    def screen(self) -> None:
        """Everything from the baseline to the tables."""
        common = {"engine": ENGINE, "device": "cpu", "check": self.at("check.json"), "fasta": self.at("set.fa.gz")}
        predict_baselines(self.models, digests={self.model: {}}, **common, predictions=self.at("baseline.h5"))
        for path in self.shards("shards"):
            marginalize_shard(
                self.models, digests={self.model: {}}, **common, baseline=self.at("baseline.h5"),
                screen={"outputs": None, "keep": {"backgrounds_mb": 10, "profiles": True}},
                inserts=self.at("inserts.parquet"), shard=path.stem, output=path,
            )  # fmt: skip
        self.summarize()

    def summarize(self) -> None:
        batch = {"effects": self.at("batch/effects.parquet"), "backgrounds": self.at("batch/effects.h5"),
                 "profiles": self.at("batch/profiles.h5"), "failed": self.at("batch/failed.json")}  # fmt: skip
        summarize_batch(
            {"backgrounds": [self.background], "shards": [2]}, models=[self.model],
            inserts=[self.at("inserts.parquet")], families=[self.at("families.parquet")],
            baselines=[self.at("baseline.h5")], shards=self.shards("shards"), **batch,
        )  # fmt: skip
        self.merge_batches()

    def merge_batches(self) -> None:
        batch = self.at("batch")
        summarize_screen(
            batches={"batch": batch / "effects.parquet"}, failed=[batch / "failed.json"],
            manifest=self.at("manifest.parquet"), agreement_table=self.at("agreement.parquet"),
            consensus_table=self.at("consensus.parquet"),
        )  # fmt: skip
        merge_batches(
            parts=[batch / "effects.parquet"], part_backgrounds=[batch / "effects.h5"],
            part_profiles=[batch / "profiles.h5"], effects=self.at("effects.parquet"),
            tsv=self.at("effects.tsv.gz"), backgrounds=self.at("effects.h5"), profiles=self.at("profiles.h5"),
        )  # fmt: skip

    @property
    def models(self) -> dict[str, Any]:
        return {self.model: self.settings}

    @property
    def functions_of(self) -> dict[str, Any]:
        entries = ["saturation_mutagenesis", {"function": f"{self.at('toy.py')}:rows"}]
        return {"outputs": None, "functions": entries,
                "function_settings": {"references": "dinucleotide_shuffle", "n_references": 2, "flank": 4}}  # fmt: skip

    def functions(self) -> None:
        """What functions give before and after the inserts, merged."""
        for path in (self.at("functions/before.h5"), *self.shards("functions")):
            whole = path.stem == "before"
            apply_functions(
                self.models, name="s", digests={self.model: {}}, screen=self.functions_of, seed=1, engine=ENGINE,
                device="cpu", fasta=self.at("set.fa.gz"), inserts=None if whole else self.at("inserts.parquet"),
                shard="1-of-1" if whole else path.stem, output=path,
            )  # fmt: skip
        self.merge_functions()

    def merge_functions(self) -> None:
        merge_functions(
            {**self.functions_of, "batches": {"": [self.model]}, "backgrounds": [self.background], "shards": [2]},
            inserts=[self.at("inserts.parquet")], effects=self.at("effects.parquet"),
            before=[self.at("functions/before.h5")], shards=self.shards("functions"), top=2,
            output=self.at("functions.h5"), figure=self.at("functions.svg"),
        )  # fmt: skip

    def attributions(self, target: str) -> None:
        """The backgrounds as loci, attributed in two shards and merged."""
        for path in self.shards("attributions"):
            attribute_shard(
                self.settings, name="x", model=self.model, digests={},
                attribution={"output": "counts", "target": target, "method": "deep_lift_shap", "max_delta": 0.01,
                             "on_exceed": "fail", "references": {"kind": "dinucleotide_shuffle", "n": 2},
                             "precision_bits": 32},
                seed=1, engine=ENGINE, device="cpu", fasta=self.at("set.fa.gz"), references=None, shard=path.stem,
                output=path,
            )  # fmt: skip
        self.merge_attributions()

    def merge_attributions(self) -> None:
        merge_attributions(shards=self.shards("attributions"), fasta=self.at("set.fa.gz"),
                           attributions=self.at("attributions.h5"))  # fmt: skip

    def page(self) -> None:
        """The record and the page."""
        screen = {"models": [self.model], "backgrounds": [self.background]}
        config = {"screen": {"s": screen}, "models": {self.model: {}}, "motifs": {},
                  "backgrounds": {self.background: {"kind": "uniform", "n": 3, "length": LENGTH}}}  # fmt: skip
        write_provenance(
            self.at("provenance.json"), config=config, digests={}, code=["errors"], opened=[],
            results=[self.at("effects.parquet")], shards=self.shards("shards"), checks=[self.at("check.json")],
            command="snakemake",
        )  # fmt: skip
        report_screen(
            "s", effects=self.at("effects.parquet"), backgrounds=self.at("effects.h5"), profiles=self.at("profiles.h5"),
            baselines=[self.at("baseline.h5")], motifs=[self.at("motifs.parquet")],
            provenance=self.at("provenance.json"), functions=self.at("functions.h5"),
            pairs=None, arrangements=None, pair_backgrounds=None, page=self.at("report.html"),
        )  # fmt: skip


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file's bytes by its path in a folder."""
    paths = (Path(base) / name for base, _, names in os.walk(folder) for name in names)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
