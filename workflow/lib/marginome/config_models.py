"""What the entries of models tell before a model is loaded. Imports no PyTorch.

Apart from `config_checks`, which jobs import too: an edit of what reads a model must not make backgrounds anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from marginome.config_checks import Outputs, output_problems
from marginome.errors import MarginomeError, unknown_name
from marginome.measures import misfit
from marginome.models.headers import Header, read_header
from marginome.models.kinds import unread_file


def model_headers(config: Mapping) -> dict[str, Header]:
    """Return what the file of each model tells before the model is loaded; the files exist."""
    return {name: read_header(entry) for name, entry in config["models"].items()}


def told_lengths(headers: Mapping[str, Header]) -> dict[str, int]:
    """Return input_length (bp) of the models whose file tells it."""
    return {name: header.input_length for name, header in headers.items() if header.input_length}


def model_problems(config: Mapping, headers: Mapping[str, Header], *, outputs: bool = True) -> Iterator[MarginomeError]:
    """Find what the entries of models and the headers of their files tell: lengths, outputs and heads.

    Parameters
    ----------
    config : mapping
        Complete.
    headers : mapping
        Of `model_headers`.
    outputs : bool, default True
        Whether to look at the outputs that screens and attributions ask for too; they name models that there are.

    Yields
    ------
    MarginomeError
        What only loading tells, a header that cannot be read among it, is left to `check_model`.
    """
    known: dict[str, Outputs | None] = {}
    for name, entry in config["models"].items():
        yield from _header_problems(entry, headers[name], f"config: models.{name}")
        declared = {output: _target_names(settings or {}) for output, settings in (entry.get("outputs") or {}).items()}
        told = headers[name].outputs
        known[name] = declared or (None if told is None else dict.fromkeys(told))
    if outputs:
        yield from output_problems(config["screens"], config["attributions"], known)


def _header_problems(entry: Mapping, header: Header, where: str) -> Iterator[MarginomeError]:
    given, loader = entry.get("input_length"), entry.get("loader") or ""
    if loader and ".py:" not in loader and not entry.get("weights"):
        yield MarginomeError(f"the loader {loader} needs weights", where=where, remedy="Give weights: path/to/file.")
        return
    weights = entry.get("weights") or []
    for file in [weights] if isinstance(weights, str) else weights:
        unread = None if ".py:" in loader else unread_file(file, f"{where}.weights: {file}")
        if unread:
            yield unread
            return
    if header.input_length == 0 and given is None:
        yield MarginomeError(
            "input_length is missing, and the file does not tell it",
            where=where,
            remedy="Give input_length, the length (bp) of the sequences that the model takes.",
        )
    if header.input_length and given not in (None, header.input_length):
        yield MarginomeError(
            f"input_length is {given}, but the model reads {header.input_length} bp",
            where=f"{where}.input_length",
            remedy=f"Write {header.input_length}, or leave it out.",
        )
    if header.outputs == () and not entry.get("outputs"):
        yield MarginomeError(
            "the model's outputs have no names",
            where=where,
            remedy="Name each with `outputs:`, e.g. outputs: {counts: {head: 1, unit: log counts}}.",
        )
    for name, settings in (entry.get("outputs") or {}).items():
        settings = settings or {}
        # of the loaders' own outputs, the one of that name is a profile
        own = "profile" if name == "profile" in (header.outputs or ()) else "scalar"
        kind = settings.get("kind", own)
        # of a name that may be one of the loader's own, only loading tells the kind
        told = "kind" in settings or header.outputs is not None or not header.heads
        measure = misfit(settings.get("measure"), kind, where=f"{where}.outputs.{name}.measure") if told else None
        if measure:
            yield measure
        head = settings.get("head")
        if header.heads and head is not None and not isinstance(head, list) and head not in header.heads:
            yield unknown_name("head", head, header.heads, where=f"{where}.outputs.{name}.head")


def _target_names(output: Mapping[str, Any]) -> list[str] | None:
    """The targets that an output's entry lists; None where a file or the model tells them, and for profiles."""
    names = output.get("names") if output.get("kind") != "profile" else None
    # equal names are numbered when the model is loaded
    return names if isinstance(names, list) and len(set(names)) == len(names) else None
