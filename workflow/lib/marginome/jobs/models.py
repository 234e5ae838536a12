"""A model, checked before anything long runs with it (provisional)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from marginome.models import load_model
from marginome.storage import atomic, write_json


def check_model(
    settings: Mapping[str, Any],
    *,
    name: str,
    digests: Mapping[str, str],
    engine: Mapping[str, Any],
    device: str,
    json: str | os.PathLike,
    page: str | os.PathLike,
) -> None:
    """Check one model."""
    loaded = load_model(name, dict(settings))
    write_json(json, {"model": name, "block": 32, "outputs": [{"name": o.name} for o in loaded.outputs]})
    with atomic(page) as temporary:
        temporary.write_text("<p>provisional</p>")
