"""`load_model`: from one entry of the config's ``models`` to a model with named outputs and known inputs."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from marginome.bounded import check_file, is_archive
from marginome.errors import MarginomeError, first_line, unknown_name
from marginome.models.arguments import Argument, resolve_arguments
from marginome.models.built import Built, no_memory, one_line
from marginome.models.outputs import Output, Readouts, describe, resolve_outputs
from marginome.models.wrappers import ALPHABET, AlphabetOrder, Construct, Ensemble, average_strands
from marginome.nested import check_returned, leaves
from marginome.storage import sha256_of

# Imported by name: a loader that is added counts for no other's models; `headers.reader_modules` names a model's own.
loaders = importlib.import_module("marginome.models.loaders")

SETTINGS = (
    "loader", "weights", "bias_weights", "component", "architecture", "input_length", "parameters", "alphabet",
    "average_strands", "arguments", "outputs", "trust_pickle", "flanks", "input_scale",
)  # fmt: skip
# of the settings that are not text
_FILES = ((str, Path, list, tuple), "a path or a list of paths")
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "weights": _FILES, "bias_weights": _FILES, "architecture": ((str, Path), "a path"),
    "input_length": ((Integral,), "a whole number"), "parameters": ((Mapping,), "a mapping"),
    "average_strands": ((bool, list, tuple), "true, false or a list of heads"), "arguments": ((list, tuple), "a list"),
    "flanks": ((Mapping,), "a mapping"), "input_scale": ((int, float), "a number"),
    "outputs": ((Mapping,), "a mapping"), "trust_pickle": ((bool,), "true or false"),
}  # fmt: skip


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to run, and what is known about it.

    Attributes
    ----------
    name : str
        As in the config.
    module : torch.nn.Module
        In eval mode, float32 (or float64), on the CPU; ``forward(X, *args)`` returns what its author's forward
        returns. X is ``(n, 4, input_length)``, channels A C G T whatever the model was trained on. An
        ensemble returns the mean of its members.
    outputs : tuple of Output
        The named readouts.
    input_length : int
        In bp.
    args : tuple of Argument
        The extra inputs, in their order; empty for most models.
    loader : str
        The loader's name, given or recognised.
    sha256 : tuple of str
        Of the weights files, in the config's order (bias_weights behind).
    members : int
        1, or how many models the ensemble averages.
    files : tuple of str
        The weights files that `sha256` belongs to.
    """

    name: str
    module: nn.Module
    outputs: tuple[Output, ...]
    input_length: int
    args: tuple[Argument, ...]
    loader: str
    sha256: tuple[str, ...]
    members: int = 1
    files: tuple[str, ...] = ()

    def readouts(self) -> nn.Module:
        """Return a module whose ``forward(X, *args)`` is a dict of output name to tensor.

        Scalar outputs are ``(n, k)``, profile outputs ``(n, strands, length)`` logits.
        """
        return Readouts(self.module, self.outputs).eval()

    def arguments(self, background_ids: Sequence[str], X: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the extra inputs for these backgrounds, each ``(n, *shape)``, float32, on the CPU.

        Parameters
        ----------
        background_ids : sequence of str
            One per sequence. A bigWig is read at the coordinates in the id (``chrom:start-end``).
        X : Tensor, shape (n, 4, length), optional
            The backgrounds; their number is compared with the ids'.
        """
        if X is not None and len(X) != len(background_ids):
            raise MarginomeError(f"{len(background_ids)} background ids for {len(X)} sequences", where=self._where)
        return tuple(argument.values(background_ids, self._where) for argument in self.args)

    def member(self, index: int) -> LoadedModel:
        """Return one member of an ensemble as a model of its own, e.g. to compute the spread of the folds."""
        if not 0 <= index < self.members:
            raise MarginomeError(f"there is no member {index}; it has {self.members}", where=self._where)
        if self.members == 1:
            return self
        return replace(self, name=f"{self.name}.{index}", module=self.module.members[index], members=1)

    @property
    def _where(self) -> str:
        return f"model '{self.name}'"


def load_model(name: str, settings: Mapping[str, Any], *, precision: str = "float32") -> LoadedModel:
    """Load one model of the config.

    Parameters
    ----------
    name : str
        Its name in the config.
    settings : mapping
        Its entry under ``models:``; the keys are described in ``workflow/lib/marginome/schemas/models.schema.yaml``
        and in docs/models.md. ``loader`` is recognised from the file when it is left out.
    precision : str, default "float32"
        ``float64`` casts the weights; with any other they are float32.

    Returns
    -------
    LoadedModel
        One forward pass on one sequence was run: the shapes and the outputs are checked.

    Raises
    ------
    MarginomeError
        When a file is missing, damaged, or of another architecture; when weights are not finite; when
        the input length, an output or an extra input does not fit; when the model fails on a sequence
        or needs more memory than there is.

    Notes
    -----
    Nothing in a weights file is executed: PyTorch files are read with ``weights_only=True`` (modules of
    bpnet-lite saved whole as data, through an allow-list of classes), Keras files as JSON and arrays.
    Two things run code, because the config says so: ``file.py:name`` (a loader, a transform, a measure),
    and ``trust_pickle: true``, without which no ``.pt2`` and no TorchScript is opened.
    """
    where = f"model '{name}'"
    _check_settings(settings, where)
    weights, bias_weights = _files(settings, "weights", where), _files(settings, "bias_weights", where)
    with _members(weights, settings, where) as members:
        return _load(name, settings, precision, weights, members, bias_weights)


def _load(
    name: str, settings: Mapping[str, Any], precision: str, given: Sequence[str], weights: Sequence[str],
    bias_weights: Sequence[str],
) -> LoadedModel:  # fmt: skip
    """Load a model of the files `weights`, which are those `given` or what is in them."""
    where = f"model '{name}'"
    loader = settings.get("loader") or _recognised(weights, settings, where)
    if ".py:" not in loader and loader not in loaders.LOADERS:
        raise unknown_name("loader", loader, [*loaders.LOADERS, "path/to/file.py:name"], where=where)
    if ".py:" not in loader and not weights:
        raise MarginomeError(f"the loader {loader} needs weights", where=where, remedy="Give weights: path/to/file.")
    if len(bias_weights) not in (0, 1, len(weights)):
        raise MarginomeError(
            f"{len(bias_weights)} bias_weights for {len(weights)} weights", where=where,
            remedy="Give one bias file per accessibility file, or one for all.",
        )  # fmt: skip
    bias_files = bias_weights * len(weights) if len(bias_weights) == 1 else bias_weights
    scale = 1 if settings.get("input_scale") is None else settings["input_scale"]
    if not 0 < scale < math.inf:
        raise MarginomeError(f"found {scale}, wanted a number above 0", where=f"{where}: input_scale")
    left, right = _flanks(settings, where)
    beside = len(left) + len(right)
    whole = dict(settings)
    if beside and settings.get("input_length") is not None:
        whole["input_length"] = settings["input_length"] + beside
    built = [
        _build(loader, file, bias_files[i] if bias_files else None, whole, where)
        for i, file in enumerate(weights or [None])
    ]
    length = _input_length(built, settings, beside, where)
    with one_line("the extra inputs cannot be used", f"{where}: arguments"):
        arguments = resolve_arguments(settings.get("arguments"), _known_arguments(built[0], length + beside), where)
    alphabet = str(settings.get("alphabet") or built[0].alphabet)
    if sorted(alphabet) != sorted(ALPHABET):
        raise MarginomeError(f"alphabet '{alphabet}' is no order of A, C, G, T", where=where)
    modules, examples = [], []
    for member, file in zip(built, weights or [loader]):
        member_where = f"{where}: {file}"
        with one_line("the module cannot be made ready", member_where):
            module = _ready(member.module, member_where)
        module = module if alphabet == ALPHABET else AlphabetOrder(module, alphabet).eval()
        module = Construct(module, left, right, scale).eval() if beside or scale != 1 else module
        with one_line("the model cannot be run on a sequence", member_where):
            examples.append(_example(module, length, arguments, member_where))
        modules.append(module)
    for file, example in zip(weights, examples):
        if describe(example) != describe(examples[0]):
            raise MarginomeError(
                f"the members of the ensemble differ: {weights[0]} returns {describe(examples[0])}, {file} returns "
                f"{describe(example)}",
                where=where,
            )
    with one_line("the outputs cannot be used", f"{where}: outputs"):
        outputs = resolve_outputs(
            settings.get("outputs"), built[0].outputs, examples[0], where, positions_first=built[0].positions_first,
            length=length + beside, flank=len(left),
        )  # fmt: skip
    if asked := settings.get("average_strands"):
        stranded = built[0].stranded
        if asked is not True:  # what the config says goes before what the loader knows
            strands = importlib.import_module("marginome.models.strands")
            with one_line("average_strands cannot be used", where):
                stranded = (*stranded, *strands.stranded_heads(asked, examples[0], where))
        modules = [average_strands(m, outputs, arguments, examples[0], where, stranded).eval() for m in modules]
    module = modules[0] if len(modules) == 1 else Ensemble(modules).eval()
    module = module.double() if precision == "float64" else module
    files = (*given, *bias_weights)
    return LoadedModel(
        name=name,
        module=module,
        outputs=outputs,
        input_length=length,
        args=arguments,
        loader=loader,
        sha256=tuple(sha256_of(file) for file in files),
        members=len(modules),
        files=files,
    )


def _check_settings(settings: Mapping[str, Any], where: str) -> None:
    """Refuse unknown keys, and values of a type that would mean something else than it says ("false" is true)."""
    if not isinstance(settings, Mapping):
        raise MarginomeError(f"found {settings!r}, wanted the keys of a model", where=where)
    for key, value in settings.items():
        if key not in SETTINGS:
            raise unknown_name("key", key, SETTINGS, where=where)
        types, wanted = _TYPES.get(key, ((str,), "text"))
        if value is not None and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
            raise MarginomeError(f"found {value!r}, wanted {wanted}", where=f"{where}: {key}")


@contextmanager
def _members(weights: Sequence[str], settings: Mapping[str, Any], where: str) -> Iterator[Sequence[str]]:
    """The files of the members: those that are given, and for an archive the folds in it."""
    if ".py:" in (settings.get("loader") or "") or not any(map(is_archive, weights)):
        yield weights  # what a function of the user's reads is its own matter
        return
    with importlib.import_module("marginome.models.archives").unpacked(weights, settings, where) as members:
        yield members


def _recognised(weights: Sequence[str], settings: Mapping[str, Any], where: str) -> str:
    return importlib.import_module("marginome.models.recognition").recognise_loader(weights, settings, where)


def _files(settings: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = settings.get(key)
    files = () if value is None else (str(value),) if isinstance(value, str | Path) else tuple(map(str, value))
    for file in files:
        if os.path.isdir(file):
            published = importlib.import_module("marginome.models.kinds").unread_folder(file, f"{where}: {key}")
            if published:
                raise published
        check_file(file, where=f"{where}: {key}: {file}")
        if Path(file).stat().st_size == 0:
            raise MarginomeError(f"the file '{file}' is empty", where=f"{where}: {key}")
    return files


def _build(loader: str, file: str | None, bias_file: str | None, settings: Mapping[str, Any], where: str) -> Built:
    here = f"{where}: {file}" if file else where
    if bias_file and loader not in loaders.WITH_BIAS:
        raise MarginomeError(f"bias_weights mean nothing to the loader {loader}", where=where)
    # the user's function has no file of its own to be named
    told = where if ".py:" in loader else here
    with one_line("the file holds something else than a model of this loader", here):
        reader = importlib.import_module(f"marginome.models.{loaders.LOADERS.get(loader, loaders.OWN)}")
        return reader.load(file, bias_file, settings, loader, told)


def _known_arguments(built: Built, length: int) -> tuple[Argument, ...]:
    """The loader's extra inputs; an unknown length (0) of a track is the model's input length."""
    return tuple(replace(a, shape=tuple(n or length for n in a.shape)) for a in built.arguments)


def _flanks(settings: Mapping[str, Any], where: str) -> tuple[str, str]:
    """What stands left and right of every sequence that the model is given."""
    flanks = settings.get("flanks") or {}
    for key, letters in flanks.items():
        if key not in ("left", "right"):
            raise unknown_name("key", key, ["left", "right"], where=f"{where}: flanks")
        if not isinstance(letters, str) or set(letters.upper()) - {*ALPHABET, "N"}:
            raise MarginomeError(
                f"found {str(letters)[:40]!r}, wanted a sequence of A, C, G, T and N", where=f"{where}: flanks.{key}"
            )
    return flanks.get("left") or "", flanks.get("right") or ""


def _input_length(built: Sequence[Built], settings: Mapping[str, Any], beside: int, where: str) -> int:
    """The length of the sequences that are given, without the flanks."""
    given = settings.get("input_length")
    told = {b.input_length - beside for b in built if b.input_length is not None}
    if told and min(told) < 1:
        raise MarginomeError(
            f"the flanks have {beside} bp, and the model reads {min(told) + beside} bp", where=f"{where}: flanks",
            remedy="Give the parts of the assay's own sequence that the model was trained with.",
        )  # fmt: skip
    if len(told) > 1:
        raise MarginomeError(f"the members of the ensemble want sequences of {sorted(told)} bp", where=where)
    if told and given is not None and int(given) != next(iter(told)):
        raise MarginomeError(
            f"input_length is {given}, but the model reads {next(iter(told))} bp"
            f"{' between its flanks' if beside else ''}",
            where=f"{where}: input_length",
        )
    if not told and given is None:
        raise MarginomeError(
            "input_length is missing, and the file does not tell it", where=where, remedy="Give input_length, in bp."
        )
    if given is not None and given < 1:
        raise MarginomeError(f"input_length is {given}; wanted at least 1 bp", where=f"{where}: input_length")
    return int(given) if given is not None else told.pop()


def _ready(module: nn.Module, where: str) -> nn.Module:
    """In eval mode, float32, on the CPU, without gradients of the weights; every weight finite."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    meta = [name for name, tensor in tensors if tensor.is_meta]
    if meta:
        raise MarginomeError(
            f"{len(meta)} of {len(tensors)} weights have no data, the first: {meta[0]} (on the meta device)",
            where=where,
            remedy="Make the module on the CPU and load its weights before it is returned.",
        )
    module = module.to("cpu").float().eval()
    module.requires_grad_(False)
    for kind, tensors in (("weight", module.named_parameters()), ("buffer", module.named_buffers())):
        for name, tensor in tensors:
            counted = tensor.is_floating_point() or tensor.is_complex()
            bad = int((~torch.isfinite(tensor)).sum()) if counted else 0
            if bad:
                raise MarginomeError(
                    f"{bad} of {tensor.numel()} values of the {kind} {name} are NaN or infinite",
                    where=where,
                    remedy="The training diverged or the file is damaged: take another checkpoint.",
                )
    return module


def _example(module: nn.Module, length: int, arguments: Sequence[Argument], where: str) -> Any:
    """What the model returns for one sequence; the extra inputs are zeros or the given constant."""
    X = torch.zeros(1, 4, length)
    X[0, torch.arange(length) % 4, torch.arange(length)] = 1.0
    args = [torch.full((1, *argument.shape), argument.value) for argument in arguments]
    try:
        with torch.no_grad():
            example = module(X, *args)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise no_memory(where, error) from error
    except Exception as error:
        if "allocate memory" in str(error) or "not enough memory" in str(error):
            raise no_memory(where, error) from error
        if "Guard failed" in str(error) and "size()[0]" in str(error):
            raise MarginomeError(
                f"the exported program takes batches of one size only ({first_line(error)})",
                where=where,
                remedy="Export it with a dynamic batch: torch.export.export(model, (X,), "
                "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)).",
            ) from error
        shapes = "".join(f", {argument.name} (1, {', '.join(map(str, argument.shape))})" for argument in arguments)
        raise MarginomeError(
            f"the model fails on a sequence of {length} bp: {first_line(error)}",
            where=where,
            remedy=f"It was given X (1, 4, {length}){shapes}. Check input_length and arguments.",
        ) from error
    try:
        check_returned(example)
    except MarginomeError as error:
        raise MarginomeError(
            f"for a sequence of {length} bp the model returned something else than tensors: {error.what}",
            where=f"{where}: {error.where}",
            remedy=error.remedy or "Wrap the model in a module of your own that returns tensors (loader: file.py:name)",
        ) from error
    empty = [v for v in _tensors(example) if v.numel() == 0]
    if empty:
        raise MarginomeError(
            f"the model returns nothing for {length} bp ({describe(example)})",
            where=where,
            remedy="The sequence is shorter than what the model cuts off: give its true input_length.",
        )
    if any(v.ndim == 0 or v.shape[0] != 1 for v in _tensors(example)):
        raise MarginomeError(
            f"the first axis of what the model returns is not the batch ({describe(example)})", where=where
        )
    return example


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for _, leaf in leaves(value)]
