"""The unit of work: a batch of models, a background set, an insert list, a run of whole blocks. Imports no PyTorch.

Its numbers never depend on other units. A model that the config names is a batch of its own; what a job makes of a
batch is one file with a group for each model (`marginome.batch_files`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def of_list(setting: Any, name: str) -> Any:
    """Return what a setting says for one insert list: it may be one value for all, or a value by name.

    Parameters
    ----------
    setting : value or mapping of str to value
    name : str
        Of the list: a collection.

    Returns
    -------
    value
        None where a mapping does not name the list.
    """
    return setting.get(name) if isinstance(setting, Mapping) else setting


def controls_of(controls: Mapping[str, Any] | bool, name: str) -> Mapping[str, Any] | bool:
    """Return a config's ``controls`` as they are for one insert list, with its own ``pool``."""
    if controls is False:
        return False
    return {**controls, "pool": of_list(controls.get("pool"), name)}


def shards_of(setting: int | Mapping[str, int], name: str) -> list[str]:
    """Return the names of the shards of one insert list, ``1-of-3`` and so on; one for a list that is not named."""
    count = of_list(setting, name) or 1
    return [f"{i}-of-{count}" for i in range(1, count + 1)]
