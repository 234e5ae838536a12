"""The weights in a Keras file, by layer and kind; each has to be used by a layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from marginome.errors import MarginomeError
from marginome.hdf5 import Contents


class Weights:
    """The arrays of a file, by the name of the layer that they belong to.

    Parameters
    ----------
    contents : Contents
        Of the file. Every top-level layer has a group, whose attribute ``weight_names`` lists its arrays;
        those of the layers of a nested model are in that model's group.
    where : str
        For messages.
    """

    def __init__(self, contents: Contents, where: str):
        self.contents, self.where = contents, where
        self.root = "model_weights/" if "model_weights" in contents.attributes else ""
        self.group = ""
        self.used: set[str] = set()

    def within(self, layer: str) -> Weights:
        """The same for the layers of a nested model."""
        inner = Weights(self.contents, self.where)
        inner.group, inner.used = self.group or layer, self.used
        return inner

    def of(self, layer: str, kinds: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the float arrays of a layer by kind ("kernel", "bias", ...); it has to have these and no others."""
        group = self.root + (self.group or layer)
        if group not in self.contents.attributes:
            raise MarginomeError(f"there are no weights for layer '{self.group or layer}'", where=self.where)
        found: dict[str, str] = {}
        for path in self._listed(group):
            parts = path.removeprefix(f"{group}/").split("/")
            if self.group and layer not in parts[:-1]:
                continue
            kind = parts[-1].split(":")[0]
            if kind in found:
                raise self._error(layer, f"has several arrays '{kind}' in the file")
            found[kind] = path
        missing = [kind for kind in kinds if found.get(kind) not in self.contents.arrays]
        if missing:
            raise self._error(layer, f"has no {', '.join(missing)} in the file")
        unknown = sorted(set(found) - set(kinds))
        if unknown:
            raise self._error(layer, f"has more weights than it can use: {', '.join(unknown)}")
        self.used.update(found.values())
        return {kind: self._float(layer, kind, found[kind]) for kind in kinds}

    def refuse_unused(self) -> None:
        """Raise an error when the file holds weights that no layer of the architecture has."""
        listed = {path for group in self.contents.attributes for path in self._listed(group)}
        unused = sorted(listed - self.used)
        if unused:
            more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
            raise MarginomeError(
                f"no layer of the architecture uses the weights {', '.join(unused[:3])}{more}",
                where=self.where,
                remedy="Give the architecture that belongs to this file.",
            )

    def _listed(self, group: str) -> list[str]:
        """Paths of a group's arrays. Keras spreads a list over several attributes when it is long."""
        attributes = self.contents.attributes[group]
        names = attributes.get("weight_names", [])
        for i in range(len(attributes)):
            if f"weight_names{i}" not in attributes:
                break
            names = [*names, *attributes[f"weight_names{i}"]]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise MarginomeError(f"the list of weights of '{group}' is damaged", where=self.where)
        return [f"{group}/{name}" if group else name for name in names]

    def _float(self, layer: str, kind: str, path: str) -> np.ndarray:
        array = self.contents.arrays[path]
        if array.dtype.kind != "f":
            raise self._error(layer, f"has weights of the type {array.dtype} ({kind}); wanted floating-point numbers")
        return array.astype(np.float32)

    def _error(self, layer: str, what: str) -> MarginomeError:
        return MarginomeError(f"layer '{layer}' {what}", where=self.where)
