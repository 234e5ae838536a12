"""What a reader opens: the page of a screen, the overview of all results, and a file that says what each file is."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import pandas as pd

from marginome import report as marginome_report
from marginome.report import Badge, Entry, Link, Profiles, ScreenEntry, write_report
from marginome.storage import atomic, read_hdf5, read_json, read_table
from marginome.tables import EFFECTS, describe

log = logging.getLogger("marginome")

# Above this many values the effects of single backgrounds are left out of the page (they stay in effects.h5).
MOST_VALUES = 50_000_000


def report_screen(
    screen: str,
    *,
    effects: str | os.PathLike,
    backgrounds: str | os.PathLike,
    profiles: str | os.PathLike,
    baselines: Sequence[str | os.PathLike],
    motifs: Sequence[str | os.PathLike],
    provenance: str | os.PathLike,
    page: str | os.PathLike,
) -> None:
    """Write the interactive page of one screen.

    Parameters
    ----------
    screen : str
        Its name.
    effects, backgrounds, profiles : path
        Tables of `summarize_screen`.
    baselines : sequence of path
        Predictions on the backgrounds.
    motifs : sequence of path
        Tables of the collections.
    provenance : path
        The screen's record.
    page : path
        HTML to write.
    """
    table = read_table(effects)
    record = read_json(provenance)
    with read_hdf5(profiles) as handle:
        packed = write_report(
            page,
            effects=table,
            motifs=pd.concat([read_motif_matrices(path) for path in motifs], ignore_index=True),
            per_background=single_effects(backgrounds, table),
            baseline=read_baselines(baselines),
            profiles=read_profiles(handle, table),
            provenance=record,
            commands=[record["command"]],
            title=f"Screen {screen}",
            name=screen,
            overview="../../index.html",
        )
    log.info("%s: %.1f MB, %d rows, %d inserts, profiles of %d", page, packed.bytes / 1e6, packed.rows, packed.inserts,
             packed.profiles)  # fmt: skip


def read_motif_matrices(path: str | os.PathLike) -> pd.DataFrame:
    """Return ``collection, motif_id, motif_name, pwm`` with matrices of shape (4, w)."""
    table = read_table(path)[["collection", "motif_id", "motif_name", "pwm"]]
    return table.assign(pwm=[np.asarray(values).reshape(-1, 4).T for values in table["pwm"]])


def single_effects(backgrounds: str | os.PathLike, table: pd.DataFrame) -> np.ndarray | None:
    """Return the effects of single backgrounds, one row per row of the effect table, NaN where a set is smaller.

    Returns
    -------
    numpy.ndarray, float32, (rows, most backgrounds of a set), or None
        None where they were not kept, or are too many to be held in memory.
    """
    parts, most = [], 0
    with read_hdf5(backgrounds) as handle:
        for model, background in _combinations(table):
            group = handle[f"{model}/{background}"]
            if "effects" not in group:
                return None
            most = max(most, group["effects"].shape[1])
        if most * len(table) > MOST_VALUES:
            return None
        for model, background in _combinations(table):
            group = handle[f"{model}/{background}"]
            motif = group["role"].asstr()[...] == "motif"
            values = group["effects"][...][motif]  # (inserts, backgrounds, readouts)
            rows = values.transpose(0, 2, 1).reshape(-1, values.shape[1])
            padded = np.full((len(rows), most), np.nan, dtype=np.float32)
            padded[:, : rows.shape[1]] = rows
            parts.append(padded)
    return np.concatenate(parts)


def read_baselines(files: Sequence[str | os.PathLike]) -> dict[tuple[str, str, str], np.ndarray]:
    """Return (model, background, output) -> predictions on the backgrounds, of every scalar target."""
    found = {}
    for file in files:
        with read_hdf5(file) as handle:
            model = json.loads(handle.attrs["marginome"])["model"]
            background = os.path.splitext(os.path.basename(file))[0]
            for values in handle["outputs"].values():
                if values.attrs["kind"] == "scalar":
                    array = values[...]
                    for k, name in enumerate(json.loads(values.attrs["names"])):
                        found[model, background, name] = array[:, k]
    return found


def read_profiles(handle: h5py.File, table: pd.DataFrame) -> list[Profiles]:
    """Return the mean profiles of an open profiles.h5, tied to rows of the effect table."""
    blocks = []
    for model, background in _combinations(table):
        for name, group in handle.get(f"{model}/{background}", {}).items():
            if "after_probabilities" not in group:
                continue
            here = (table["model"] == model) & (table["background"] == background) & (table["output"] == name)
            after = group["after_probabilities"]
            blocks.append(
                Profiles(
                    rows=np.flatnonzero(here.to_numpy()),
                    before=group["before_probabilities"][...],
                    after=after,
                    first=int(group.attrs.get("first_bp", 0)),
                    output=name,
                )
            )
    return blocks


def _combinations(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(table[["model", "background"]].drop_duplicates().itertuples(index=False, name=None))


def write_overview(
    report: Mapping[str, Any],
    *,
    screens: Mapping[str, Mapping[str, str]],
    backgrounds: Mapping[str, Mapping[str, str]],
    models: Mapping[str, Mapping[str, str]],
    attributions: Mapping[str, Sequence[str]],
    commands: Sequence[str],
    page: str | os.PathLike,
    readme: str | os.PathLike,
) -> None:
    """Write the page that leads to every result, and a text file that says what each file is.

    Parameters
    ----------
    report : mapping
        ``title`` of the config's report section.
    screens, backgrounds, models : mapping of name to mapping of kind to path
        What there is; paths are relative to the working directory.
    attributions : mapping of name to sequence of path
        The files of each attribution entry.
    commands : sequence of str
        How to make the results again.
    page, readme : path
        HTML and Markdown to write.
    """
    base = os.path.dirname(page) or "."

    def link(text: str, path: str) -> Link:
        return Link(text, os.path.relpath(path, base))

    entries = [
        ScreenEntry(
            name,
            os.path.relpath(files["page"], base),
            read_table(files["effects"]),
            [link(text, files[kind]) for kind, text in _SCREEN_LINKS.items() if kind in files],
            files["heatmap"],
            "Effects of the strongest motifs in every background.",
        )
        for name, files in screens.items()
    ]
    sets = []
    for name, files in backgrounds.items():
        table = pd.read_csv(files["tsv"], sep="\t", comment="#")
        facts = {
            "backgrounds": len(table),
            "length (bp)": int(table["length"].iloc[0]),
            "mean GC": float(table["gc"].mean()),
        }
        sets.append(
            Entry(name, facts, [link(kind.upper(), path) for kind, path in files.items() if kind != "figure"],
                  files["figure"], "Composition of the backgrounds against what they stand for.")
        )  # fmt: skip
    checked = []
    for name, files in models.items():
        found = read_json(files["json"])
        facts = {
            "loader": found["loader"],
            "outputs": ", ".join(output["name"] for output in found["outputs"][:12]),
            "engine": found["engine"]["path"],
            "sequences per second": found["sequences_per_second"],
            "check": Badge("passed", True) if not found["problems"] else Badge("failed", False),
        }
        checked.append(Entry(name, facts, [link("What the check found", files["page"])]))
    record = read_json(next(iter(screens.values()))["provenance"]) if screens else {}
    marginome_report.write_overview(
        page,
        title=report["title"],
        screens=entries,
        backgrounds=sets,
        models=checked,
        attributions=[_attribution_entry(name, files, link) for name, files in attributions.items()],
        provenance={key: record[key] for key in ("versions", "machine", "code") if key in record},
        commands=commands,
    )
    with atomic(readme) as temporary:
        temporary.write_text(_README, encoding="utf-8")


def _attribution_entry(name: str, files: Sequence[str], link: Callable[[str, str], Link]) -> Entry:
    """What the overview says of one attribution entry."""
    named = {os.path.basename(file): file for file in files if os.path.dirname(file).endswith(f"/{name}")}
    facts: dict[str, object] = {"seqlets": len(read_table(named["seqlets.parquet"]))}
    if "annotations.parquet" in named:
        facts["of them with a named motif"] = int(read_table(named["annotations.parquet"])["match_id"].notna().sum())
    if "patterns.parquet" in named:
        facts["patterns"] = len(read_table(named["patterns.parquet"]))
    base = os.path.dirname(named["seqlets.parquet"])
    figure = next((file for file in files if file.endswith("figures/elements.svg")), None)
    links = [link(os.path.relpath(file, base), file) for file in files if file != figure]
    return Entry(name, facts, links, figure, "A locus with its seqlets, what each does alone, and the patterns.")


_SCREEN_LINKS = {
    "effects": "effects.parquet",
    "tsv": "effects.tsv.gz",
    "backgrounds": "effects.h5",
    "profiles": "profiles.h5",
    "consensus": "consensus.parquet",
    "agreement": "agreement.parquet",
    "gaps": "effect against gap",
    "provenance": "provenance.json",
}

_README = f"""\
# What is here

