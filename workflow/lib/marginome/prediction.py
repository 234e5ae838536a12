"""Running a model over many sequences, whatever it returns, and reading one number out of what it returns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from tqdm import tqdm

from marginome.devices import is_out_of_memory, resolve_device
from marginome.errors import MarginomeError, unknown_name
from marginome.sequences import name_some, refuse_meta, torch_dtype

log = logging.getLogger(__name__)

# What "auto" starts with. On a CPU small batches stay in its cache; a GPU wants to be filled.
AUTO_BATCH = {"cpu": 32, "cuda": 1024}
REDUCED = (torch.float16, torch.bfloat16)


# Nested outputs ---------------------------------------------------------------------------------------------------


def leaves(nested: Any, path: tuple = ()) -> Iterator[tuple[tuple, torch.Tensor]]:
    """Yield ``(path, tensor)`` for every tensor of a nested list, tuple or mapping; None is skipped.

    Raises
    ------
    MarginomeError
        When something else is in it (says where and what).
    """
    if isinstance(nested, torch.Tensor):
        yield path, nested
    elif isinstance(nested, Mapping):
        for key, value in nested.items():
            yield from leaves(value, (*path, key))
    elif isinstance(nested, list | tuple):
        for i, value in enumerate(nested):
            yield from leaves(value, (*path, i))
    elif nested is not None:
        raise MarginomeError(
            f"found {type(nested).__name__}, expected a tensor or lists, tuples and dicts of tensors",
            where=f"output{_at(path)} of the model",
        )


def map_structure(fn: Callable, nested: Any, *others: Any) -> Any:
    """Apply `fn` to every tensor of a nested structure and return the same structure.

    Parameters
    ----------
    fn : callable
        Called with the tensor, and with the tensors at the same place in `others`.
    nested : tensor, or list, tuple, named tuple or mapping of such
        None stays None. A mapping comes back as a dict.
    *others
        More structures of the same form.
    """
    if nested is None:
        return None
    if isinstance(nested, torch.Tensor):
        return fn(nested, *others)
    if isinstance(nested, Mapping):
        return {key: map_structure(fn, value, *(o[key] for o in others)) for key, value in nested.items()}
    if isinstance(nested, list | tuple):
        parts = [map_structure(fn, value, *(o[i] for o in others)) for i, value in enumerate(nested)]
        if hasattr(nested, "_fields"):
            return type(nested)(*parts)
        return tuple(parts) if isinstance(nested, tuple) else parts
    raise MarginomeError(
        f"found {type(nested).__name__}, expected a tensor or lists, tuples and dicts of tensors",
        where="output of the model",
    )


def first_tensor(nested: Any) -> torch.Tensor:
    """Return the first tensor of a nested structure; an error when there is none."""
    for _, tensor in leaves(nested):
        return tensor
    raise MarginomeError("there is no tensor in it", where="output of the model")


def check_finite(nested: Any, *, what: str = "output", first: int = 0, dim: int = 0) -> None:
    """Raise when a tensor of a nested structure holds NaN, and say for which sequences.

    Infinities pass: a model may well return ``log(0)``.

    Parameters
    ----------
    nested : structure of tensors
        With the sequences on axis `dim`.
    what : str, default "output"
        How the message calls it.
    first : int, default 0
        Number of the first sequence in it.
    """
    for path, tensor in leaves(nested):
        if not tensor.is_floating_point():
            continue
        wrong = tensor.isnan()
        if wrong.any():
            rows = wrong.movedim(dim, 0).flatten(1).any(dim=1) if wrong.ndim > 1 else wrong
            indices = (rows.nonzero().flatten() + first).tolist()
            raise MarginomeError(
                f"the model returned NaN for sequence {name_some(indices)}",
                where=f"{what}{_at(path)}",
                remedy="Look at the weights, at these sequences and at the extra arguments.",
            )


def _at(path: tuple) -> str:
    return "".join(f"[{key!r}]" for key in path)


# Running a model --------------------------------------------------------------------------------------------------


def model_dtype(model: torch.nn.Module) -> torch.dtype:
    """Return the dtype of a model's weights: of its first floating-point parameter or buffer, else float32."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            return tensor.dtype
    return torch.float32


