"""Running a model over many sequences, whatever it returns, and reading one number out of what it returns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from tqdm import tqdm

from marginome.batches import check_batches_are_independent
from marginome.devices import free_memory, is_out_of_memory, resolve_device, send
from marginome.errors import MarginomeError, first_line, unknown_name
from marginome.models.reading import REDUCTIONS, TRANSFORMS, read
from marginome.nested import at, check_returned, check_same, first_tensor, leaves, map_structure, shape_and_dtype
from marginome.sequences import name_some, refuse_meta, torch_dtype

__all__ = ["Readout", "first_tensor", "leaves", "map_structure", "predict"]

log = logging.getLogger(__name__)

# What "auto" starts with. On a CPU small batches stay in its cache; a GPU wants to be filled.
AUTO_BATCH = {"cpu": 32, "cuda": 1024}
REDUCED = (torch.float16, torch.bfloat16)


def check_finite(nested: Any, *, what: str = "output", first: int = 0, dim: int = 0) -> None:
    """Raise when a tensor of a nested structure holds NaN, and say for which sequences.

    Infinities pass: a model may well return ``log(0)``.

    Parameters
    ----------
    nested : structure of tensors
        What a model returned, or a function of it.
    what : str, default "output"
        How the message calls it.
    first : int, default 0
        Number of the first sequence in it.
    dim : int, default 0
        The axis of the sequences.

    Raises
    ------
    MarginomeError
    """
    for path, tensor in leaves(nested):
        wrong = tensor.isnan()  # False for integers
        if wrong.any():
            rows = wrong.movedim(dim, 0).flatten(1).any(dim=1) if wrong.ndim > 1 else wrong
            indices = (rows.nonzero().flatten() + first).tolist()
            raise MarginomeError(
                f"the model returned NaN for sequence {name_some(indices)}",
                where=f"{what}{at(path)}",
                remedy="Look at the weights, at these sequences and at the extra arguments.",
            )


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
    """Move to `device`, then cast to `dtype`, so that int8 sequences travel as int8; queued only on a GPU."""
    return send(X if X.element_size() <= dtype.itemsize else X.to(dtype), device).to(dtype)


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


def run_model(model: Callable[..., Any], X: torch.Tensor, args: Sequence[torch.Tensor] = ()) -> Any:
    """Call a model on one batch as it is, and check what comes back.

    Parameters
    ----------
    model : torch.nn.Module, or a function that calls one
        In evaluation mode, on the device of its inputs.
    X : torch.Tensor, shape (n, ...)
        In the dtype that it wants.
    args : sequence of torch.Tensor
        Its further inputs, n entries each.

    Returns
    -------
    nested tensors
        At least one, n entries on axis 0 of each, on the device, without gradients' history only where the
        caller has switched it off.

    Raises
    ------
    MarginomeError
        When forward() raises (says what it was given), when something else than tensors comes back, when a
        tensor has not one entry per sequence. Running out of memory is raised as it comes.
    """
    try:
        output = model(X, *args)
    except MarginomeError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise MarginomeError(
            f"its forward() failed: {first_line(error)}",
            where="model",
            remedy=f"It was given X {shape_and_dtype(X)}"
            + "".join(f", args[{i}] {shape_and_dtype(arg)}" for i, arg in enumerate(args))
            + ".",
        ) from error
    check_returned(output)
    _check_rows(output, len(X))
    return output


def _check_rows(output: Any, n: int) -> None:
    """Raise unless every tensor has n entries on axis 0."""
    for path, tensor in leaves(output):
        if tensor.ndim == 0 or tensor.shape[0] != n:
            raise MarginomeError(
                f"expected one entry on axis 0 for each of {n} sequences, found shape {tuple(tensor.shape)}",
                where=f"output{at(path)} of the model",
                remedy="A squeeze() without an axis drops the axis of a single sequence: write squeeze(-1)."
                if n == 1
                else None,
            )


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
        Empty input, arguments of another length, a forward() that raises (says what it was given), NaN in the
        output (names the sequences), something other than tensors in it, an output without one entry per
        sequence or of another form in another batch, memory that runs out, a model whose numbers for a
        sequence depend on the rest of its batch (looked at when a module is first used).

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
        coarse = dtype in REDUCED or (device.type == "cuda" and torch.backends.cudnn.allow_tf32)
        if not autocast and dtype != weights and any(True for _ in model.parameters()):
            raise MarginomeError(
                f"the model's weights are {weights}, the dtype asked for is {dtype}",
                where="dtype",
                remedy="Convert the model first, e.g. model.double(), and leave dtype out.",
            )

        def run(rows: slice | torch.Tensor) -> Any:
            batch = [_own(X[rows], to_device(X[rows], dtype, device))]
            batch += [_own(arg[rows], cast_argument(arg[rows], dtype, device)) for arg in args]
            return run_model(model, batch[0], batch[1:])

        gathered: Any = None
        start = 0
        with tqdm(total=n, disable=not verbose, unit="seq", desc="predict") as bar:
            while start < n:
                stop = min(start + size, n)
                try:
                    with torch.autocast(device.type, dtype) if autocast else nullcontext():
                        output = run(slice(start, stop))
                        if start == 0:
                            check_batches_are_independent(model, run, output, coarse=coarse)
                        if func is not None:
                            output = func(output)
                            check_returned(output)
                            _check_rows(output, stop - start)
                    output = map_structure(lambda y: y.detach().cpu(), output)
                    ran_out = None
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    ran_out = size
                    size = _smaller(size, batch_size, device, error)
                if ran_out:  # outside the handler, so that its traceback keeps nothing alive
                    output = None
                    free_memory(device)
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


def _own(given: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """Return a batch that is the model's to write into: a copy where moving and casting had nothing to do."""
    return moved.clone() if moved.data_ptr() == given.data_ptr() else moved


