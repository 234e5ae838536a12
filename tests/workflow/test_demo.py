"""The small demo, really run: its tables say what is known of the model, and agree with the peer."""

from __future__ import annotations

import json
import random
import shutil

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from scipy import special, stats
from scipy.spatial import distance
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW
from tangermeme.marginalize import marginalize as peer_marginalize

from marginome.discoveries import add_q
from marginome.errors import MarginomeError
from marginome.fasta import read_background
from marginome.models import load_model
from marginome.results import read_screen
from marginome.sequences import one_hot_encode
from marginome.storage import sha256_of
from marginome.tables import EFFECTS
from workspace import MOTIFS, RESOURCES, Workspace, rules_run, small_config

pytestmark = pytest.mark.workflow
WEIGHTS = RESOURCES / "models" / "bpnet_ctcf_k562_2114.state_dict.pt"
CTCF = ["MA0139.2", "MA1929.2", "MA1930.2"]
SCREEN = "results/screens/ctcf_jaspar"


@pytest.fixture(scope="module")
def effects(finished):
    return pd.read_parquet(finished.path(SCREEN, "effects.parquet"))


def test_every_file_that_the_readme_names_is_there(finished):
    for name in ("effects.parquet", "effects.tsv.gz", "effects.h5", "profiles.h5", "report.html", "provenance.json",
                 "inserts/jaspar.parquet", "families/jaspar.parquet", "agreement.parquet",
                 "consensus.parquet"):  # fmt: skip
        assert finished.path(SCREEN, name).stat().st_size > 0, name
    for figure in ("heatmap", "before_after", "profiles", "logos"):
        assert b"<svg" in finished.path(SCREEN, "figures", f"{figure}.svg").read_bytes()[:2000]
    for name in ("index.html", "README.md", "models/bpnet_ctcf/check.json", "models/bpnet_ctcf/check.html"):
        assert finished.path("results", name).stat().st_size > 0, name
    for background in ("gc_matched", "shuffled_peaks"):
        for suffix in ("fa.gz", "bed", "tsv", "svg", "json", "html"):
            assert finished.path(f"results/backgrounds/{background}.{suffix}").exists()


def test_the_table_has_the_columns_of_the_schema(finished, effects):
    known = {column.name: column for column in EFFECTS}
    schema = pq.read_schema(finished.path(SCREEN, "effects.parquet"))
    assert set(schema.names) <= set(known)
    assert {c.name for c in EFFECTS if c.required} <= set(schema.names)
    assert all(schema.field(name).type == known[name].type for name in schema.names)
    assert len(effects) == len(MOTIFS) * 2 * 2 * 2  # orientations, background sets, outputs
    tsv = pd.read_csv(finished.path(SCREEN, "effects.tsv.gz"), sep="\t")
    pd.testing.assert_series_equal(tsv["effect"], effects["effect"])


@pytest.mark.parametrize("background", ["gc_matched", "shuffled_peaks"])
def test_ctcf_leads_and_nothing_else_does(effects, background):
    counts = effects[(effects["output"] == "counts") & (effects["background"] == background)]
    ranked = counts.sort_values("effect", ascending=False)
    assert set(ranked["motif_id"].head(6)) == set(CTCF)  # three matrices, both orientations
    assert ranked["effect"].head(6).between(0.8, 2.5).all()
    # known on random sequence: CTCF +1.65, its reverse complement +1.52, REST +0.05, AP-1, GATA, NRF1 at most 0.01
    core = counts[counts["motif_id"] == "MA0139.2"]["effect"]
    assert core.between(1.0, 2.2).all()
    others = counts[~counts["motif_id"].isin(CTCF)]["effect"]
    assert others.abs().max() < 0.35 * core.min()
    assert (ranked["sign_consistency"].head(6) == 1).all()


def test_add_q_on_the_table_gives_the_q_that_is_in_it(finished, effects):
    assert effects["start"].nunique() > effects["position"].nunique() == 1  # centred inserts of many widths
    for table in (effects, read_screen(finished.path(SCREEN)).effects):
        found = add_q(table.drop(columns="q"))
        np.testing.assert_array_equal(found["q"], effects["q"])
    assert effects["q"].notna().all()


