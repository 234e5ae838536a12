"""What screens and attributions ask of their models, checked once these are known and before anything long starts."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from marginome.config_checks import output_problems
from marginome.storage import read_json, write_json

log = logging.getLogger("marginome")


def check_entries(
    screens: Mapping[str, Any],
    attributions: Mapping[str, Any],
    *,
    checks: Mapping[str, str | os.PathLike],
    json: str | os.PathLike,
) -> None:
    """Stop when a screen or an attribution asks for an output or a target that its model does not have.

    Parameters
    ----------
    screens, attributions : mapping
        The entries of the config that use a background set; see `output_problems`.
    checks : mapping of name to path
        What `check_model` found of each of their models.
    json : path
        To write: the outputs of each model.
    """
    found = {name: read_json(path)["outputs"] for name, path in checks.items()}
    known = {
        name: {output["name"]: None if output["kind"] == "profile" else output["names"] for output in outputs}
        for name, outputs in found.items()
    }
    for problem in output_problems(screens, attributions, known):
        raise problem
    write_json(json, {name: list(outputs) for name, outputs in known.items()})
    log.info("%d screens and %d attributions fit %d models", len(screens), len(attributions), len(known))
