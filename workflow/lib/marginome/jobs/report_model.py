"""The page of a model: what it is, and whether it behaved when it was checked before anything long ran with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from marginome.batch_files import failed_records, read_records
from marginome.report.parts import Link
from marginome.report.plain import Section, write_page

_OUTPUT = ("name", "kind", "shape", "unit", "measure", "mean", "sd", "min", "max")


def report_model(batch: str, *, check: str | os.PathLike, page: str | os.PathLike) -> None:
    """Write the page of a batch of models: of the model, where it is alone.

    Parameters
    ----------
    batch : str
        Its name; of a model alone the model's.
    check : path
        What `check_models` wrote.
    page : path
        HTML to write.
    """
    files = [Link(os.path.basename(check), os.path.relpath(check, os.path.dirname(page)))]
    found, failed = read_records(check), failed_records(check)
    sections = [Section(f"{name}: it failed", reason) for name, reason in failed.items()]
    for name, record in found.items():
        mine = sections_of(record, files)
        sections += mine if len(found) == 1 else [s._replace(title=f"{name}: {s.title}") for s in mine]
    what = "Model" if len(found) + len(failed) == 1 else "Models"
    write_page(page, title=f"{what} {batch}", sections=sections, overview="../../index.html")


def sections_of(check: Mapping[str, Any], links: Iterable[Link] = ()) -> list[Section]:
    """Return what `marginome.model_check.check_model` found as sections of a page."""
    verdict = {
        "problems": "It is not run: the numbers would be wrong.",
        "warnings": "It can be run; read the warnings.",
    }
    state = next((kind for kind in verdict if check[kind]), "")
    said = [f"Problem: {text}." for text in check["problems"]] + [f"Warning: {text}." for text in check["warnings"]]
    text = "\n\n".join([verdict.get(state, "Nothing stands in the way of running it."), *said])
    sections = [
        Section("Verdict", text, links=list(links)),
        Section("Model", "", _rows(_model(check))),
        Section("Outputs", _on_sequences(check), pd.DataFrame([_output(o) for o in check["outputs"]])),
        Section("Behaviour", "Relative differences; errors are relative to the spread between sequences.",
                _rows(_behaviour(check))),
        Section("Engine", "Which computation runs, and how fast it was here.", _rows(_engine(check))),
        Section("What was looked at", "", _rows(_parts(check))),
    ]  # fmt: skip
    if check["attribution"]:
        sections.append(_attribution(check["attribution"]))
    return sections


def _rows(rows: Iterable[tuple[str, object]]) -> pd.DataFrame:
    return pd.DataFrame([(label, value) for label, value in rows], columns=["", " "], dtype=object)


def _shown(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _model(check: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
    yield "loader", check["loader"]
    for file in check["files"]:
        yield "weights", f"{file['file']} (SHA-256 {file['sha256']})"
    yield "parameters", f"{check['parameters']:,}"
    yield "members of the ensemble", check["members"]
    yield "sequence length", f"{check['input_length']:,} bp"
    for extra in check["arguments"]:
        yield "extra input", f"{extra['name']} {tuple(extra['shape'])}, from: {extra['source']}"


def _output(output: Mapping[str, Any]) -> dict[str, object]:
    values = {key: output.get(key, "") for key in _OUTPUT}
    return {**values, "shape": " x ".join(map(str, output["shape"]))}


def _on_sequences(check: Mapping[str, Any]) -> str:
    spread = [f"{name}: {_shown(sd)}" for name, sd in check["member_sd"].items()]
    between = f" Standard deviation between the members: {'; '.join(spread)}." if spread else ""
    return f"On {check['sequences']} sequences.{between}"


def _behaviour(check: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
    differs = check["batch_difference"]
    yield "second run of the same batch", _shown(differs["again"])
    yield "sequences in another order", _shown(differs["other_order"])
    yield "sequences one by one", _shown(differs["one_by_one"])
    for how, errors in check["precision_error"].items():
        yield f"{how} against float64", "; ".join(f"{name}: {_shown(error)}" for name, error in errors.items())


def _engine(check: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
    engine = check["engine"]
    yield "path", engine["path"] + (f" ({engine['reason']})" if engine["reason"] else "")
    yield "computed on whole sequences", ", ".join(engine["full_operations"]) or "none"
    for label, key in (
        ("self-check against the full pass in float64", "check_error"),
        ("error of effects in this precision", "effect_error"),
    ):
        if engine[key] is not None:
            yield label, _shown(engine[key])
    yield "inserts computed together", check["block"]
    for size, rate in check["pairs_per_second"].items():
        yield f"pairs per second, {size} together", f"{rate:,.4g}"
    for name, rate in engine["kernels_pairs_per_second"].items():
        yield f"pairs per second, convolutions by {name}", f"{rate:,.4g}"
    yield "full pass", f"{check['sequences_per_second']:,.4g} sequences per second"
    if check.get("measured_on"):
        yield "speed and attributions", f"measured on {check['measured_on']}, which has the same architecture"
    yield "machine", f"{check['device_name']}, {check['threads']} threads, PyTorch {check['torch']}"
    yield "peak memory", f"{check['peak_memory_mb']:,.0f} MB"


def _parts(check: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
    for name, part in check["parts"].items():
        yield name, f"{part['seconds']:,.1f} s" + "".join(f"; cut short: {what}" for what in part["left_out"])


def _attribution(found: Mapping[str, Any]) -> Section:
    if "failed" in found:
        return Section("Attribution by DeepLIFT", f"DeepLIFT fails on this model: {found['failed']}")
    without = ", ".join(found["unsupported_operations"]) or "none"
    text = f"Operations without a rule: {without}. Deltas are 0 where attributions add up to the difference of outputs."
    deltas = [
        {"output": name, "target": d["target"], "pairs": d["pairs"], "mean delta": _shown(d["mean_delta"]),
         "largest delta": _shown(d["max_delta"]), "mean difference from references": _shown(d["mean_difference"])}
        for name, d in found["deltas"].items()
    ]  # fmt: skip
    return Section("Attribution by DeepLIFT", text, pd.DataFrame(deltas) if deltas else None)
