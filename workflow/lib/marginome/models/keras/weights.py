"""The weights in a Keras file, by layer and kind; each has to be used by a layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from marginome.errors import MarginomeError
from marginome.hdf5 import Contents


class Part(NamedTuple):
    """A part of a layer that has weights of its own, such as one gate of an attention.

    Attributes
    ----------
    group : str
        The group of a .h5 file whose arrays are its; all of the layer's when it is empty.
    path : str
        The group within the layer's in a .keras archive.
    """

    group: str = ""
    path: str = ""


WHOLE = Part()


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

    def at(self, layers: Sequence[Mapping[str, Any]]) -> Weights:
        """The same, told which layers there are, in the order of the architecture; of no concern here."""
        return self

    def of(self, layer: str, kinds: Sequence[str], part: Part = WHOLE) -> dict[str, np.ndarray]:
        """Return the float arrays of a layer by kind ("kernel", "bias", ...); it has to have these and no others.

        In an archive arrays have no names, and the order of `kinds` is that in which Keras makes them.
        """
        group = self.root + (self.group or layer)
        if group not in self.contents.attributes:
            raise MarginomeError(f"there are no weights for layer '{self.group or layer}'", where=self.where)
        found: dict[str, str] = {}
        for path in self._listed(group):
            parts = path.removeprefix(f"{group}/").split("/")
            if (self.group and layer not in parts[:-1]) or (part.group and part.group not in parts[:-1]):
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


class ArchiveWeights(Weights):
    """The arrays of a `.keras` archive, which are numbered, in groups named by the classes of the layers.

    Parameters
    ----------
    contents : Contents
        Of the HDF5 file in it. The n-th layer of a class in the architecture, counted in its order, has the group
        ``layers/<class>_<n>``; where the file says which layer a group is of, that is compared.
    where : str
        For messages.
    base : str
        The group of the model.
    """

    def __init__(self, contents: Contents, where: str, base: str = ""):
        super().__init__(contents, where)
        self.base, self.groups = base, {}

    def within(self, layer: str) -> ArchiveWeights:
        """The same for the layers of a nested model."""
        inner = ArchiveWeights(self.contents, self.where, f"{self.groups[layer]}/")
        inner.used = self.used
        return inner

    def at(self, layers: Sequence[Mapping[str, Any]]) -> ArchiveWeights:
        """The same, with the group of every layer of the architecture told."""
        self.groups = {}
        count: dict[str, int] = {}
        for layer in layers:
            kind = _snake_case(layer["class_name"])
            number = count.get(kind, 0)
            count[kind] = number + 1
            name = layer["config"].get("name") or layer.get("name")
            group = f"{self.base}layers/{kind}{f'_{number}' if number else ''}"
            told = self.contents.attributes.get(f"{group}/vars", {}).get("name")
            if told is not None and told != name:
                raise MarginomeError(
                    f"the weights of the layer '{name}' are those of '{told}' in the archive",
                    where=self.where,
                    remedy="The archive is damaged, or was put together by hand: save the model again.",
                )
            self.groups[name] = group
        return self

    def of(self, layer: str, kinds: Sequence[str], part: Part = WHOLE) -> dict[str, np.ndarray]:
        """Return the float arrays of a layer, as many as there are `kinds`, which are named in their order."""
        group = "/".join(filter(None, (self.groups[layer], part.path, "vars")))
        paths = [f"{group}/{i}" for i in range(len(kinds))]
        missing = [kind for kind, path in zip(kinds, paths) if path not in self.contents.arrays]
        if missing:
            raise self._error(layer, f"has no {', '.join(missing)} in the file")
        self.used.update(paths)
        return {kind: self._float(layer, kind, path) for kind, path in zip(kinds, paths)}

    def refuse_unused(self) -> None:
        """Raise an error when the file holds arrays that no layer has, apart from states of random numbers."""
        unused = [path for path in self.contents.shapes if path not in self.used and "seed_generator" not in path]
        if unused:
            raise MarginomeError(
                f"no layer of the architecture uses the weights {', '.join(sorted(unused)[:3])}",
                where=self.where,
                remedy="The archive was put together by hand, or of layers that are not read: save the model again.",
            )


def _snake_case(name: str) -> str:
    """The name of a class as Keras writes it in an archive: ``MaxPooling1D`` is max_pooling1d."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