def test_the_interval_is_a_t_interval_over_the_backgrounds(finished, effects):
    row = effects[(effects["output"] == "counts") & (effects["background"] == "gc_matched")].iloc[5]
    with h5py.File(finished.path(SCREEN, "effects.h5")) as handle:
        group = handle["bpnet_ctcf/gc_matched"]
        ids = group["insert_id"].asstr()[...]
        place = [f"|{row['motif_id']}|{row['orientation']}|" in i for i in ids].index(True)
        single = group["effects"][place, :, json.loads(group.attrs["readouts"])["output"].index("counts")]
    single = single.astype(np.float64)
    assert row["effect"] == pytest.approx(single.mean(), rel=1e-12)
    assert row["effect_sd"] == pytest.approx(single.std(ddof=1), rel=1e-12)
    low, high = stats.t.interval(0.95, len(single) - 1, single.mean(), stats.sem(single))
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(low), pytest.approx(high))


def test_a_dozen_motifs_agree_with_the_peer(finished, effects):
    """tangermeme.marginalize, motif by motif, on the same backgrounds: counts, profiles and their distance to 1e-5."""
    model = load_model("m", {"weights": str(WEIGHTS), "input_length": 2114}).module
    _, sequences = read_background(finished.path("results/backgrounds/gc_matched.fa.gz"))
    X = torch.stack([one_hot_encode(s) for s in sequences]).float()
    effects = effects[effects["background"] == "gc_matched"]
    counts = effects[effects["output"] == "counts"]
    profiles = effects[effects["output"] == "profile"].set_index(["motif_id", "orientation"])
    with h5py.File(finished.path(SCREEN, "profiles.h5")) as handle:
        group = handle["bpnet_ctcf/gc_matched/profile"]
        ids = list(group["insert_id"].asstr()[...])
        before_logits, after_logits = group["before_logits"][...], group["after_logits"][...]
    checked = 0
    for row in counts[counts["orientation"] == "+"].itertuples():
        before, after = peer_marginalize(model, X, row.insert, start=row.start, device="cpu")
        assert row.before_mean == pytest.approx(before[1].double().mean().item(), abs=1e-5)
        assert row.after_mean == pytest.approx(after[1].double().mean().item(), abs=1e-5)
        assert row.effect == pytest.approx((after[1] - before[1]).double().mean().item(), abs=1e-5)
        place = next(i for i, name in enumerate(ids) if f"|{row.motif_id}|+|" in name)
        np.testing.assert_allclose(after_logits[place], after[0].double().mean(0).numpy(), atol=1e-5)
        np.testing.assert_allclose(before_logits, before[0].double().mean(0).numpy(), atol=1e-5)
        # The shape: both strands are one distribution (bpnet-lite), compared background by background.
        p, q = (special.softmax(y[0].double().numpy().reshape(len(X), -1), axis=1) for y in (before, after))
        shape = profiles.loc[(row.motif_id, row.orientation)]
        assert shape["effect"] == pytest.approx(distance.jensenshannon(p, q, base=2, axis=1).mean(), abs=1e-5)
        change = np.abs((q - p).mean(0)).reshape(2, -1).sum(0)
        assert change[int(shape["largest_change_bp"]) - 557] == pytest.approx(change.max(), rel=1e-3)
        checked += 1
    assert checked == 12


def test_provenance_holds_what_a_reader_needs(finished):
    record = json.loads(finished.path(SCREEN, "provenance.json").read_text())
    assert record["config"]["seed"] == 1
    assert record["config"]["models"]["bpnet_ctcf"]["loader"] == "bpnet_lite"
    weights = next(v for k, v in record["input_sha256"].items() if k.endswith("state_dict.pt"))
    assert weights == "649654bc38bb7e90ff8adf961763302be31729f2489a830fe8bd335b127c50a2"
    assert set(record["input_sha256"]) == {
        "resources/models/bpnet_ctcf_k562_2114.state_dict.pt",
        "resources/motifs/JASPAR2026_CORE_vertebrates.meme",
        "resources/genome/hg19_chr20_piece.fa.gz",
        "resources/peaks/hg19_chr20_piece_K562_CTCF.narrowPeak.gz",
    }
    for section in ("models", "motifs", "backgrounds", "screen"):
        assert record["config"][section], section
    assert len(record["shards"]) == 2
    for shard in record["shards"]:
        assert (shard["engine"]["path"], shard["engine"]["device_name"]) == ("incremental", "CPU")
        assert (shard["device"], shard["precision"], shard["block"], shard["threads"]) == ("cpu", "float32", 16, 1)
    assert record["models"]["bpnet_ctcf"]["device_name"] and record["machine"]["processor"]
    assert record["versions"]["torch"] and record["code"]["digest"]
    assert record["result_sha256"] == {"effects.parquet": sha256_of(finished.path(SCREEN, "effects.parquet"))}