Open `index.html` in a browser: it leads to everything else and works offline.

| file | what it is |
|---|---|
| `index.html` | overview: strongest motifs, background sets, models, and how to make all of it again |
| `screens/<screen>/report.html` | one screen to explore: every motif, its effects, controls, profiles |
| `screens/<screen>/effects.parquet`, `effects.tsv.gz` | a row per model, background set, insert and output |
| `screens/<screen>/effects.h5` | effects of single backgrounds: `<model>/<background>/effects` |
| `screens/<screen>/profiles.h5` | mean profiles before and after each insert: logits and probabilities |
| `screens/<screen>/consensus.parquet` | what all background sets say of each insert: mean, spread, ranks, largest q |
| `screens/<screen>/agreement.parquet` | how far every two background sets (or models) agree |
| `screens/<screen>/inserts.parquet` | what was put in, controls included, in the order it was computed |
| `screens/<screen>/families.parquet` | families of similar motifs |
| `screens/<screen>/figures/*.svg` | figures for papers |
| `screens/<screen>/provenance.json` | config, seeds, checksums of every input, versions, machine, engine |
| `screens/<screen>/shards/` | parts of the computation; may be deleted when the tables are done |
| `backgrounds/<set>.fa.gz`, `.bed`, `.tsv`, `.svg` | the backgrounds, where they are from, their composition |
| `motifs/<collection>.parquet` | the motifs as they were read and checked |
| `models/<model>/check.html`, `check.json` | what the model is and whether it behaved |
| `attributions/<name>/` | attributions, seqlets, patterns, what each does in isolation (docs/elements.md) |
| `baselines/<model>/<set>.h5` | predictions on the backgrounds without an insert |

Everything is read with pandas and h5py alone.

## Columns of the effect table

{describe(EFFECTS)}
"""
