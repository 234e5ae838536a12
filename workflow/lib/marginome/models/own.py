"""Models of the user's own code: built by their function, or saved whole with the classes of their package."""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from marginome.bounded import check_members
from marginome.devices import is_out_of_memory
from marginome.errors import MarginomeError, first_line
from marginome.models.built import Built
from marginome.models.exported import load_scripted
from marginome.models.kinds import safetensors_names
from marginome.models.pickles import damaged_weights, is_archive, is_torchscript
from marginome.models.states import load_strictly, read_weights, state_of
from marginome.usercode import load_user_object

# What a package needs that pip does not bring.
_NEEDS = {
    "flash_attn": ", which needs a CUDA GPU, and nvcc or a wheel of its maker for the PyTorch that is there. Flashzoi "
    "does without it, on any device: loader: config/examples/packages.py:borzoi",
}


def load(file: str | None, bias_file: str | None, settings: Mapping[str, Any], loader: str, where: str) -> Built:
    """Call the user's function, or load a module or TorchScript program that was saved whole; see `Built`."""
    return _own(loader, file, settings, where) if ".py:" in loader else Built(_pickled(file, settings, where))


def _own(loader: str, file: str | None, settings: Mapping[str, Any], where: str) -> Built:
    code = load_user_object(loader, where=f"{where}: loader")
    parameters = dict(settings.get("parameters") or {})
    try:
        accepts = inspect.signature(code).parameters
    except (TypeError, ValueError):
        accepts = {}
    passed = file is not None and (
        "weights" in accepts or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepts.values())
    )
    if passed:
        parameters["weights"] = file
    if settings.get("architecture") is not None:
        if "architecture" not in accepts:
            raise MarginomeError(
                f"architecture is given, but {loader} has no parameter of this name", where=where,
                remedy="Add the parameter, which gets the file's path, or leave architecture out.",
            )  # fmt: skip
        parameters["architecture"] = str(settings["architecture"])
    try:
        module = code(**parameters)
    except MarginomeError:
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise MarginomeError(
            f"{loader} needs the package {package}, which is not installed",
            where=where,
            remedy=f"Where jobs run: pip install {package.replace('_', '-')}{_NEEDS.get(package, '')}",
        ) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise MarginomeError(
            f"{loader} failed: {first_line(error)}",
            where=where,
            remedy=f"It was called with {', '.join(f'{k}={v!r}' for k, v in parameters.items()) or 'no arguments'}.",
        ) from error
    module = _bare(module)
    if not isinstance(module, nn.Module):
        raise MarginomeError(f"{loader} returned {type(module).__name__}; wanted a torch.nn.Module", where=where)
    if file is not None and not passed:
        here = f"{where}: {file}"
        trusted = settings.get("trust_pickle") and safetensors_names(file) is None
        loaded = _unpickled(file, here) if trusted else read_weights(file)
        loaded = loaded.state_dict() if isinstance(loaded, nn.Module) else loaded
        load_strictly(module, state_of(module, loaded, here), here)
    return Built(module)


def _bare(module: Any) -> Any:
    """The module in what torch.compile or DataParallel made of it: operations are looked at one by one here."""
    while isinstance(module, nn.Module):
        wrapped = isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel)
        inner = module.module if wrapped else getattr(module, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            break
        module = inner
    return module


def _pickled(file: str, settings: Mapping[str, Any], where: str) -> nn.Module:
    """A module saved whole, or a TorchScript program."""
    if not settings.get("trust_pickle"):
        raise MarginomeError(
            "a module saved whole runs code when it is loaded; it was not opened",
            where=where,
            remedy="Save its state_dict, or, only if you trust where the file is from, set trust_pickle: true.",
        )
    if is_torchscript(file):
        return load_scripted(file, where)
    module = _unpickled(file, where)
    if not isinstance(module, nn.Module):
        raise MarginomeError(f"the file holds {type(module).__name__}; wanted a torch.nn.Module", where=where)
    return module


def _unpickled(file: str, where: str) -> Any:
    """What a trusted pickle makes, whatever its code does."""
    try:
        if is_archive(file):
            check_members(file)
        return torch.load(file, map_location="cpu", weights_only=False)
    except zipfile.BadZipFile as error:
        raise damaged_weights(file, error) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise MarginomeError(
            f"the pickle cannot be loaded ({first_line(error)})",
            where=where,
            remedy="The package that defines its classes has to be installed.",
        ) from error