def test_estimate_says_how_long_and_how_many_shards(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "work", symlinks=True)
    output = Workspace(tmp_path / "work", small_config()).run("estimate").stdout
    assert "screen ctcf_jaspar:" in output and "shards: 1 " in output
    table = pd.read_csv(tmp_path / "work" / "results" / "estimate.tsv", sep="\t")
    inserts = len(pd.read_parquet(finished.path(SCREEN, "inserts/jaspar.parquet")))
    assert list(table["background"]) == ["gc_matched", "shuffled_peaks"]
    assert (table["pairs"] == 4 * inserts).all() and (table["pairs_per_second"] > 0).all()


def test_a_second_run_has_nothing_to_do(finished):
    assert "Nothing to be done" in finished.run("-n").stdout


def test_snakemakes_own_report_is_built(finished, tmp_path):
    target = tmp_path / "report.zip"
    finished.run("--report", str(target))
    assert target.stat().st_size > 10_000


def test_a_dry_run_of_a_fresh_folder_plans_every_stage(workspace):
    planned = rules_run(workspace.run("-n").stdout)
    assert planned == {
        "all", "index_genome", "make_background", "collect_motifs", "check_model", "predict_baseline", "list_inserts",
        "check_entries",
        "marginalize", "summarize_batch", "summarize_screen", "merge_batches", "plot_screen", "report_screen",
        "report_background",
        "report_model", "write_provenance", "write_overview",
    }  # fmt: skip


def test_every_statistic_of_the_table_is_that_of_scipy_or_statsmodels(finished, effects):
    """All rows, from the effects of single backgrounds and of the controls that the run kept."""
    with h5py.File(finished.path(SCREEN, "effects.h5")) as handle:
        kept = {b: handle[f"bpnet_ctcf/{b}"] for b in handle["bpnet_ctcf"]}
        outputs = json.loads(kept["gc_matched"].attrs["readouts"])["output"]
        singles = {b: group["effects"][...].astype(np.float64) for b, group in kept.items()}
        ids = {b: group["insert_id"].asstr()[...] for b, group in kept.items()}
        roles = {b: group["role"].asstr()[...] for b, group in kept.items()}
    assert set(singles) == {"gc_matched", "shuffled_peaks"} and len(outputs) == 2
    for background, single in singles.items():
        motif = roles[background] == "motif"
        for j, output in enumerate(outputs):
            rows = effects[(effects["background"] == background) & (effects["output"] == output)]
            place = {i: n for n, i in enumerate(ids[background])}
            order = [place[f"{r.collection}|{r.motif_id}|{r.orientation}|{r.start}"] for r in rows.itertuples()]
            mine, controls = single[order, :, j], single[~motif, :, j].mean(axis=1)
            assert len(mine) == motif.sum() == 24
            np.testing.assert_allclose(rows["effect"], mine.mean(axis=1), rtol=1e-10)
            np.testing.assert_allclose(rows["effect_sd"], stats.tstd(mine, axis=1), rtol=1e-10)
            np.testing.assert_allclose(rows["effect_se"], stats.sem(mine, axis=1), rtol=1e-10)
            interval = np.array(DescrStatsW(mine.T).tconfint_mean(alpha=0.05))
            np.testing.assert_allclose(rows[["ci_low", "ci_high"]], interval.T, rtol=1e-9)
            np.testing.assert_array_equal(
                rows["sign_consistency"], [np.mean(np.sign(m) == np.sign(m.mean())) for m in mine]
            )
            np.testing.assert_allclose(
                rows["z"], (rows["effect"] - rows["control_mean"]) / rows["control_sd"], rtol=1e-9
            )
            assert (rows["n_controls"] == len(controls)).all()
            least = 1 if output == "profile" else 2  # a distance is tested one-sided
            assert (rows["p_resolution"] == least / (len(controls) + 1)).all()
            # Location and scale have no counterpart elsewhere, but must be near what the controls do.
            assert abs(rows["control_mean"].median() - np.median(controls)) < 2 * stats.iqr(controls)
            assert 0.3 < rows["control_sd"].median() / (stats.iqr(controls) / 1.349) < 1.7
            once = rows.drop_duplicates("insert")
            p = np.maximum(once["p"], once["p_resolution"])
            expected = dict(zip(once["insert"], multipletests(p, method="fdr_bh")[1]))
            np.testing.assert_allclose(rows["q"], rows["insert"].map(expected), rtol=1e-10)


