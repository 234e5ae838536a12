"""Which loader reads a weights file, told from its content, which is read as data only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from marginome.errors import MarginomeError
from marginome.models import beluga, bpnet, cherimoya
from marginome.models.built import one_line
from marginome.models.exported import is_exported
from marginome.models.kinds import is_keras_archive, safetensors_names, unread_file
from marginome.models.loaders import LOADERS
from marginome.models.pickles import Record, is_torch_file
from marginome.models.states import plain_state, read_weights


def recognise_loader(weights: Sequence[str], settings: Mapping[str, Any], where: str) -> str:
    """Tell the loader from the content of the first weights file; it is read as data only."""
    if not weights:
        raise MarginomeError("neither loader nor weights are given", where=where, remedy="Give weights: path/to/file.")
    file = weights[0]
    with open(file, "rb") as handle:
        start = handle.read(8)
    if start == b"\x89HDF\r\n\x1a\n":
        return "keras"
    if is_keras_archive(file):
        return "keras"
    if is_exported(file):
        return "torch_export"
    tensors = safetensors_names(file) is not None
    if tensors or is_torch_file(file):
        if settings.get("trust_pickle") and not tensors:
            return "pickled_module"
        with one_line("the file cannot be read", f"{where}: {file}"):
            loaded = read_weights(file)
        if cherimoya.is_cherimoya(loaded):
            return "cherimoya"
        if isinstance(loaded, Record) and loaded.class_name.startswith("bpnetlite."):
            return "bpnet_lite"
        if not isinstance(loaded, Record):
            state = plain_state(loaded, f"{where}: {file}")
            if bpnet.is_bpnet_state(state):
                return "bpnet_lite"
            if beluga.is_beluga_state(state):
                return "beluga"
            found = f"a state dict of {len(state)} tensors ({', '.join(list(state)[:4])}, ...)"
        else:
            found = f"a module of class {loaded.class_name}, saved whole"
        raise MarginomeError(
            f"the file holds {found}; no loader knows this architecture",
            where=f"{where}: {file}",
            remedy="Give a function that builds the module: loader: path/to/file.py:function (docs/models.md).",
        )
    if unread := unread_file(file, f"{where}: {file}"):
        raise unread
    raise MarginomeError(
        "the kind of file is not recognised",
        where=f"{where}: {file}",
        remedy="Known are files of torch.save, safetensors, torch.export.save and Keras (.h5, .keras). "
        f"Or give loader: {', '.join(LOADERS)}, or path/to/file.py:name.",
    )
