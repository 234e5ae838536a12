"""What the header of a weights file tells of a model before it is loaded. Imports no PyTorch."""

from __future__ import annotations

import functools
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from marginome.bounded import ARCHITECTURE, is_archive
from marginome.hdf5 import Request, read_foreign_hdf5
from marginome.models.kinds import KERAS_MEMBERS, is_keras_archive, safetensors_names
from marginome.models.loaders import LOADERS, OWN
from marginome.textfiles import is_address, read_text

#: Loaders whose outputs are counts and profile, heads 1 and 0 of two.
BPNET_LOADERS = ("bpnet_lite", "chrombpnet", "bpnet_keras")
KERAS_LOADERS = tuple(loader for loader, module in LOADERS.items() if module == "keras")

#: A pickle of names is much smaller; a larger one is not looked at.
MOST_BYTES = 1 << 26
_BPNET = ("iconv.weight", "fconv.weight", "linear.weight")


class Header(NamedTuple):
    """What is known of a model without loading it; None where only loading tells.

    Attributes
    ----------
    input_length : int or None
        That the file tells (bp); 0 when no file of this kind tells it, so that the config must.
    outputs : tuple of str or None
        Names of the loader's own outputs; empty when it has none, so that the config must name them.
    heads : tuple of (int or str) or None
        What `head` of an output may be; a list of several is a path into nested outputs and is not looked at.
    """

    input_length: int | None = None
    outputs: tuple[str, ...] | None = None
    heads: tuple[int | str, ...] | None = None


def read_header(settings: Mapping[str, Any]) -> Header:
    """Return what the loader and the first weights file of a model tell.

    Parameters
    ----------
    settings : mapping
        A model's entry in the config; its files exist.

    Returns
    -------
    Header
        All None for what cannot be read: `check_model`, which loads the file, says what is wrong with it.
    """
    header = _of_file(settings)
    beside = sum(len(letters or "") for letters in (settings.get("flanks") or {}).values())
    if header.input_length and beside:  # what is given stands between the flanks
        return header._replace(input_length=max(header.input_length - beside, 0) or None)
    return header


def _of_file(settings: Mapping[str, Any]) -> Header:
    weights = settings.get("weights") or []
    file = weights if isinstance(weights, str) else next(iter(weights), None)
    if file and is_archive(file) and ".py:" not in (settings.get("loader") or ""):
        # looking into an archive at every start would take longer than it tells
        return Header(None, ("counts", "profile") if settings.get("loader") in BPNET_LOADERS else None)
    loader = settings.get("loader") or (recognise(file, bool(settings.get("trust_pickle"))) if file else None)
    if loader is None or (file and is_address(file) and loader in KERAS_LOADERS):
        return Header()
    if loader == "beluga":
        return Header(2000, ("logits", "probabilities"), ("logits", "probabilities"))
    if loader == "bpnet_lite":
        return Header(0, ("counts", "profile"), (0, 1, -1, -2))
    if loader == "cherimoya":  # its signal groups, and with them its profiles, are told when it is loaded
        return Header(0, None, (0, 1, -1, -2))
    if loader in KERAS_LOADERS and file:
        return _keras(file, settings, loader)
    return Header(0, ())


def recognise(file: str, trusted: bool = False) -> str | None:
    """Return the loader of a weights file, None where the header does not tell.

    It never says another than `marginome.models.recognition.recognise_loader`, which loads the file: of state dicts
    only BPNet's are told, by the names in the pickle, which is looked at as bytes, or in the header of safetensors.

    Parameters
    ----------
    file : path
    trusted : bool, default False
        ``trust_pickle`` of the entry: then a file of torch.save is a pickled module.
    """
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return _recognised(file, trusted, found.st_mtime_ns, found.st_size)


