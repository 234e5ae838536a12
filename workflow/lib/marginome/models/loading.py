"""`load_model`: from one entry of the config's ``models`` to a model with named outputs and known inputs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from marginome.errors import MarginomeError, unknown_name
from marginome.models import beluga, bpnet, keras
from marginome.models.arguments import Argument, resolve_arguments
from marginome.models.exported import is_exported, load_exported
from marginome.models.outputs import Output, Readouts, describe, resolve_outputs
from marginome.models.pickles import Record, is_torch_file, read_torch_file
from marginome.models.wrappers import ALPHABET, AlphabetOrder, Ensemble, average_strands
from marginome.nested import check_returned, leaves
from marginome.storage import sha256_of
from marginome.usercode import load_user_object

LOADERS = ("bpnet_lite", "chrombpnet", "bpnet_keras", "keras", "beluga", "torch_export", "pickled_module")
SETTINGS = (
    "loader", "weights", "bias_weights", "component", "architecture", "input_length", "parameters", "alphabet",
    "average_strands", "arguments", "outputs", "trust_pickle",
)  # fmt: skip


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


@dataclass(frozen=True)
class Built:
    """What a loader made of one weights file: the module and what the file tells about it."""

    module: nn.Module
    input_length: int | None = None
    arguments: tuple[Argument, ...] = ()
    outputs: tuple[Output, ...] = ()
    alphabet: str = ALPHABET
    positions_first: bool = False


def load_model(name: str, settings: Mapping[str, Any], *, precision: str = "float32") -> LoadedModel:
    """Load one model of the config.

    Parameters
    ----------
    name : str
        Its name in the config.
    settings : mapping
        Its entry under ``models:``; the keys are described in ``workflow/schemas/models.schema.yaml``
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
    Two things run the user's own code, because the config says so: ``loader: file.py:name`` and
    ``trust_pickle: true``.
    """
    where = f"model '{name}'"
    for key in settings:
        if key not in SETTINGS:
            raise unknown_name("key", key, SETTINGS, where=where)
    weights, bias_weights = _files(settings, "weights", where), _files(settings, "bias_weights", where)
    loader = settings.get("loader") or recognise_loader(weights, settings, where)
    if ".py:" not in loader and loader not in LOADERS:
        raise unknown_name("loader", loader, [*LOADERS, "path/to/file.py:name"], where=where)
    if ".py:" not in loader and not weights:
        raise MarginomeError(f"the loader {loader} needs weights", where=where, remedy="Give weights: path/to/file.")
    if len(bias_weights) not in (0, 1, len(weights)):
        raise MarginomeError(
            f"{len(bias_weights)} bias_weights for {len(weights)} weights", where=where,
            remedy="Give one bias file per accessibility file, or one for all.",
        )  # fmt: skip
    bias_files = bias_weights * len(weights) if len(bias_weights) == 1 else bias_weights
    built = [
        _build(loader, file, bias_files[i] if bias_files else None, settings, where)
        for i, file in enumerate(weights or [None])
    ]
    length = _input_length(built, settings, where)
    arguments = resolve_arguments(settings.get("arguments"), _known_arguments(built[0], length), where)
    alphabet = str(settings.get("alphabet") or built[0].alphabet)
    if sorted(alphabet) != sorted(ALPHABET):
        raise MarginomeError(f"alphabet '{alphabet}' is no order of A, C, G, T", where=where)
    modules, examples = [], []
    for member, file in zip(built, weights or [loader]):
        member_where = f"{where}: {file}"
        module = _ready(member.module, member_where)
        module = module if alphabet == ALPHABET else AlphabetOrder(module, alphabet).eval()
        examples.append(_example(module, length, arguments, member_where))
        modules.append(module)
    for file, example in zip(weights, examples):
        if describe(example) != describe(examples[0]):
            raise MarginomeError(
                f"the members of the ensemble differ: {weights[0]} returns {describe(examples[0])}, {file} returns "
                f"{describe(example)}",
                where=where,
            )
    outputs = resolve_outputs(
        settings.get("outputs"), built[0].outputs, examples[0], where, positions_first=built[0].positions_first
    )
    if settings.get("average_strands"):
        modules = [average_strands(m, outputs, arguments, examples[0], where).eval() for m in modules]
    module = modules[0] if len(modules) == 1 else Ensemble(modules).eval()
    module = module.double() if precision == "float64" else module
    files = (*weights, *bias_weights)
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


def recognise_loader(weights: Sequence[str], settings: Mapping[str, Any], where: str) -> str:
    """Tell the loader from the content of the first weights file; it is read as data only."""
    if not weights:
        raise MarginomeError("neither loader nor weights are given", where=where, remedy="Give weights: path/to/file.")
    file = weights[0]
    with open(file, "rb") as handle:
        start = handle.read(8)
    if start == b"\x89HDF\r\n\x1a\n":
        return "keras"
    if is_exported(file):
        return "torch_export"
    if is_torch_file(file):
        if settings.get("trust_pickle"):
            return "pickled_module"
        loaded = read_torch_file(file)
        if isinstance(loaded, Record) and loaded.class_name.startswith("bpnetlite."):
            return "bpnet_lite"
        if not isinstance(loaded, Record):
            state = bpnet.plain_state(loaded, f"{where}: {file}")
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
    hint = " (a .keras archive: save it as .h5)" if str(file).endswith(".keras") else ""
    raise MarginomeError(
        f"the kind of file is not recognised{hint}",
        where=f"{where}: {file}",
        remedy=f"Known are files of torch.save, torch.export.save and Keras (.h5). Or give loader: "
        f"{', '.join(LOADERS)}, or path/to/file.py:name.",
    )


def _files(settings: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = settings.get(key)
    files = () if value is None else (str(value),) if isinstance(value, str | Path) else tuple(map(str, value))
    for file in files:
        if not Path(file).is_file():
            raise MarginomeError(
                f"there is no file '{file}'",
                where=f"{where}: {key}",
                remedy="Paths are relative to the working directory.",
            )
        if Path(file).stat().st_size == 0:
            raise MarginomeError(f"the file '{file}' is empty", where=f"{where}: {key}")
    return files


def _build(loader: str, file: str | None, bias_file: str | None, settings: Mapping[str, Any], where: str) -> Built:
    here = f"{where}: {file}" if file else where
    if bias_file and loader not in ("bpnet_lite", "chrombpnet", "keras"):
        raise MarginomeError(f"bias_weights mean nothing to the loader {loader}", where=where)
    try:
        if ".py:" in loader:
            return _own(loader, file, settings, where)
        if loader == "bpnet_lite":
            return _bpnet_lite(file, bias_file, settings, here)
        if loader in ("keras", "chrombpnet", "bpnet_keras"):
            return Built(**keras.load_keras(file, bias_file, settings, loader, here))
        if loader == "beluga":
            state = bpnet.plain_state(read_torch_file(file), here)
            return Built(beluga.build(state, here), beluga.INPUT_LENGTH, (), beluga.OUTPUTS, beluga.ALPHABET)
        if loader == "torch_export":
            return Built(load_exported(file, bool(settings.get("trust_pickle")), here))
        return Built(_pickled(file, settings, here))
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _no_memory(here, error) from error


def _bpnet_lite(file: str, bias_file: str | None, settings: Mapping[str, Any], where: str) -> Built:
    module = bpnet.build(read_torch_file(file), settings, where)
    if bias_file:
        bias = bpnet.build(read_torch_file(bias_file), {}, f"{where}: {bias_file}")
        module = bpnet.join(module, bias, where)
    arguments = ()
    tracks = getattr(module, "n_control_tracks", 0)
    if tracks:
        flip = (0, 1) if tracks == 2 else (1,)
        arguments = (Argument("controls", (tracks, 0), flip=flip),)  # the length is filled in when it is known
    return Built(module, None, arguments, bpnet_outputs())


def bpnet_outputs(softmax: str = "both") -> tuple[Output, ...]:
    """The outputs of every BPNet: log counts (head 1) and profile logits (head 0)."""
    return (
        Output("counts", head=1, unit="log counts", measure="difference"),
        Output("profile", "profile", 0, unit="logits", measure="jensen_shannon_distance", softmax=softmax),
    )


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
    try:
        module = code(**parameters)
    except MarginomeError:
        raise
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise MarginomeError(
            f"{loader} failed: {type(error).__name__}: {error}",
            where=where,
            remedy=f"It was called with {', '.join(f'{k}={v!r}' for k, v in parameters.items()) or 'no arguments'}.",
        ) from error
    if not isinstance(module, nn.Module):
        raise MarginomeError(f"{loader} returned {type(module).__name__}; wanted a torch.nn.Module", where=where)
    if file is not None and not passed:
        here = f"{where}: {file}"
        loaded = torch.load(file, map_location="cpu", weights_only=False) if settings.get("trust_pickle") else None
        bpnet.load_strictly(module, bpnet.plain_state(loaded or read_torch_file(file), here), here)
    return Built(module)


def _pickled(file: str, settings: Mapping[str, Any], where: str) -> nn.Module:
    if not settings.get("trust_pickle"):
        raise MarginomeError(
            "a module saved whole runs code when it is loaded",
            where=where,
            remedy="Save its state_dict, export it with torch.export, or, only if you trust where the file is from, "
            "set trust_pickle: true.",
        )
    try:
        module = torch.load(file, map_location="cpu", weights_only=False)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise MarginomeError(
            f"the pickle cannot be loaded ({type(error).__name__}: {str(error).splitlines()[0]})",
            where=where,
            remedy="The package that defines its classes has to be installed.",
        ) from error
    if not isinstance(module, nn.Module):
        raise MarginomeError(f"the file holds {type(module).__name__}; wanted a torch.nn.Module", where=where)
    return module


def _known_arguments(built: Built, length: int) -> tuple[Argument, ...]:
    """The loader's extra inputs; an unknown length (0) of a track is the model's input length."""
    return tuple(replace(a, shape=tuple(n or length for n in a.shape)) for a in built.arguments)


def _input_length(built: Sequence[Built], settings: Mapping[str, Any], where: str) -> int:
    given = settings.get("input_length")
    told = {b.input_length for b in built if b.input_length is not None}
    if len(told) > 1:
        raise MarginomeError(f"the members of the ensemble want sequences of {sorted(told)} bp", where=where)
    if told and given is not None and int(given) != next(iter(told)):
        raise MarginomeError(
            f"input_length is {given}, but the model reads {next(iter(told))} bp", where=f"{where}: input_length"
        )
    if not told and given is None:
        raise MarginomeError(
            "input_length is missing, and the file does not tell it", where=where, remedy="Give input_length, in bp."
        )
    return int(given) if given is not None else told.pop()


def _ready(module: nn.Module, where: str) -> nn.Module:
    """In eval mode, float32, on the CPU, without gradients of the weights; every weight finite."""
    module = module.to("cpu").float().eval()
    module.requires_grad_(False)
    for kind, tensors in (("weight", module.named_parameters()), ("buffer", module.named_buffers())):
        for name, tensor in tensors:
            bad = int((~torch.isfinite(tensor)).sum()) if tensor.is_floating_point() else 0
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
        raise _no_memory(where, error) from error
    except Exception as error:
        text = str(error).strip().splitlines()
        if "allocate memory" in str(error) or "not enough memory" in str(error):
            raise _no_memory(where, error) from error
        if "Guard failed" in str(error) and "size()[0]" in str(error):
            raise MarginomeError(
                f"the exported program takes batches of one size only ({text[0]})",
                where=where,
                remedy="Export it with a dynamic batch: torch.export.export(model, (X,), "
                "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)).",
            ) from error
        shapes = "".join(f", {argument.name} (1, {', '.join(map(str, argument.shape))})" for argument in arguments)
        raise MarginomeError(
            f"the model fails on a sequence of {length} bp: {type(error).__name__}: {text[0] if text else ''}",
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


def _no_memory(where: str, error: BaseException) -> MarginomeError:
    text = str(error).strip().splitlines()
    return MarginomeError(
        f"the model needs more memory than there is ({text[0] if text else type(error).__name__})",
        where=where,
        remedy="Run it on a machine with more memory (resources: mem_mb), or take fewer members of the ensemble.",
    )
