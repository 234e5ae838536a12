"""Reading PyTorch's pickled files as data: tensors and attributes come out, nothing in the file is executed."""

from __future__ import annotations

import io
import pickletools
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from marginome.bounded import check_archive, check_file
from marginome.errors import MarginomeError

# The classes of pickled modules that are known: of each, only names and attributes are read (see Record).
KNOWN_MODULES = ("bpnetlite.", "torch.nn.modules.")
# What such files hold besides: numbers and dtypes of NumPy, kept by training logs, and the options of the training.
KNOWN_NAMES = {
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.dtype",
    "numpy.ndarray",
    "collections.defaultdict",
    "builtins.slice",
    "argparse.Namespace",
}
# Of what PyTorch's own reader of weights may call, what a state dict needs (its bytearray(n), say, takes n bytes).
_PLAIN_NAMES = {
    "_codecs.encode", "builtins.complex", "builtins.set", "collections.Counter", "collections.OrderedDict",
    "torch.Size", "torch.Tensor", "torch.device", "torch.nn.parameter.Parameter", "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state", "torch.serialization._get_layout",
}  # fmt: skip
_ODD_TENSORS = {
    "torch._utils._rebuild_meta_tensor_no_storage": "tensors without data (on the meta device)",
    "torch._utils._rebuild_qtensor": "quantized tensors",
    "torch._utils._rebuild_sparse_tensor": "sparse tensors",
    "torch._utils._rebuild_nested_tensor": "nested tensors",
    "torch._utils._rebuild_wrapper_subclass": "tensors of a class of their own",
    "torch._tensor._rebuild_from_type_v2": "tensors of a class of their own",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "tensors of another device",
    "torch._utils._rebuild_device_tensor_from_numpy": "tensors of another device",
}
_LEGACY_PICKLES = 5  # magic number, protocol, system, object, storage keys: the format of torch before 1.6
MOST_PICKLE = 16 << 20  # bytes; a state dict of 1,000 tensors has 0.1 MB of it
_MOST_REPEATED, _SLACK = 4, 64 << 20  # tied weights are there twice; what repeats more must be small (bytes)
_MOST_MODULES, _DEEPEST = 100_000, 100  # modules within modules; a crafted file has them without end


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

    def state_dict(self) -> dict[str, Any]:
        """Collect the tensors of a pickled module as ``Module.state_dict`` names them."""
        tensors: dict[str, Any] = {}
        waiting, seen = [("", 0, self)], 0
        while waiting:
            prefix, depth, record = waiting.pop()
            seen += 1
            if seen > _MOST_MODULES or depth > _DEEPEST:
                raise MarginomeError("it has modules within modules without end", where=self.class_name)
            for group in ("_parameters", "_buffers"):
                for name, value in record.attributes.get(group, {}).items():
                    if isinstance(value, torch.Tensor):
                        tensors[f"{prefix}{name}"] = value.detach()
            for name, child in reversed(record.attributes.get("_modules", {}).items()):
                if isinstance(child, Record):
                    waiting.append((f"{prefix}{name}.", depth + 1, child))
        return tensors


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Say of whatever goes wrong inside that the file is damaged: there is no end of ways to be so."""
    try:
        yield
    except (MarginomeError, MemoryError):
        raise
    except Exception as error:
        raise damaged_weights(path, error) from error


def is_torch_file(path: str | Path) -> bool:
    """Whether a file looks like one that ``torch.save`` wrote, new (zip) or old (a run of pickles)."""
    if is_archive(path):
        return any(name.endswith("/data.pkl") for name in archive_names(path))
    with open(path, "rb") as handle:
        return handle.read(2) in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"PK")


def is_torchscript(path: str | Path) -> bool:
    """Whether a file is a program that ``torch.jit.save`` wrote."""
    return is_archive(path) and any(name.endswith("/constants.pkl") for name in archive_names(path))


def is_archive(path: str | Path) -> bool:
    """Whether a file is a zip archive, which ``torch.save``, ``torch.jit.save`` and ``torch.export.save`` write."""
    with readable(path):
        return zipfile.is_zipfile(path)


def archive_names(path: str | Path) -> list[str]:
    """Return the names of the members of a zip archive."""
    with readable(path), zipfile.ZipFile(path) as archive:
        return archive.namelist()


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
        Tensors are on the CPU, also those saved on a GPU. They may be views of the file: copy what is kept.

    Raises
    ------
    MarginomeError
        When the file is damaged (its checksums are looked at), is no PyTorch file, is TorchScript, takes more
        memory than its own size, or holds classes, functions or kinds of tensors that are not on the
        allow-list; they are named.
    """
    where = str(path)
    check_file(path)
    if is_torchscript(path):
        raise MarginomeError(
            "the file is a TorchScript program, which is code; it was not run",
            where=where,
            remedy="Give the model's state_dict instead (torch.save(model.state_dict(), ...)). Only if you trust where "
            "the file is from: trust_pickle: true.",
        )
    with readable(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's about its old formats, Python's about odd escapes
        zipped = is_archive(path)
        if zipped:
            check_archive(path)
        names = pickled_names(path)
        _refuse_foreign(names, where)
        stand_ins = [
            (type("Record", (Record,), {"class_name": name}), name) for name in names if not _is_plain(name)
        ]  # one class per name: the unpickler tells them apart by identity
        with torch.serialization.safe_globals(stand_ins):
            # mapped, storages are pieces of the file: no pickle can make them take more memory than it
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)


