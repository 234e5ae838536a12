"""The overview of all results, and a file that says what each file is."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from marginome.batch_files import failed_records, read_records
from marginome.columns import describe
from marginome.figure_names import SCREEN_FIGURES
from marginome.report import overview
from marginome.report.overview import Entry, ScreenEntry
from marginome.report.parts import Badge, Link
from marginome.storage import atomic, read_json, read_table
from marginome.tables import EFFECTS, read_effects

log = logging.getLogger("marginome")


def write_overview(
    report: Mapping[str, Any],
    *,
    screens: Mapping[str, Mapping[str, str]],
    backgrounds: Mapping[str, Mapping[str, str]],
    models: Mapping[str, Mapping[str, str]],
    attributions: Mapping[str, Sequence[str]],
    opened: Mapping[str, str | os.PathLike],
    commands: Sequence[str],
    page: str | os.PathLike,
    readme: str | os.PathLike,
) -> None:
    """Write the page that leads to every result, and a text file that says what each file is.

    Parameters
    ----------
    report : mapping
        ``title`` of the config's report section.
    screens, backgrounds, models : mapping of name to mapping of kind to file name
        What there is, models by batch; file names are relative to the page's folder.
    attributions : mapping of name to sequence of file name
        The files of each attribution entry.
    opened : mapping of file name to path
        Where those files are that are read or shown; the others are linked to.
    commands : sequence of str
        How to make the results again.
    page, readme : path
        HTML and Markdown to write.
    """
    entries = [
        ScreenEntry(
            name,
            files["page"],
            read_effects(opened[files["effects"]]),
            _screen_links(files),
            opened[files["figures/heatmap"]],
            "Effects of the strongest motifs in every background.",
        )
        for name, files in screens.items()
        if "effects" in files
    ]
    atlases = [_atlas_entry(name, files, opened) for name, files in screens.items() if "manifest" in files]
    sets = []
    for name, files in backgrounds.items():
        found = read_json(opened[files["checks"]])
        facts = {"backgrounds": found["n"], "length (bp)": found["length_bp"], "mean GC": found["gc_mean"]}
        sets.append(
            Entry(name, facts, [Link(text, files[kind]) for kind, text in _BACKGROUND_LINKS.items()],
                  opened[files["figure"]], "Composition of the backgrounds against what they stand for.")
        )  # fmt: skip
    checked = []
    for batch, files in models.items():
        page_link, json = Link("What the check found", files["page"]), opened[files["json"]]
        records, failed = read_records(json), failed_records(json)
        if len(records) + len(failed) > 1:
            odd = [*failed, *(name for name, found in records.items() if found["problems"])]
            check = Badge(f"failed: {', '.join(odd)}", False) if odd else Badge("passed", True)
            checked.append(Entry(batch, {"models": len(records) + len(failed), "check": check}, [page_link]))
            continue
        for name, found in records.items():
            facts = {
                "loader": found["loader"],
                "outputs": ", ".join(output["name"] for output in found["outputs"][:12]),
                "engine": found["engine"]["path"],
                "sequences per second": found["sequences_per_second"],
                "check": Badge("passed", True) if not found["problems"] else Badge("failed", False),
            }
            checked.append(Entry(name, facts, [page_link]))
        for name, reason in failed.items():
            checked.append(Entry(name, {"check": Badge("failed", False), "reason": reason}, [page_link]))
    records = {f"screen {name}": read_json(opened[files["provenance"]]) for name, files in screens.items()}
    for name, files in attributions.items():
        records[f"attributions {name}"] = read_json(opened[next(f for f in files if f.endswith("/provenance.json"))])
    record = next(iter(records.values()), {})
    alone = [text for what, one in records.items() for text in ("", f"# {what} alone", one["command"])]
    overview.write_overview(
        page,
        title=report["title"],
        screens=entries,
        atlases=atlases,
        backgrounds=sets,
        models=checked,
        attributions=[_attribution_entry(name, files, opened) for name, files in attributions.items()],
        provenance={key: record[key] for key in ("versions", "machine", "code") if key in record},
        commands=[*commands, *(alone if len(records) > 1 else [])],
        intro=_not_shown(os.path.dirname(page) or ".", screens, attributions),
    )
    with atomic(readme) as temporary:
        temporary.write_text(_README, encoding="utf-8")


def _not_shown(base: str, screens: Collection[str], attributions: Collection[str]) -> str:
    """Say which results in the folder the overview leaves out: another config made them."""
    there = {
        what: sorted(
            {page.parent.name for kind in ("report", "atlas") for page in Path(base, what).glob(f"*/{kind}.html")}
            - set(known)
        )
        for what, known in (("screens", screens), ("attributions", attributions))
    }
    listed = "; ".join(f"{what} {', '.join(names)}" for what, names in there.items() if names)
    if not listed:
        return ""
    said = f"This folder also holds results that are not of this config and are not shown here: {listed}."
    log.warning("%s", said)
    return f"{said} Each has its own page, <kind>/<name>/report.html (of a sheet, atlas.html)."


def _atlas_entry(name: str, files: Mapping[str, str], opened: Mapping[str, str | os.PathLike]) -> Entry:
    """What the overview says of a screen of a sheet, whose rows are a file for each batch of models."""
    listed = read_table(opened[files["manifest"]])
    facts = {"models": len(listed), "rows": int(listed["rows"].sum()), "files": listed["file"].nunique()}
    return Entry(name, facts, [Link("The atlas", files["page"]), *_screen_links(files)])


def _screen_links(files: Mapping[str, str]) -> list[Link]:
    """Links to the files of a screen, its comparisons by their names."""
    known = [Link(text, files[kind]) for kind, text in _SCREEN_LINKS.items() if kind in files]
    return known + [Link(kind.replace("comparisons/", "comparison "), files[kind]) for kind in files
                    if kind.startswith("comparisons/")]  # fmt: skip


def _attribution_entry(name: str, files: Sequence[str], opened: Mapping[str, str | os.PathLike]) -> Entry:
    """What the overview says of one attribution entry."""
    named = {os.path.basename(file): file for file in files if os.path.dirname(file).endswith(f"/{name}")}
    facts: dict[str, object] = {"seqlets": len(read_table(opened[named["seqlets.parquet"]]))}
    if "annotations.parquet" in named:
        annotations = read_table(opened[named["annotations.parquet"]])
        facts["of them with a named motif"] = int(annotations["match_id"].notna().sum())
    if "patterns.parquet" in named:
        facts["patterns"] = len(read_table(opened[named["patterns.parquet"]]))
    base = os.path.dirname(named["seqlets.parquet"])
    figure = next((file for file in files if file.endswith("figures/elements.svg")), None)
    names = {file: os.path.relpath(file, base) for file in files if file != figure}
    page = next(file for file, text in names.items() if text == "report.html")
    links = [Link("Seqlets and patterns", page)] + [Link(text, file) for file, text in names.items() if file != page]
    shown = None if figure is None else opened[figure]
    return Entry(name, facts, links, shown, "A locus with its seqlets, what each does alone, and the patterns.")


_BACKGROUND_LINKS = {"page": "What the checks found", "fasta": "FASTA", "bed": "BED", "tsv": "TSV"}


_SCREEN_LINKS = {
    "clustermap": "families by models",
    "manifest": "manifest.parquet",
    "models": "models.parquet",
    "labels": "label_consensus.parquet",
    "tau": "tau.parquet",
    "effects": "effects.parquet",
    "tsv": "effects.tsv.gz",
    "backgrounds": "effects.h5",
    "profiles": "profiles.h5",
    "consensus": "consensus.parquet",
    "agreement": "agreement.parquet",
    "functions": "functions.h5",
    "provenance": "provenance.json",
    **{f"figures/{name}": shows for name, shows in SCREEN_FIGURES.items()},
    "functions_figure": "attributions",
    "gaps": "effect against gap",
    "gap_profiles": "profiles against gap",
    "pairs": "pairs that cooperate",
    "arrangements": "every arrangement of pairs",
    "interactions_figure": "interaction against gap",
    "pairs_figure": "which pairs cooperate",
    "pair_backgrounds_figure": "best arrangements in every background",
    "pair_backgrounds": "pair_backgrounds.parquet",
    "composites": "composites.parquet",
    "composites_figure": "composites against the sum of their motifs",
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
| `screens/<screen>/functions.h5` | attributions (or your own function) before and after each insert, where asked for |
| `screens/<screen>/consensus.parquet` | what all background sets say of each insert: mean, spread, ranks, largest q |
| `screens/<screen>/agreement.parquet` | how far every two background sets (or models) agree |
| `screens/<screen>/atlas.html` | a screen of a sheet: families of motifs by models, and the way to each model's page |
| `screens/<screen>/pages/<batch>/` | those pages, numbered in the order of the batch |
| `screens/<screen>/figures/clustermap.svg`, `.pdf` | the same for papers |
| `screens/<screen>/label_consensus.parquet` | what the models with one value of a label say together of each insert |
| `screens/<screen>/tau.parquet` | how specific each family of motifs is to models, and to labels |
| `screens/<screen>/comparisons/<name>.parquet` | what inserts do differently in two sides of models, where asked for |
| `screens/<screen>/inserts/<list>.parquet` | what was put in, with its controls; a list is a collection |
| `screens/<screen>/best/<batch>/<list>.parquet` | of judged pairs: what functions were applied to |
| `screens/<screen>/pairs.parquet`, `arrangements.parquet` | of pairs: which cooperate, and where |
| `screens/<screen>/pair_backgrounds.parquet` | of pairs: the best arrangement in every background |
| `screens/<screen>/pairs/`, `arrangements/`, `pair_backgrounds/` | the same of each batch, `<batch>.parquet` |
| `screens/<screen>/composites.parquet` | of composites: each beside the sum of its motifs |
| `screens/<screen>/families/<list>.parquet` | families of similar motifs |
| `screens/<screen>/figures/*.svg` | figures for papers |
| `screens/<screen>/provenance.json` | config, seeds, checksums of every input, versions, machine, engine |
| `screens/<screen>/effects/<batch>.parquet` | the effect table of a batch; a screen of a sheet has this alone |
| `screens/<screen>/manifest.parquet` | which of these files has the rows of each model |
| `screens/<screen>/models.parquet` | models of sheets and their labels |
| `screens/<screen>/shards/`, `batches/` | parts of the computation; may be deleted when the tables are done |
| `genomes/<genome>/` | the index of a genome that backgrounds or loci are from |
| `backgrounds/<set>.fa.gz`, `.bed`, `.tsv`, `.svg` | the backgrounds, where they are from, their composition |
| `backgrounds/<set>.html`, `.json` | whether they are what was asked for |
| `motifs/<collection>.parquet` | the motifs as they were read and checked |
| `models/<batch>/check.html`, `check.json` | what the model is and whether it behaved (of a batch: each) |
| `attributions/<name>/report.html` | the seqlets and patterns of real sequences, what each does in isolation |
| `attributions/<name>/provenance.json` | config, seeds, checksums of every input, versions, machine, engine |
| `attributions/<name>/` | everything else of it (docs/elements.md) |
| `baselines/<batch>/<set>.h5` | predictions on the backgrounds without an insert, `<model>/outputs/<output>` |

Everything is read with pandas and h5py alone. In `.h5` files a `/` in a name is `%2F` and a `%` is `%25`. Tables,
arrays and records hold a digest of their own bytes, which is checked whenever a job reads them.

## Columns of the effect table

{describe(EFFECTS)}
"""
