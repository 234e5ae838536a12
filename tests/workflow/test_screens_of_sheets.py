"""An atlas from a sheet: six models of two tissues, what they have in common, and where the tissues differ."""

from __future__ import annotations

import json
import re
import textwrap

import pandas as pd
import pytest

from workspace import MOTIFS, Workspace, jobs_of

pytestmark = [pytest.mark.workflow, pytest.mark.long]
#: Models of liver see CTCF's core, those of heart do not; each has a little of its own.
CODE = textwrap.dedent(
    """
    import torch


    class Toy(torch.nn.Module):
        def __init__(self, seed, ctcf):
            super().__init__()
            torch.manual_seed(7)
            self.conv, self.counts = torch.nn.Conv1d(4, 6, 8), torch.nn.Linear(6, 1)
            torch.manual_seed(seed)
            with torch.no_grad():
                self.conv.weight += 0.02 * torch.randn_like(self.conv.weight)
                self.conv.weight[0] = -1.0
                for i, base in enumerate("GGGGGCGC"):
                    self.conv.weight[0, "ACGT".index(base), i] = 1.0
                self.conv.bias[0] = -4.5
                self.counts.weight[0, 0] = 20.0 * ctcf + 0.2 * torch.randn(1).item()

        def forward(self, X):
            return self.counts(torch.relu(self.conv(X)).mean(-1))
    """
) + "".join(f"\n\ndef toy_{seed}():\n    return Toy({seed}, {int(seed < 3)})\n" for seed in range(7))
#: All but figures of pairs, which test_pairs.py looks at.
TARGETS = ("screens", "--omit-from", "plot_pairs", "check_entries")
SHEET = "name\tloader\tinput_length\toutputs\ttissue\n" + "".join(
    f"m{i}\ttoy.py:toy_{i}\t100\t{json.dumps({'counts': {}})}\t{'liver' if i < 3 else 'heart'}\n" for i in range(6)
)


def test_an_atlas_and_its_comparison(tmp_path):
    (tmp_path / "toy.py").write_text(CODE)
    (tmp_path / "models.tsv").write_text(SHEET)
    config = {
        "block": 16,
        "batch": 4,
        "sheets": ["models.tsv"],
        "motifs": {"jaspar": {"files": ["resources/motifs/JASPAR2026_CORE_vertebrates.meme"], "include": MOTIFS}},
        "backgrounds": {"u": {"kind": "uniform", "n": 4, "length": 100}},
        "screens": {
            "s": {"models": {"tissue": ["liver", "heart"]}, "motifs": ["jaspar"], "backgrounds": ["u"],
                  "controls": {"pool": 100},
                  "comparisons": {"tissues": {"first": {"tissue": "liver"}, "second": {"tissue": "heart"}}}},
            "two": {"models": {"tissue": "liver"}, "motifs": ["jaspar"], "backgrounds": ["u"],
                    "controls": {"pool": 100},
                    "pairs": [{"motifs": ["MA0139.2", "MA0139.2"], "gaps": [3, 6, 20], "mismatched": 40}]},
        },
    }  # fmt: skip
    workspace = Workspace(tmp_path, config)
    folder = tmp_path / "results" / "screens" / "s"
    workspace.run(*TARGETS)
    labels, specific = (pd.read_parquet(folder / f"{name}.parquet") for name in ("label_consensus", "tau"))
    assert labels.groupby("value", sort=False)["n_models"].unique().to_dict() == {"liver": [3], "heart": [3]}
    strongest = specific[specific["across"] == "tissue"].iloc[0]
    assert (strongest["strongest_in"], strongest["n"]) == ("liver", 2) and strongest["tau"] > 0.5
    assert strongest["family_representative"] in ("MA0139.2", "MA1929.2", "MA1930.2")
    page = (folder / "atlas.html").read_text()
    meta = json.loads(re.search(r'<script type="application/json" id="meta">(.*?)</script>', page, re.DOTALL)[1])
    assert meta["models"] == [f"m{i}" for i in range(6)] and len(meta["pages"]) == 6
    for model, link in zip(meta["models"], meta["pages"]):
        assert f"<title>{model}, screen s</title>" in (folder / link).read_text()
    assert (folder / "figures" / "clustermap.svg").is_file() and (folder / "figures" / "clustermap.pdf").is_file()
    table = pd.read_parquet(folder / "comparisons" / "tissues.parquet")
    assert set(table["claim"]) == {"models like these"} and len(table) == 2 * len(MOTIFS)
    ctcf = table["motif_id"].isin(["MA0139.2", "MA1929.2", "MA1930.2"])
    least = table[ctcf].groupby("motif_id")["p_models"].min()
    assert (least < 0.01).all() and table.loc[~ctcf, "p"].median() > 0.05, table[["motif_id", "difference", "p_models"]]
    assert table.loc[ctcf, "difference"].max() > 5 * table.loc[~ctcf, "difference"].abs().median()

    # Pairs: judged batch by batch, in the table of all and on the page of each model.
    pairs = pd.read_parquet(folder.parent / "two" / "pairs.parquet")
    assert pairs["model"].tolist() == ["m0", "m1", "m2"] and pairs["cooperation_p"].between(1e-9, 1).all()
    page = (folder.parent / "two" / "atlas.html").read_text()
    meta = json.loads(re.search(r'<script type="application/json" id="meta">(.*?)</script>', page, re.DOTALL)[1])
    for model, link in zip(meta["models"], meta["pages"], strict=True):
        text = (folder.parent / "two" / link).read_text()
        held = json.loads(re.search(r'<script type="application/json" id="pairs">(.*?)</script>', text, re.DOTALL)[1])
        assert held["n"] == held["of"] == 1 and 'id="pairs-section"' in text
        assert next(c["levels"] for c in held["columns"] if c["name"] == "model") == [model]

    # rows and columns in another order compute no model, and an appended row only its own, with its page alone
    header, *rows = SHEET.splitlines()
    (tmp_path / "models.tsv").write_text("\n".join([header, *reversed(rows)]) + "\n")
    ordered = rules_planned(workspace)
    assert not ordered & {"check_model", "predict_baseline", "marginalize", "summarize_batch"}, ordered
    cells = [line.split("\t") for line in (header, *rows)]
    (tmp_path / "models.tsv").write_text("".join("\t".join([*row[:1], *row[:0:-1]]) + "\n" for row in cells))
    assert not rules_planned(workspace)
    (tmp_path / "models.tsv").write_text(
        SHEET + SHEET.splitlines()[-1].replace("m5", "m6").replace("toy_5", "toy_6") + "\n"
    )
    planned = jobs_of(workspace.run(*TARGETS, "-n").stdout)
    computed = {"check_model": 1, "marginalize": 1, "summarize_batch": 1, "report_batch_of_1": 1, "report_atlas": 1}
    assert planned.items() >= computed.items() and not {"report_batch_of_4", "report_batch_of_2"} & planned.keys()


def rules_planned(workspace: Workspace) -> set[str]:
    return set(jobs_of(workspace.run(*TARGETS, "-n").stdout))