def pickled_names(path: str | Path) -> set[str]:
    """Return the classes and functions that the pickles in a PyTorch file refer to, without loading it.

    References that cannot be read off the opcodes (the torch.save of any version writes none) are named ``?``.
    """
    names: set[str] = set()
    with readable(path), open(path, "rb") as handle:
        if zipfile.is_zipfile(handle):
            with zipfile.ZipFile(handle) as archive:
                members = [member for member in archive.infolist() if member.filename.endswith("data.pkl")]
                if not members:
                    raise ValueError("a zip archive without a PyTorch pickle in it")
                for member in members:
                    _check_length(member.file_size, path)
                    with archive.open(member) as inner:
                        names |= _names_of_one_pickle(io.BytesIO(inner.read(MOST_PICKLE)))
        else:
            handle.seek(0)
            if handle.read(2) == b"PK":
                raise ValueError("a zip archive without its end")
            handle.seek(0)
            for _ in range(_LEGACY_PICKLES):
                names |= _names_of_one_pickle(handle)
                _check_length(handle.tell(), path)
                if not handle.peek(1):  # a plain pickle
                    break
    return names


def _check_length(length: int, path: str | Path) -> None:
    """Refuse a long pickle: objects of one byte each take sixty in memory."""
    if length > MOST_PICKLE:
        raise MarginomeError(
            f"beside its tensors the file holds more than {MOST_PICKLE >> 20} MB of objects",
            where=str(path),
            remedy="Save the state_dict alone: torch.save(model.state_dict(), ...).",
        )


def plain_tensors(tensors: Mapping[Any, Any], where: str) -> dict[str, torch.Tensor]:
    """Return named tensors after checking that each is what weights are: dense real numbers with their data.

    Raises
    ------
    MarginomeError
        For a name that is no text, a value that is no tensor, a tensor without data, sparse, quantized, nested or
        complex (its name is in the message).
    """
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise MarginomeError(f"a tensor is named {name!r}; wanted a text", where=where)
        if not isinstance(tensor, torch.Tensor):
            raise MarginomeError(f"'{name}' is {type(tensor).__name__}; wanted a tensor", where=where)
        odd = (
            "without data (on the meta device)" if tensor.is_meta else "nested" if tensor.is_nested
            else "sparse" if tensor.layout != torch.strided else "quantized" if tensor.is_quantized
            else "complex" if tensor.is_complex() else ""
        )  # fmt: skip
        if odd:
            raise MarginomeError(f"the tensor '{name}' is {odd}; wanted real numbers", where=where)
    return dict(tensors)


def refuse_repeated(tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Refuse views that repeat a little data into many values, where the shapes of a file decide how much is made."""
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    storages = [tensor.untyped_storage() for tensor in tensors.values()]
    data = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    if total > _MOST_REPEATED * data + _SLACK:
        raise MarginomeError(
            f"its {len(tensors)} tensors take {total >> 20:,} MB, made of {data >> 20:,} MB of data",
            where=where,
            remedy="Save copies: {name: tensor.clone() for name, tensor in model.state_dict().items()}.",
        )


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


def _refuse_foreign(names: set[str], where: str) -> None:
    """Refuse a pickle that refers to more than tensors, plain containers and classes that become records."""
    foreign = sorted(name for name in names if not (_is_plain(name) or _is_record(name) or name in _torch_names()))
    if foreign:
        listed = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
        raise MarginomeError(
            f"the file is a pickle that needs code to be read ({listed}); it was not run",
            where=where,
            remedy="Save the model's state_dict instead (torch.save(model.state_dict(), ...)). Only if you trust where "
            "the file is from: trust_pickle: true.",
        )
    odd = sorted(name for name in names if not (_is_plain(name) or _is_record(name)))
    if odd:
        kinds = sorted({_ODD_TENSORS[name] for name in odd if name in _ODD_TENSORS}) or odd
        raise MarginomeError(
            f"the file holds {' and '.join(kinds)}; wanted plain tensors",
            where=where,
            remedy="Save the state_dict of a model whose weights are plain tensors on the CPU or a GPU.",
        )


def _torch_names() -> dict[str, Any]:
    """What PyTorch's own reader of weights may call."""
    return torch._weights_only_unpickler._get_allowed_globals()


def _is_plain(name: str) -> bool:
    """Whether a name is of what any state dict may refer to: tensors, storages, dtypes, plain containers."""
    known = _torch_names().get(name)
    return known is not None and (name in _PLAIN_NAMES or isinstance(known, torch.dtype) or name.endswith("Storage"))


def _is_record(name: str) -> bool:
    """Whether a name is of a class whose objects are read as `Record`."""
    return name.startswith(("numpy.dtypes.", *KNOWN_MODULES)) or name in KNOWN_NAMES


def damaged_weights(path: str | Path, error: object) -> MarginomeError:
    """Build the error for a weights file that cannot be read to its end."""
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip().splitlines()
    return MarginomeError(
        "the file cannot be read: it is damaged, cut short, or no file of weights "
        f"({text[0][:200] if text else type(error).__name__})",
        where=str(path),
        remedy="Copy or download it again and compare its size and checksum with the source.",
    )
