"""Reading PyTorch's pickled files as data: tensors and attributes come out, nothing in the file is executed."""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from marginome.errors import MarginomeError

# The classes of pickled modules that are known: of each, only names and attributes are read (see Record).
KNOWN_MODULES = ("bpnetlite.", "torch.nn.modules.")
# What such files hold besides: numbers and dtypes of NumPy, kept by training logs.
KNOWN_NAMES = {
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.dtype",
    "numpy.ndarray",
    "collections.defaultdict",
    "builtins.slice",
}
_LEGACY_PICKLES = 5  # magic number, protocol, system, object, storage keys: the format of torch before 1.6


class Record:
    """An object of a pickle, read as data: the name of its class, its arguments and its attributes.

    It stands for every class of the allow-list, so that a module saved whole can be read without the
    package that defines it, and without running any of that package's (or anybody's) code.
    """

    class_name = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Record:
        """Keep the arguments; do nothing with them."""
        record = object.__new__(cls)
        record.arguments = args
        record.attributes = {}
        return record

    def __setstate__(self, state: Any) -> None:
        """Keep the pickled attributes; do nothing with them."""
        self.attributes = state if isinstance(state, dict) else {"state": state}

    def __getitem__(self, name: str) -> Any:
        """Return an attribute, parameter, buffer or submodule."""
        for group in ("_modules", "_parameters", "_buffers"):
            if name in self.attributes.get(group, {}):
                return self.attributes[group][name]
        return self.attributes[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, parameter, buffer or submodule, or `default`."""
        try:
            return self[name]
        except KeyError:
            return default

    def state_dict(self, prefix: str = "") -> dict[str, torch.Tensor]:
        """Collect the tensors of a pickled module as ``Module.state_dict`` names them."""
        tensors = {}
        for group in ("_parameters", "_buffers"):
            for name, value in self.attributes.get(group, {}).items():
                if isinstance(value, torch.Tensor):
                    tensors[prefix + name] = value.detach()
        for name, child in self.attributes.get("_modules", {}).items():
            if isinstance(child, Record):
                tensors |= child.state_dict(f"{prefix}{name}.")
        return tensors


def is_torch_file(path: str | Path) -> bool:
    """Whether a file looks like one that ``torch.save`` wrote, new (zip) or old (a run of pickles)."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    with open(path, "rb") as handle:
        return handle.read(2) in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"PK")


def read_torch_file(path: str | Path) -> Any:
    """Read what ``torch.save`` wrote, on the CPU, with ``weights_only=True`` and without running its code.

    Parameters
    ----------
    path : path
        A state dict, a dict that holds one, or a module saved whole whose classes are on the allow-list
        (`KNOWN_MODULES`): those come back as `Record`.

    Returns
    -------
    object
        Tensors are on the CPU, also those saved on a GPU.

    Raises
    ------
    MarginomeError
        When the file is damaged, is no PyTorch file, or holds classes or functions that are not on the
        allow-list; they are named.
    """
    where = str(path)
    names = pickled_names(path)
    foreign = sorted(name for name in names if not _is_known(name))
    stand_ins = [
        (type("Record", (Record,), {"class_name": name}), name) for name in names if _needs_stand_in(name)
    ]  # one class per name: the unpickler tells them apart by identity
    try:
        if foreign:
            raise pickle.UnpicklingError(foreign[0])
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        listed = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
        raise MarginomeError(
            f"the file is a pickle that needs code to be read ({listed or str(error).splitlines()[0]}); it was not run",
            where=where,
            remedy="Save the model's state_dict instead (torch.save(model.state_dict(), ...)) or export it with "
            "torch.export. Only if you trust where the file is from: trust_pickle: true.",
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, OSError, AttributeError, TypeError) as error:
        raise damaged_weights(path, error) from error


def pickled_names(path: str | Path) -> set[str]:
    """Return the classes and functions that a PyTorch file refers to, without loading it."""
    with open(path, "rb") as handle:
        return names_of_pickles(handle, path)


def names_of_pickles(handle: BinaryIO, path: str | Path) -> set[str]:
    """Return the classes and functions that the pickles in an open PyTorch file refer to; `path` is for messages.

    References that cannot be read off the opcodes (the torch.save of any version writes none) are named ``?``.
    """
    names: set[str] = set()
    try:
        if zipfile.is_zipfile(handle):
            with zipfile.ZipFile(handle) as archive:
                members = [name for name in archive.namelist() if name.endswith("data.pkl")]
                if not members:
                    raise MarginomeError(
                        "a zip archive without a PyTorch pickle in it",
                        where=str(path),
                        remedy="Give the file that torch.save or torch.export.save wrote.",
                    )
                for member in members:
                    names |= _names_of_one_pickle(io.BytesIO(archive.read(member)))
        else:
            handle.seek(0)
            if handle.read(2) == b"PK":
                raise ValueError("a zip archive without its end")
            handle.seek(0)
            for _ in range(_LEGACY_PICKLES):
                names |= _names_of_one_pickle(handle)
                rest = handle.read(1)
                if not rest:  # a plain pickle
                    break
                handle.seek(-1, io.SEEK_CUR)
    except MarginomeError:
        raise
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, KeyError, IndexError) as error:
        raise damaged_weights(path, error) from error
    return names


def _names_of_one_pickle(handle: BinaryIO) -> set[str]:
    names = set()
    for operation, argument, _ in pickletools.genops(handle):
        if operation.name in ("GLOBAL", "INST"):
            module, name = argument.split(" ", 1)
            names.add(_modern(module, name))
        elif operation.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            names.add("?")
    return names


def _modern(module: str, name: str) -> str:
    """Full name in Python 3's terms (protocol 2 writes Python 2's, e.g. ``__builtin__``)."""
    module, name = torch._utils.NAME_MAPPING.get((module, name), (module, name))
    return f"{torch._utils.IMPORT_MAPPING.get(module, module)}.{name}"


def plain_names() -> dict[str, Any]:
    """What every PyTorch file may refer to: tensors, storages, dtypes, plain containers."""
    return torch._weights_only_unpickler._get_allowed_globals()  # tensors, storages, dtypes, containers


def _needs_stand_in(name: str) -> bool:
    return name not in plain_names() and _is_known(name)


def _is_known(name: str) -> bool:
    if name.startswith("numpy.dtypes.") or name in KNOWN_NAMES or name in plain_names():
        return True
    return any(name.startswith(package) for package in KNOWN_MODULES)


def damaged_weights(path: str | Path, error: object) -> MarginomeError:
    """Build the error for a weights file that cannot be read to its end."""
    text = str(error).strip().splitlines()
    return MarginomeError(
        f"the file cannot be read: it is damaged, cut short, or no file of weights ({text[0] if text else error})",
        where=str(path),
        remedy="Copy or download it again and compare its size and checksum with the source.",
    )