@contextmanager
def evaluating(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Put a model on `device` in evaluation mode; restore device and every module's mode, whatever happens.

    A frozen part in evaluation mode inside a model in training mode comes back as it was.
    """
    if not isinstance(model, torch.nn.Module):
        raise MarginomeError(f"expected a torch.nn.Module, found {type(model).__name__}", where="model")
    modes = [(module, module.training) for module in model.modules()]
    weights = [*model.parameters(), *model.buffers()]
    for tensor in weights:
        refuse_meta(tensor, "a weight of the model")
    home = next((tensor.device for tensor in weights), None)
    try:
        model.to(device).eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
        if home is not None:
            model.to(home)


def to_device(X: torch.Tensor, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Move to `device`, then cast to `dtype`, so that int8 sequences travel as int8."""
    if X.element_size() <= dtype.itemsize:
        return X.to(device).to(dtype)
    return X.to(dtype).to(device)


def cast_argument(arg: torch.Tensor, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Move an extra argument to `device` and cast it like `X`, but leave indices and masks as they are.

    Floating-point values and 8-bit integers (encodings) become `dtype`; wider integers and booleans
    keep theirs, since an embedding or a mask wants them so.
    """
    if arg.is_floating_point() or arg.dtype in (torch.int8, torch.uint8):
        return to_device(arg, dtype, device)
    return arg.to(device)


def check_args(args: Sequence[torch.Tensor] | None, n: int) -> tuple[torch.Tensor, ...]:
    """Return the extra arguments, without gradients, after checking that each has one entry per sequence."""
    if args is None:
        return ()
    if isinstance(args, torch.Tensor):
        raise MarginomeError(
            "expected a tuple of tensors, found a tensor", where="args", remedy="Write args=(tensor,)."
        )
    for i, arg in enumerate(args):
        if not isinstance(arg, torch.Tensor):
            raise MarginomeError(f"expected a tensor, found {type(arg).__name__}", where=f"args[{i}]")
        refuse_meta(arg, f"args[{i}]")
        if arg.ndim == 0 or arg.shape[0] != n:
            found = arg.shape[0] if arg.ndim else "no first axis"
            raise MarginomeError(f"expected {n} entries on axis 0, one per sequence, found {found}", where=f"args[{i}]")
    return tuple(arg.detach() for arg in args)


def predict(
    model: torch.nn.Module,
    X: torch.Tensor,
    args: Sequence[torch.Tensor] | None = None,
    func: Callable[[Any], Any] | None = None,
    batch_size: int | str = 32,
    dtype: torch.dtype | str | None = None,
    device: str | torch.device | None = None,
    verbose: bool = False,
) -> Any:
    """Run a model over sequences in batches, without gradients, and gather what it returns on the CPU.

    Parameters
    ----------
    model : torch.nn.Module
        Run in evaluation mode on `device`; its modes and device are restored, also after an error.
    X : torch.Tensor, shape (n, ...)
        Sequences, of any dtype: int8 stays int8 until it is on the device.
    args : sequence of torch.Tensor, optional
        More inputs of the model, each with n entries on axis 0, cut into batches along with `X`.
        Floating-point and 8-bit ones are cast like `X`; other integers and booleans are not.
    func : callable, optional
        Applied to each batch of outputs on the device, e.g. to keep less than the model returns. Has to
        keep one entry per sequence.
    batch_size : int or "auto", default 32
        Sequences at a time. "auto" starts with 32 on a CPU and 1,024 on a GPU and halves, with a
        warning in the log, as long as memory runs out.
    dtype : torch.dtype or str, optional
        What `X` is cast to; the dtype of the model's weights by default. float16 and bfloat16 run a
        wider model under autocast.
    device : str or torch.device, optional
        CUDA where there is one by default, else the CPU, as in the field's other tools.
    verbose : bool, default False
        Show a progress bar with sequences per second.

    Returns
    -------
    tensor, or list, tuple, named tuple or dict of such
        The structure that the model (or `func`) returns, each tensor with n entries on axis 0.

    Raises
    ------
    MarginomeError
        Empty input, arguments of another length, NaN in the output (names the sequences), something
        other than tensors in it, an output without one entry per sequence, memory that runs out.

    Examples
    --------
    >>> predict(torch.nn.Flatten(), torch.ones(3, 4, 5, dtype=torch.int8)).shape
    torch.Size([3, 20])
    """
    if not isinstance(X, torch.Tensor):
        raise MarginomeError(f"expected a tensor, found {type(X).__name__}", where="X")
    if X.ndim == 0 or X.shape[0] == 0:
        raise MarginomeError(f"there is no sequence in it: shape {tuple(X.shape)}", where="X")
    refuse_meta(X, "X")
    n = X.shape[0]
    args = check_args(args, n)
    device = resolve_device(device)
    if batch_size == "auto":
        size = AUTO_BATCH.get(device.type, AUTO_BATCH["cpu"])
    elif isinstance(batch_size, int) and not isinstance(batch_size, bool) and batch_size > 0:
        size = batch_size
    else:
        raise MarginomeError(f"expected a whole number above 0 or 'auto', found {batch_size!r}", where="batch_size")
    size = min(size, n)

    with evaluating(model, device), torch.no_grad():
        weights = model_dtype(model)
        dtype = weights if dtype is None else torch_dtype(dtype)
        autocast = dtype in REDUCED and dtype != weights
        if not autocast and dtype != weights and any(True for _ in model.parameters()):
            raise MarginomeError(
                f"the model's weights are {weights}, the dtype asked for is {dtype}",
                where="dtype",
                remedy="Convert the model first, e.g. model.double(), and leave dtype out.",
            )
        gathered: Any = None
        start = 0
        with tqdm(total=n, disable=not verbose, unit="seq", desc="predict") as bar:
            while start < n:
                stop = min(start + size, n)
                try:
                    with torch.autocast(device.type, dtype) if autocast else nullcontext():
                        output = model(
                            to_device(X[start:stop], dtype, device),
                            *(cast_argument(arg[start:stop], dtype, device) for arg in args),
                        )
                        if func is not None:
                            output = func(output)
                    output = map_structure(torch.Tensor.cpu, output)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    size = _smaller(size, batch_size, device, error)
                    output = None
                if output is None:  # out of memory: outside the handler, so that its traceback keeps nothing alive
                    if device.type == "cuda":
                        torch.cuda.empty_cache()
                    continue
                check_finite(output, first=start)
                gathered = _gather(gathered, output, start, stop, n)
                bar.update(stop - start)
                start = stop
    return gathered


def _smaller(size: int, batch_size: int | str, device: torch.device, error: BaseException) -> int:
    """Return half the batch for "auto"; raise for a batch the user chose and when one sequence is too much."""
    if batch_size != "auto" or size == 1:
        raise MarginomeError(
            f"memory ran out on {device} with {size} sequence{'s' if size > 1 else ''} in a batch",
            where="batch_size",
            remedy="Lower batch_size, or use 'auto'." if size > 1 else "Use a machine with more memory.",
        ) from error
    log.warning("memory ran out on %s with %d sequences in a batch: going on with %d", device, size, size // 2)
    return size // 2


def _gather(gathered: Any, output: Any, start: int, stop: int, n: int) -> Any:
    """Write a batch's output into tensors for all n sequences, which the first batch makes."""
    for path, tensor in leaves(output):
        if tensor.ndim == 0 or tensor.shape[0] != stop - start:
            raise MarginomeError(
                f"expected one entry on axis 0 for each of {stop - start} sequences, found shape {tuple(tensor.shape)}",
                where=f"output{_at(path)} of the model",
            )
    if gathered is None:
        first_tensor(output)
        if stop == n and start == 0:
            return output
        gathered = map_structure(lambda tensor: tensor.new_empty((n, *tensor.shape[1:])), output)

    def write(whole: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        if whole.shape[1:] != part.shape[1:]:
            raise MarginomeError(
                f"its shape changes from batch to batch: {tuple(whole.shape[1:])}, then {tuple(part.shape[1:])}",
                where="output of the model",
            )
        whole[start:stop] = part
        return whole

    return map_structure(write, gathered, output)


# Reading one thing out of what a model returns --------------------------------------------------------------------


class WeightedLogits(torch.nn.Module):
    """Profile logits weighted by their own softmax over the last axis, the logits centred first.

    Summed over positions this is the readout by which profile models are usually attributed (Avsec et
    al. 2021, Nature Genetics 53:354): the expected centred logit under the predicted profile.
    """

    def __init__(self):
        super().__init__()
        self.softmax = torch.nn.Softmax(dim=-1)

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """Weight logits of any shape; softmax and mean run over the last axis."""
        logits = logits - logits.mean(dim=-1, keepdim=True)
        return logits * self.softmax(logits)


TRANSFORMS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sigmoid": torch.sigmoid,
}
# Each takes (n, everything) and returns (n, 1).
REDUCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": lambda y: y.mean(dim=1, keepdim=True),
    "sum": lambda y: y.sum(dim=1, keepdim=True),
    "max": lambda y: y.amax(dim=1, keepdim=True),
    "logsumexp": lambda y: y.logsumexp(dim=1, keepdim=True),
}


class Readout(torch.nn.Module):
    """A model that returns one readout ``(n, k)`` of what another model returns.

    This is what attribution functions need: ``deep_lift_shap(Readout(bpnet, 1), X)`` attributes BPNet's
    counts, ``Readout(bpnet, 0, reduce="profile")`` its profile. The steps are taken in this order.

    Parameters
    ----------
    model : torch.nn.Module
        Returns a tensor or any nesting of lists, tuples and mappings of tensors.
    head : int, str or tuple, optional
        Which tensor: a position or key, or a tuple of them for deeper nesting. None for a model that
        returns one tensor.
    index : int, slice, list or tuple, optional
        Which part of it, counted after the axis of sequences: ``3`` or ``[3, 5]`` are targets, a tuple
        indexes several axes, e.g. ``(0, slice(400, 600))``. All by default.
    transform : str or callable, optional
        Elementwise: "exp", "expm1", "log", "log1p", "sigmoid", or your own function or module.
    reduce : str or callable, optional
        Over everything but the sequences, to k = 1: "mean", "sum", "max", "logsumexp", or "profile" (the
        softmax-weighted sum of the centred logits, over all strands together); or your own function of
        ``(n, ...)``. Not reduced by default: the axes after the first are flattened.

    Examples
    --------
    >>> Readout(torch.nn.Flatten(), index=[0, 2])(torch.ones(5, 4, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        model: torch.nn.Module,
        head: int | str | tuple | None = None,
        *,
        index: int | slice | Sequence | None = None,
        reduce: str | Callable | None = None,
        transform: str | Callable | None = None,
    ):
        super().__init__()
        if not isinstance(model, torch.nn.Module):
            raise MarginomeError(f"expected a torch.nn.Module, found {type(model).__name__}", where="model")
        if isinstance(transform, str) and transform not in TRANSFORMS:
            raise unknown_name("transform", transform, TRANSFORMS, where="transform")
        if isinstance(reduce, str) and reduce not in (*REDUCTIONS, "profile"):
            raise unknown_name("reduction", reduce, (*REDUCTIONS, "profile"), where="reduce")
        self.model = model
        self.head = () if head is None else head if isinstance(head, tuple) else (head,)
        self.index = index
        # Functions given as modules are registered by these assignments, so that .to() and hooks reach them.
        self.transform = TRANSFORMS[transform] if isinstance(transform, str) else transform
        self.reduce = WeightedLogits() if reduce == "profile" else reduce

    def forward(self, X: torch.Tensor, *args: torch.Tensor) -> torch.Tensor:
        """Return the readout ``(n, k)`` for sequences and the model's extra inputs."""
        y = _head(self.model(X, *args), self.head)
        if self.index is not None:
            y = _index(y, self.index)
        if self.transform is not None:
            y = self.transform(y)
        if isinstance(self.reduce, WeightedLogits):
            return REDUCTIONS["sum"](self.reduce(y.flatten(1)))
        if isinstance(self.reduce, str):
            return REDUCTIONS[self.reduce](y.flatten(1))
        if self.reduce is not None:
            y = self.reduce(y)
        return y.unsqueeze(1) if y.ndim == 1 else y.flatten(1)


def _head(nested: Any, path: tuple[Hashable, ...]) -> torch.Tensor:
    for depth, key in enumerate(path):
        where = f"head {path if len(path) > 1 else path[0]!r}"
        if isinstance(nested, torch.Tensor):
            raise MarginomeError(
                f"output{_at(path[:depth])} of the model is one tensor {tuple(nested.shape)}, it has no heads",
                where=where,
                remedy="Use index= to choose targets of a tensor.",
            )
        if isinstance(nested, Mapping):
            keys: Sequence = list(nested)
        elif isinstance(nested, list | tuple):
            keys = [*range(len(nested)), *range(-len(nested), 0)]
        else:
            keys = []
        if isinstance(key, str) and key in getattr(nested, "_fields", ()):
            nested = getattr(nested, key)
            continue
        if key not in keys:
            raise unknown_name("head", key, [k for k in keys if not (isinstance(k, int) and k < 0)], where=where)
        nested = nested[key]
    if not isinstance(nested, torch.Tensor):
        found = [path for path, _ in leaves(nested)]
        raise MarginomeError(
            f"the model returns {len(found)} tensors",
            where="head",
            remedy=f"Choose one of {', '.join(repr(p[0] if len(p) == 1 else p) for p in found)}.",
        )
    return nested


def _index(y: torch.Tensor, index: int | slice | Sequence) -> torch.Tensor:
    parts = index if isinstance(index, tuple) else (index,)
    try:
        if y.ndim <= len(parts):
            raise IndexError(f"{len(parts)} indices for {y.ndim - 1} axes")
        chosen = y[(slice(None), *(list(p) if isinstance(p, Sequence) else p for p in parts))]
    except IndexError as error:
        raise MarginomeError(
            f"{index!r} is out of range for an output {('n', *y.shape[1:])} ({error})".replace("'n'", "n"),
            where="index",
        ) from None
    if chosen.numel() == 0:
        raise MarginomeError(f"{index!r} leaves nothing of an output {tuple(y.shape[1:])}", where="index")
    return chosen
