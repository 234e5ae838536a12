"""Kinds of published files and folders that no loader reads, and how each is converted. Imports no PyTorch."""

from __future__ import annotations

import json
import os
import zipfile
from typing import Any, BinaryIO

from marginome.errors import MarginomeError, shown

#: Longest header of a safetensors file (bytes), as the library has it.
MOST_HEADER = 100_000_000
#: Members of a `.keras` archive.
KERAS_MEMBERS = frozenset({"config.json", "model.weights.h5"})
_MOST_FIELDS = 10_000  # of a protocol buffer, at its top level
_MOST_CONFIG = 1 << 20


def safetensors_names(path: str | os.PathLike) -> list[str] | None:
    """Return the names of the tensors in a file of safetensors, None when it is no such file.

    Parameters
    ----------
    path : path

    Notes
    -----
    Such a file begins with the length of its header (8 bytes) and the header, in JSON; the tensors follow.
    """
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if not 2 <= length <= min(MOST_HEADER, size - 8) or handle.read(1) != b"{":
                return None
            header = json.loads(b"{" + handle.read(length - 1))
    except (OSError, ValueError, RecursionError):
        return None
    return [name for name in header if name != "__metadata__"]


def is_keras_archive(path: str | os.PathLike) -> bool:
    """Whether a file is a `.keras` archive: a zip of an architecture and weights; told by the names in it."""
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return KERAS_MEMBERS <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def unread_file(path: str | os.PathLike, where: str) -> MarginomeError | None:
    """Return what to do with a model in a format that is known and not read: ONNX, a SavedModel; else None."""
    if os.path.basename(path).endswith(".index.json"):
        return MarginomeError(
            "this is the index of tensors that are in several files",
            where=where,
            remedy="Put the files together: save_file({**load_file(a), **load_file(b)}, 'model.safetensors'), both of "
            "safetensors.torch; then weights: model.safetensors.",
        )
    fields = _fields(path)
    if fields is not None and 7 in fields and fields.get(1) == 0:
        return MarginomeError(
            "this is an ONNX program, which is not read",
            where=where,
            remedy="Give the state_dict of the model that it was exported from, with a function that builds the model "
            "(loader: path/to/file.py:function). Or let that function convert it, e.g. by onnx2torch: it gets the path "
            "as weights.",
        )
    if fields is not None and set(fields) == {1, 2} and fields[1] == 0 and os.path.basename(path).endswith(".pb"):
        return saved_model(where)
    return None


def no_weights(path: str | os.PathLike, where: str) -> MarginomeError | None:
    """Return what to do with a whole model where a state dict of PyTorch is wanted; None for any other file."""
    with open(path, "rb") as handle:
        keras = handle.read(8) == b"\x89HDF\r\n\x1a\n" or is_keras_archive(path)
    try:
        names = zipfile.ZipFile(path).namelist() if not keras and zipfile.is_zipfile(path) else []
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return None
    exported = any(name.endswith(("archive_format", "serialized_exported_program.json")) for name in names)
    if not keras and not exported:
        return None
    return MarginomeError(
        f"this is a model of {'Keras' if keras else 'torch.export'}, and a state dict of PyTorch is wanted",
        where=where,
        remedy="Leave loader out, so that it is read as what it is; or let the function have a parameter weights, for "
        "the path.",
    )


def unread_folder(path: str | os.PathLike, where: str) -> MarginomeError | None:
    """Return what to do with a folder that a model was published as, None for one of any other content."""
    try:
        names = set(os.listdir(path))
    except OSError:
        return None
    if "saved_model.pb" in names:
        return saved_model(where)
    tensors = sorted(name for name in names if name.endswith(".safetensors") or name == "pytorch_model.bin")
    if "config.json" not in names or not tensors:
        return None
    told = _config(os.path.join(path, "config.json"))
    kind = next((str(told[key]) for key in ("model_type", "architectures") if told.get(key)), "unknown")
    given = f"weights: {os.path.join(path, tensors[0])}"
    if len(tensors) > 1:
        files = ", ".join(os.path.join(path, name) for name in tensors[:3])
        given = f"weights: one file with all tensors (found {files})"
    return MarginomeError(
        f"this is a folder of config.json and {tensors[0]} (model_type: {shown(kind, quotes=False)}), as "
        "transformers saves models",
        where=where,
        remedy=f"Give its file of tensors and the class of the package that wrote it: {given}, "
        "loader: path/to/file.py:function (docs/models.md).",
    )


def saved_model(where: str) -> MarginomeError:
    """Return the error for a SavedModel of TensorFlow."""
    return MarginomeError(
        "this is a SavedModel of TensorFlow, which holds a program and is not read",
        where=where,
        remedy="In an environment with the TensorFlow that wrote it: "
        "tf.keras.models.load_model(folder, compile=False).save('model.h5'); then weights: model.h5.",
    )


def _config(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as handle:
            found = json.loads(handle.read(_MOST_CONFIG))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _fields(path: str | os.PathLike) -> dict[int, int] | None:
    """Field numbers of a protocol buffer and their wire types, None when the file is none: it has to end with a field.

    Contents are passed over, so that a file of any size costs a few reads.
    """
    fields: dict[int, int] = {}
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as handle:
            for _ in range(_MOST_FIELDS):
                if handle.tell() == size:
                    return fields or None
                key = _varint(handle)
                number, wire = key >> 3, key & 7
                if not 0 < number < 100 or wire not in (0, 1, 2, 5):
                    return None
                fields.setdefault(number, wire)
                if wire == 0:
                    _varint(handle)
                else:
                    length = _varint(handle) if wire == 2 else 8 if wire == 1 else 4
                    if handle.tell() + length > size:
                        return None
                    handle.seek(length, os.SEEK_CUR)
    except (OSError, ValueError):
        return None
    return None


def _varint(handle: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = handle.read(1)
        if not byte:
            raise ValueError("the file ends within a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("no number is so long")
