"""What screens and attributions ask of their models, checked once these are known and before anything long starts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from marginome.batch_files import read_checks
from marginome.config_checks import Outputs, output_problems
from marginome.errors import MarginomeError
from marginome.measures import MEASURES
from marginome.placing import read_inserts
from marginome.storage import write_json

log = logging.getLogger("marginome")


def check_entries(
    screens: Mapping[str, Any],
    attributions: Mapping[str, Any],
    *,
    checks: Mapping[str, str | os.PathLike],
    inserts: Mapping[str, Sequence[str | os.PathLike]],
    atlases: Sequence[str] = (),
    length: int | None,
    json: str | os.PathLike,
) -> None:
    """Stop when a screen or an attribution asks for what its model does not have, or inserts do not fit.

    Parameters
    ----------
    screens, attributions : mapping
        The entries of the config that use a background set; see `output_problems`.
    checks : mapping of name to path
        What `check_models` found of each of their models. Of one that failed, in a batch of several, nothing is asked.
    inserts : mapping of name to sequence of path
        The insert lists of each of those screens.
    atlases : sequence of str
        Those screens whose models are averaged and drawn together: there an output has one measure and unit.
    length : int or None
        Of the sequences of the background set (bp); None where the config does not state it: then what the models read.
    json : path
        To write: the outputs of each model.
    """
    failed, found = read_checks(checks)
    known: dict[str, Outputs | None] = dict.fromkeys(failed)
    known |= {
        name: {o["name"]: None if o["kind"] == "profile" else o["names"] for o in record["outputs"]}
        for name, record in found.items()
    }
    for problem in output_problems(screens, attributions, known):
        raise problem
    for name in atlases:
        models = {model: found[model]["outputs"] for model in screens[name]["models"] if model in found}
        for problem in _mixed_outputs(models, screens[name].get("outputs"), f"config: screens.{name}"):
            raise problem
    for name, lists in inserts.items():
        read = (found[model]["input_length"] for model in screens[name]["models"] if model in found)
        told = length or next(filter(None, read), None)
        for path in lists if told else ():
            read_inserts(path, told)
    write_json(json, {name: list(outputs or ()) for name, outputs in known.items()})
    log.info("%d screens and %d attributions fit %d models", len(screens), len(attributions), len(known))


def _mixed_outputs(
    models: Mapping[str, Sequence[Mapping[str, Any]]], asked: Sequence[str] | None, where: str
) -> Iterator[MarginomeError]:
    """Find effects that have one name in two models, and another measure or unit."""
    first: dict[str, tuple[str, str]] = {}
    for model, outputs in models.items():
        for output in outputs:
            if asked and output["name"] not in asked:
                continue
            measure = MEASURES.get(output["measure"])
            whole = output["kind"] == "profile" or (measure and not measure.per_target)
            said = f"{output['measure']} ({(measure and measure.unit) or output['unit']})"
            for name in [output["name"]] if whole else output["names"]:
                other, told = first.setdefault(name, (model, said))
                if told != said:
                    yield MarginomeError(
                        f"output '{name}' is {told} of model '{other}', but {said} of model '{model}': models of a "
                        "sheet are averaged and drawn together",
                        where=where,
                        remedy="Give both one measure and unit, or the outputs names of their own (outputs).",
                    )