def test_agreement_and_consensus_are_those_of_scipy(finished, effects):
    pairs = pd.read_parquet(finished.path(SCREEN, "agreement.parquet")).set_index("output")
    together = pd.read_parquet(finished.path(SCREEN, "consensus.parquet"))
    for output, rows in effects.groupby("output"):
        wide = rows.pivot(index=["motif_id", "orientation"], columns="background", values="effect")
        a, b = wide["gc_matched"], wide["shuffled_peaks"]
        row = pairs.loc[output]
        assert (row["across"], row["n"]) == ("background", 24)
        assert row["spearman"] == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
        assert row["pearson"] == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-12)
        assert row["sign_agreement"] == np.mean(np.sign(a) == np.sign(b))
        found = together[together["output"] == output].set_index(["motif_id", "orientation"]).loc[wide.index]
        np.testing.assert_allclose(found["mean"], wide.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(found["spread"], stats.tstd(wide, axis=1), rtol=1e-9)
        ranks = np.array([stats.rankdata(-np.abs(column)) for column in (a, b)])
        np.testing.assert_allclose(found["mean_rank"], ranks.mean(axis=0))
        np.testing.assert_allclose(found["worst_rank"], ranks.max(axis=0))
        np.testing.assert_allclose(found["consensus_rank"], stats.rankdata(ranks.mean(axis=0), method="min"))
        q = rows.pivot(index=["motif_id", "orientation"], columns="background", values="q")
        np.testing.assert_array_equal(found["q_max"], q.max(axis=1))


@pytest.mark.long
def test_ctcf_passes_in_both_background_sets_and_a_scrambled_ctcf_does_not(finished, tmp_path):
    """The finished run's model in half the demo's backgrounds: six motifs, few controls, CTCF scrambled ten ways."""
    shutil.copytree(finished.folder, tmp_path / "work", symlinks=True)
    config = small_config()
    for background in config["backgrounds"].values():
        background["n"] = 8
    config["motifs"]["jaspar"]["include"] = MOTIFS[:6]
    letters, core = random.Random(1), consensus_of("MA0139.2")
    scrambled = ["".join(letters.sample(core, len(core))) for _ in range(10)]
    config["motifs"]["scrambled"] = {"files": ["scrambled.fa"]}
    config["screens"]["ctcf_jaspar"] |= {
        "motifs": ["jaspar", "scrambled"],
        "outputs": ["counts"],
        "controls": {"pool": 280},
    }
    space = Workspace(tmp_path / "work", config)
    space.path("scrambled.fa").write_text("".join(f">scrambled_{i}\n{s}\n" for i, s in enumerate(scrambled)))
    target = f"{SCREEN}/effects.parquet"
    assert "check_model" not in rules_run(space.run(target, cores=2).stdout)
    table = pd.read_parquet(space.path(target))
    for background, rows in table.groupby("background"):
        ctcf, others = rows[rows["motif_id"].isin(CTCF)], rows[rows["collection"] == "scrambled"]
        assert len(others) == 20 and len(rows) == 6 * 2 + 20
        assert set(rows.nlargest(6, "effect")["motif_id"]) == set(CTCF), background
        assert (ctcf["q"] < 0.05).all(), (background, ctcf["q"])  # 32 inserts, six of them CTCF's
        assert (others["q"] > 0.01).all() and (others["q"] > 0.05).mean() > 0.9, (background, others["q"])
        assert others["effect"].max() < ctcf["effect"].min() / 3
        assert (others["n_controls"] > 270).all()


def consensus_of(motif_id: str) -> str:
    """The most probable bases of a shipped motif, read without the library."""
    text = (RESOURCES / "motifs" / "JASPAR2026_CORE_vertebrates.meme").read_text()
    lines = text.split(f"MOTIF {motif_id}")[1].split("MOTIF")[0].splitlines()
    rows = [[float(x) for x in line.split()] for line in lines if line.strip()[:1].isdigit()]
    return "".join("ACGT"[int(np.argmax(row))] for row in rows)


def test_a_finished_screen_is_read_into_a_notebook(finished, tmp_path):
    folder = finished.path(SCREEN)
    screen = read_screen(folder)
    assert len(screen.single_effects) == len(screen.effects) > 0
    np.testing.assert_allclose(
        np.nanmean(screen.single_effects, axis=1), screen.effects["effect"], rtol=1e-4, atol=1e-6
    )
    for block in screen.profiles:
        here = screen.effects.iloc[block.rows]
        assert block.after.shape == (len(here), *block.before.shape) and set(here["output"]) == {block.output}
        assert block.after.sum(axis=(1, 2)) == pytest.approx(1, abs=1e-3)
    assert screen.record["config"]["screen"].keys() == {folder.name}
    with pytest.raises(MarginomeError, match=r"no folder of a finished screen: effects\.parquet.*is not there"):
        read_screen(tmp_path)
