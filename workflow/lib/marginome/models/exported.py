"""Programs of PyTorch, which are code: ``torch.export`` (.pt2) and TorchScript; loaded only when they are trusted."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from marginome.bounded import check_members
from marginome.errors import MarginomeError, first_line
from marginome.models.built import Built
from marginome.models.pickles import archive_names, is_archive


def is_exported(path: str) -> bool:
    """Whether a file is one that ``torch.export.save`` wrote."""
    return is_archive(path) and any(
        name.endswith(("archive_format", "serialized_exported_program.json")) for name in archive_names(path)
    )


def load(file: str, bias_file: str | None, settings: Mapping[str, Any], loader: str, where: str) -> Built:
    """Load an exported program; see `Built`."""
    return Built(load_exported(file, bool(settings.get("trust_pickle")), where))


def load_exported(path: str, trusted: bool, where: str) -> nn.Module:
    """Load an exported program as a module that has modes and can be copied, as any other.

    Parameters
    ----------
    path : str
        Written by ``torch.export.save``.
    trusted : bool
        ``trust_pickle: true``. PyTorch's loader evaluates strings of the file, unpickles, and loads shared
        libraries that are in it; there is no telling a harmless program from its content.
    where : str
        For messages.

    Raises
    ------
    MarginomeError
        Not trusted (the file is then not opened by PyTorch), damaged, or of another PyTorch.
    """
    if not trusted:
        raise MarginomeError(
            "an exported program runs code when it is loaded; it was not opened",
            where=where,
            remedy="Give the model's state_dict instead, with a loader that builds the module. Only if you trust where "
            "the file is from: trust_pickle: true.",
        )
    if not is_exported(path):
        raise MarginomeError(
            "this is not a file of torch.export.save",
            where=where,
            remedy="Give the loader that fits it, or leave loader out.",
        )

    def load() -> nn.Module:
        program = torch.export.load(path).module()
        # the exported module forbids train() and eval(); its graph, which has its mode from the export, does not
        return torch.fx.GraphModule(program, program.graph)

    return _loaded(path, load, where)


class Scripted(nn.Module):
    """A TorchScript program as a module like any other: one whose operations can be seen while it runs.

    Parameters
    ----------
    program : torch.jit.ScriptModule

    Notes
    -----
    TorchScript's optimizer fuses operations from the second call on, which neither attributions nor the
    incremental engine would see, and which round differently from call to call; it is off here.
    """

    def __init__(self, program: torch.jit.ScriptModule):
        super().__init__()
        self.program = program

    def forward(self, X: Tensor, *args: Tensor) -> Any:
        """What the program returns."""
        with torch.jit.optimized_execution(False):
            return self.program(X, *args)

    def requires_grad_(self, requires_grad: bool = True) -> Scripted:
        """Set whether gradients of the weights are kept, which a ScriptModule itself cannot."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self


def load_scripted(path: str, where: str) -> nn.Module:
    """Load a trusted TorchScript program, on the CPU, as a module like any other (see `Scripted`)."""
    return _loaded(path, lambda: Scripted(torch.jit.load(path, map_location="cpu")), where)


def _loaded(path: str, load: Callable[[], nn.Module], where: str) -> nn.Module:
    """What `load` returns, or one line that says why it cannot; PyTorch's own words beside it are dropped."""
    try:
        with _quiet():
            check_members(path)
            return load()
    except MemoryError:
        raise
    except Exception as error:
        raise MarginomeError(
            f"the program cannot be loaded ({first_line(error)})",
            where=where,
            remedy=f"It may be damaged, or of another PyTorch: export it again with PyTorch {torch.__version__}.",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what PyTorch warns and logs while it loads or fails to."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