@functools.cache  # a config is checked and its jobs are planned by it; of thousands of files each is opened once
def _recognised(file: str, trusted: bool, changed: int, size: int) -> str | None:
    try:
        with open(file, "rb") as handle:
            if handle.read(8) == b"\x89HDF\r\n\x1a\n":
                return "keras"
        named = safetensors_names(file)
        if named is not None:
            return "bpnet_lite" if all(any(name.endswith(key) for name in named) for key in _BPNET) else None
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if KERAS_MEMBERS <= set(names):
                return "keras"
            if any(name.endswith(("archive_format", "serialized_exported_program.json")) for name in names):
                return "torch_export"
            pickles = [name for name in names if name.endswith("/data.pkl")]
            small = bool(pickles) and archive.getinfo(pickles[0]).file_size <= MOST_BYTES
            content = archive.read(pickles[0]) if small else b""
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, ValueError):
        return None
    if pickles and trusted:
        return "pickled_module"
    if b"signal_groups" in content and b"state_dict" in content:
        return "cherimoya"
    bpnet = all(name.encode() in content for name in _BPNET) and b"conv_weight" not in content
    return "bpnet_lite" if bpnet else None


def reader_modules(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the modules that read the files of a model, for `provenance.code_digest`.

    Parameters
    ----------
    settings : mapping
        A model's entry in the config.

    Returns
    -------
    tuple of str
        Names relative to the package. Where neither the entry nor the file's header tells the loader: all that it may
        be, which are those of torch.save's files, and of a file at an address all there are.
    """
    loader = settings.get("loader")
    weights = settings.get("weights") or []
    files = [weights] if isinstance(weights, str) else weights
    packed = any(is_archive(file) or is_address(file) for file in files)
    unpacking = ("models.archives",) if loader in (None, *LOADERS) and packed else ()
    more = (*(("models.strands",) if isinstance(settings.get("average_strands"), list) else ()), *unpacking)
    if loader:
        return (*more, f"models.{LOADERS.get(loader, OWN)}")
    if unpacking:
        return (*more, "models.recognition", *(f"models.{module}" for module in sorted({*LOADERS.values()})))
    file = next(iter(files), None)
    found = recognise(file, bool(settings.get("trust_pickle"))) if file else None
    modules = {LOADERS[found]} if found else {*LOADERS.values()} - {"keras"}
    return (*more, "models.recognition", *(f"models.{module}" for module in sorted(modules)))


def _keras(file: str, settings: Mapping[str, Any], loader: str) -> Header:
    architecture = settings.get("architecture")
    try:
        if architecture:
            text = read_text(architecture, ARCHITECTURE)
        else:
            text = (
                _architecture_of(file)
                or read_foreign_hdf5(Request(file, datasets="(?!)")).attributes[""]["model_config"]
            )  # no dataset
        inner = json.loads(text)["config"]
        sequential = isinstance(inner, list) or "input_layers" not in inner
        layers = inner if isinstance(inner, list) else inner["layers"]
        outputs = [] if sequential else _layers(inner["output_layers"])
        wanted = _name(layers[0]) if sequential else _layers(inner["input_layers"])[0]
        first = next(layer for layer in layers if _name(layer) == wanted)["config"]
        length = (first.get("batch_input_shape") or first.get("batch_shape") or (None, None))[1]
    except (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, StopIteration):
        return Header()
    length = length if isinstance(length, int) and length > 0 else None
    parts = [any(word in name for name in outputs) for word in ("profile", "logcount")]
    if loader in BPNET_LOADERS or all(parts):
        return Header(length, ("counts", "profile"))
    return Header(length, tuple(outputs) if len(outputs) == 1 else None)


def _architecture_of(file: str) -> str | None:
    """The architecture in a `.keras` archive; None for a file of another kind."""
    if not is_keras_archive(file):
        return None
    with zipfile.ZipFile(file) as archive, archive.open("config.json") as member:
        return member.read(ARCHITECTURE.most).decode()


def _layers(entry: Any) -> list[str]:
    """Names of layers in ``[["a", 0, 0], ...]``, or in Keras 3's ``["a", 0, 0]`` for a single one."""
    return [str(item[0]) for item in ([entry] if isinstance(entry[0], str) else entry)]


def _name(layer: Mapping[str, Any]) -> str:
    return layer.get("name") or layer["config"]["name"]