def _gather(gathered: Any, output: Any, start: int, stop: int, n: int) -> Any:
    """Write a batch's output into tensors for all n sequences, which the first batch makes."""
    if gathered is None:  # also for one batch: what a model returns may be memory that it writes into again
        gathered = map_structure(lambda tensor: tensor.new_empty((n, *tensor.shape[1:])), output)

    def write(whole: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        check_same(whole[start:stop], part)
        whole[start:stop] = part
        return whole

    return map_structure(write, gathered, output)


# Reading one thing out of what a model returns --------------------------------------------------------------------


class Readout(torch.nn.Module):
    """A model that returns one readout ``(n, k)`` of what another model returns.

    This is what attribution functions need: ``deep_lift_shap(Readout(bpnet, 1), X)`` attributes BPNet's
    counts, ``Readout(bpnet, 0, reduce="profile")`` its profile. The steps are taken in this order, which is
    that of a config's ``outputs``: head, index, reduce, transform.

    Parameters
    ----------
    model : torch.nn.Module
        Returns a tensor or any nesting of lists, tuples and mappings of tensors.
    head : int, str or tuple, optional
        Which tensor: a position, key or name of a field, or a tuple of them for deeper nesting. None for a
        model that returns one tensor.
    index : int, slice, list or tuple, optional
        Which part of it, counted after the axis of sequences: ``3`` or ``[3, 5]`` are targets, a tuple
        indexes several axes, e.g. ``(0, slice(400, 600))``; two lists are rows and columns. All by default.
    reduce : str or callable, optional
        Over everything but the sequences, to k = 1: "mean", "sum", "max", "logsumexp", or "profile" (the
        softmax-weighted sum of the centred logits, over all strands together); or your own function of
        ``(n, ...)``. Not reduced by default: the axes after the first are flattened at the end.
    transform : str or callable, optional
        Elementwise: "exp", "expm1", "log", "log1p", "log2", "sigmoid", "logit", "softplus", or your own
        function or module.

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
        if isinstance(reduce, str) and reduce not in REDUCTIONS:
            raise unknown_name("reduction", reduce, REDUCTIONS, where="reduce")
        self.model = model
        self.head = () if head is None else head if isinstance(head, tuple) else (head,)
        if isinstance(index, str):
            raise MarginomeError(f"expected numbers or slices, found the text {index!r}", where="index",
                                 remedy="Write it as NumPy does: (2, 1), or slice(0, 3).")  # fmt: skip
        parts = index if index is None or isinstance(index, tuple) else (index,)
        self.index = parts and tuple(list(p) if isinstance(p, Sequence) else p for p in parts)
        # Functions given as modules are registered by these assignments, so that .to() and hooks reach them.
        self.transform = TRANSFORMS[transform] if isinstance(transform, str) else transform
        self.reduce = (reduce, ()) if isinstance(reduce, str) else reduce

    def forward(self, X: torch.Tensor, *args: torch.Tensor) -> torch.Tensor:
        """Return the readout ``(n, k)`` for sequences and the model's extra inputs."""
        y = read(self.model(X, *args), self.head, index=self.index, reduce=self.reduce, transform=self.transform)
        return y.unsqueeze(1) if y.ndim == 1 else y.flatten(1)
