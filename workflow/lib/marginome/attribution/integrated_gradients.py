"""Integrated gradients: what each base adds to a model's output on the straight way from a reference to a sequence."""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from marginome.attribution.deep_lift_shap import AUTO_PAIRS, REDUCED, AttributionsDeltas
from marginome.attribution.differentiating import attributable, differentiable, target_of
from marginome.attribution.references import References
from marginome.devices import is_out_of_memory, resolve_device
from marginome.errors import MarginomeError
from marginome.footprint import passes_at_once
from marginome.prediction import cast_argument, check_args, check_finite, evaluating, model_dtype, run_model, to_device
from marginome.sequences import torch_dtype, validate_one_hot
from marginome.shuffles import dinucleotide_shuffle

log = logging.getLogger(__name__)


def integrated_gradients(
    model: torch.nn.Module,
    X: torch.Tensor,
    args: Sequence[torch.Tensor] | None = None,
    target: int = 0,
    batch_size: int | str = "auto",
    references: Callable[..., torch.Tensor] | torch.Tensor = dinucleotide_shuffle,
    n_shuffles: int = 20,
    n_steps: int = 50,
    hypothetical: bool = False,
    warning_threshold: float = 0.01,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    random_state: int | Sequence[int] | None = None,
    verbose: bool = False,
    *,
    return_deltas: bool = False,
    allow_tf32: bool = False,
    memory_bytes: float | None = None,
) -> torch.Tensor | AttributionsDeltas:
    """Attribute one output of a model to the bases of sequences by integrated gradients.

    The gradient is averaged along the straight line from a reference to the sequence. It needs no rules of operations,
    so that it is right for every differentiable model; it costs `n_steps` times what DeepLIFT costs.

    Parameters
    ----------
    model, X, args, target, references, n_shuffles, hypothetical, dtype, device, random_state, verbose
        As in `marginome.deep_lift_shap`.
    allow_tf32, memory_bytes
        As in `marginome.deep_lift_shap`; what is measured is one point.
    batch_size : int or "auto", default "auto"
        Points at a time, which bounds the memory. "auto" is 32 on a CPU and 640 on a GPU, halved, with a warning in
        the log, as long as memory runs out.
    n_steps : int, default 50
        Points on the line, those of Gauss-Legendre quadrature.
    warning_threshold : float, default 0.01
        A mean delta above this fraction of the mean difference of outputs gives a warning.
    return_deltas : bool, default False
        Also return the absolute convergence delta of every pair, shape (n, n_references): how far the attributions
        are from adding up to the difference of the outputs. More steps make it smaller.

    Returns
    -------
    torch.Tensor or AttributionsDeltas
        Attributions (n, 4, length), on the CPU, in the dtype computed in, the mean over references.

    Raises
    ------
    MarginomeError
        Sequences, references, extra arguments, steps or a target that do not fit; a model that does not return
        (n, targets), returns NaN, or whose output does not depend on the sequence.

    Notes
    -----
    With ``m = sum over j of w[j] grad f(r + a[j] (x - r))``, nodes a and weights w of Gauss-Legendre quadrature on
    (0, 1), the attribution of base c at a position is ``sum over k of (1[k = c] - r[k]) m[k]``, as for DeepLIFT.

    Reference: Sundararajan, Taly & Yan 2017, ICML (PMLR 70:3319).
    """
    validate_one_hot(X, "X")
    X, args = X.detach(), check_args(args, len(X))
    device = resolve_device(device)
    source = References(references, n_shuffles, random_state, X)
    automatic = batch_size == "auto"
    points = AUTO_PAIRS.get(device.type, AUTO_PAIRS["cpu"]) if automatic else batch_size
    for value, where in ((points, "batch_size"), (n_steps, "n_steps")):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise MarginomeError(f"expected a whole number above 0, found {value!r}", where=where)
    if not isinstance(target, int) or isinstance(target, bool):
        raise MarginomeError(f"expected one whole number, found {target!r}", where="target")
    dtype = None if dtype is None else torch_dtype(dtype)
    autocast = dtype if dtype in REDUCED else None
    asked = model
    if dtype is not None and autocast is None and dtype != model_dtype(model):
        model = copy.deepcopy(model).to(dtype)
    kind = model_dtype(model)
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    result = torch.empty(X.shape, dtype=kind)
    deltas, differences = torch.empty(len(X), source.n), torch.empty(len(X), source.n)
    i = 0  # of the sequence at work
    with evaluating(model, device), attributable(model, allow_tf32):

        def forward(X: torch.Tensor, *args: torch.Tensor) -> Any:
            with differentiable():  # here, before it counts as a failure of the model's own
                return model(X, *args)

        def run(X: torch.Tensor, args: Sequence[torch.Tensor]) -> torch.Tensor:
            args = [a.expand(len(X), *a.shape[1:]) for a in args]
            with torch.autocast(device.type, autocast) if autocast else contextlib.nullcontext():
                # a copy: models may change their input in place, which autograd allows of what was computed only
                y = target_of(run_model(forward, X.requires_grad_().clone(), args), target, len(X))
            check_finite(y, what=f"output between sequence {i} and its references, at points")
            return y

        if automatic and memory_bytes is not None:

            def one_point() -> None:
                at = to_device(X[:1], kind, device)
                with differentiable():
                    torch.autograd.grad(run(at, [cast_argument(a[:1], kind, device) for a in args]).sum(), at)

            key = ("point", tuple(X.shape[1:]), dtype, device.type)
            points = passes_at_once(asked, key, one_point, memory_bytes=memory_bytes, most=points)

        for i in tqdm(range(len(X)), disable=not verbose, unit="sequence", desc="integrated_gradients"):
            x, r = to_device(X[i : i + 1], kind, device), to_device(source.draw(i, i + 1)[0], kind, device)
            own = [cast_argument(a[i : i + 1], kind, device) for a in args]
            multipliers = torch.zeros(r.shape, dtype=torch.float64, device=device)
            pairs = [(k, j) for k in range(len(r)) for j in range(n_steps)]
            first = 0
            while first < len(pairs):
                k, j = map(list, zip(*pairs[first : first + points]))
                a = torch.as_tensor((nodes[j] + 1) / 2, dtype=kind, device=device)[:, None, None]
                try:
                    at = r[k] + a * (x - r[k])
                    with differentiable():
                        (gradient,) = torch.autograd.grad(run(at, own).sum(), at)
                except (RuntimeError, MemoryError) as error:
                    if not automatic or points == 1 or not is_out_of_memory(error):
                        raise
                    gradient = None
                if gradient is None:  # outside the handler, so that its traceback keeps nothing alive
                    points //= 2
                    log.warning("memory ran out on %s: going on with %d points in a batch", device, points)
                    continue
                w = torch.as_tensor(weights[j] / 2, dtype=torch.float64, device=device)[:, None, None]
                multipliers.index_add_(0, torch.as_tensor(k, device=device), gradient.double() * w)
                first += len(k)
            ends = torch.cat([run(end.clone(), own).detach().double() for end in torch.cat([x, r]).split(points)])
            explained = ((x - r).double() * multipliers).sum(dim=(1, 2))
            differences[i] = (ends[0] - ends[1:]).abs().float().cpu()
            deltas[i] = (ends[0] - ends[1:] - explained).abs().float().cpu()
            # mean over references of (multiplier - its expectation under the reference's base)
            mean = (multipliers - (multipliers * r).sum(dim=1, keepdim=True)).mean(dim=0)
            result[i] = (mean if hypothetical else mean * x[0]).to(kind).cpu()
    relative = float(deltas.mean() / differences.mean().clamp_min(1e-12))
    if not relative <= warning_threshold:  # NaN is above every threshold
        warnings.warn(
            f"convergence deltas are {relative:.2g} of the difference of outputs on average, the largest is "
            f"{float(deltas.max()):.3g}: more steps than {n_steps} lower them",
            RuntimeWarning,
            stacklevel=2,
        )
    return AttributionsDeltas(result, deltas) if return_deltas else result
