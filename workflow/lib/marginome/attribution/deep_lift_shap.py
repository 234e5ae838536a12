"""DeepLIFT/SHAP: what each base of a sequence adds to a model's output, compared with shuffles of the sequence."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from tqdm import tqdm

from marginome.attribution.attaching import READS_A_NUMBER
from marginome.attribution.differentiating import attributable
from marginome.attribution.module_rules import ModuleRules
from marginome.attribution.passes import Passes
from marginome.attribution.references import References, ahead
from marginome.devices import is_out_of_memory, resolve_device
from marginome.errors import MarginomeError
from marginome.footprint import passes_at_once
from marginome.prediction import (
    cast_argument,
    check_args,
    check_finite,
    evaluating,
    model_dtype,
    to_device,
)
from marginome.sequences import torch_dtype, validate_one_hot
from marginome.shuffles import dinucleotide_shuffle

log = logging.getLogger(__name__)

# Pairs that "auto" starts with. On a CPU small batches stay in its cache; a GPU wants to be filled.
AUTO_PAIRS = {"cpu": 32, "cuda": 640}
REDUCED = (torch.float16, torch.bfloat16)


class AttributionsReferences(NamedTuple):
    """Attributions (n, 4, length) and the references (n, n_references, 4, length) they were computed with."""

    attributions: torch.Tensor
    references: torch.Tensor


class AttributionsDeltas(NamedTuple):
    """Attributions (n, 4, length) and the convergence delta of every pair (n, n_references)."""

    attributions: torch.Tensor
    deltas: torch.Tensor


class Attributions(NamedTuple):
    """Attributions (n, 4, length), references (n, n_references, 4, length), deltas (n, n_references)."""

    attributions: torch.Tensor
    references: torch.Tensor
    deltas: torch.Tensor


def deep_lift_shap(
    model: torch.nn.Module,
    X: torch.Tensor,
    args: Sequence[torch.Tensor] | None = None,
    target: int = 0,
    batch_size: int | str = "auto",
    references: Callable[..., torch.Tensor] | torch.Tensor = dinucleotide_shuffle,
    n_shuffles: int = 20,
    return_references: bool = False,
    hypothetical: bool = False,
    warning_threshold: float = 0.001,
    additional_nonlinear_ops: dict[type, Callable] | None = None,
    print_convergence_deltas: bool = False,
    raw_outputs: bool = False,
    only_warn: bool = False,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    random_state: int | Sequence[int] | None = None,
    verbose: bool = False,
    *,
    return_deltas: bool = False,
    allow_tf32: bool = False,
    memory_bytes: float | None = None,
) -> torch.Tensor | AttributionsReferences | AttributionsDeltas | Attributions:
    """Attribute one output of a model to the bases of sequences by DeepLIFT/SHAP.

    A sequence is compared with references, by default dinucleotide shuffles of itself. For each pair, DeepLIFT's
    multipliers distribute the difference of the two outputs over the positions at which the two sequences differ;
    the attributions of a sequence are the mean over its references.

    Every form of an operation counts (module, function, tensor method, operator), modules may be used several
    times, and rules that are exact exist for the elementwise functions of PyTorch, element and matrix products
    (attention), quotients, softmax, maxima and max pooling, GLU, layer, group and instance norm, and moments; see
    `marginome.attribution.rules`. An operation without a rule is treated by its derivative, and a warning names it.

    Parameters
    ----------
    model : torch.nn.Module
        Returns (n, targets), trailing axes of 1 allowed. `marginome.Readout` makes such a model of any other. Run
        in evaluation mode; mode, device, hooks and ``requires_grad`` are restored, also after an error.
    X : torch.Tensor, shape (n, 4, length)
        One-hot encoded sequences, any dtype. All-zero columns (N) have attributions of 0 unless hypothetical.
    args : sequence of torch.Tensor, optional
        More inputs of the model, n entries each; a reference gets those of its sequence.
    target : int, default 0
        Which of the model's outputs.
    batch_size : int or "auto", default "auto"
        Pairs of sequence and reference at a time, which bounds the memory. "auto" is 32 on a CPU and 640 on a
        GPU, halved, with a warning in the log, as long as memory runs out.
    references : callable or torch.Tensor, default dinucleotide_shuffle
        References (n, n_references, 4, length); or (n_references, 4, length), the same for all sequences; or a
        function ``references(X, n=..., random_state=...)`` that returns the former, called with one sequence at
        a time (dinucleotide_shuffle: with all of a batch).
    n_shuffles : int, default 20
        References of each sequence, when they are made by a function.
    return_references : bool, default False
        Also return the references.
    hypothetical : bool, default False
        Return attributions of all four bases at each position, as if each were there, for TF-MoDISco.
    warning_threshold : float, default 0.001
        A convergence delta above this gives a warning, and so does a mean delta above 1 % of the mean difference.
    additional_nonlinear_ops : dict, optional
        Rules for modules of your own, {module class: rule(module, grad_input, grad_output)}, as in captum and
        tangermeme: the module has ``.input`` and ``.output`` of the sequences stacked on the references.
    print_convergence_deltas : bool, default False
        Print the deltas of every batch.
    raw_outputs : bool, default False
        Return the multipliers of each pair, shape (n, n_references, 4, length).
    only_warn : bool, default False
        Warn instead of failing when `X` is not one-hot.
    dtype : torch.dtype or str, optional
        The dtype of the model's weights by default. float16 or bfloat16 run by autocast; any other converts a
        copy of the model: float64 tells rounding from a wrong rule.
    device : str or torch.device, optional
        CUDA where there is one by default, else the CPU.
    random_state : int, sequence of int or None
        Seed of the references: one for all sequences, or one for each. Either way the references of a sequence do
        not depend on which others there are. None draws new ones each time.
    verbose : bool, default False
        Show a progress bar in pairs.
    return_deltas : bool, default False
        Also return the absolute convergence delta of every pair, shape (n, n_references): how far the attributions
        are from adding up to the difference of the outputs.
    allow_tf32 : bool, default False
        Whether CUDA may round the factors of convolutions and matrix products to 10 bits of mantissa, as PyTorch
        does for convolutions by default. Off here: it makes deltas about a thousand times larger.
    memory_bytes : float, optional
        What "auto" keeps to: one pair is measured, and as many go together as have room, at least one.

    Returns
    -------
    torch.Tensor or named tuple
        Attributions (n, 4, length), on the CPU, in the dtype computed in; with the references and deltas asked
        for, in this order, as a named tuple: `AttributionsReferences`, `AttributionsDeltas` or `Attributions`.

    Raises
    ------
    MarginomeError
        Sequences, references, extra arguments or a target that do not fit; a model that does not return
        (n, targets), returns NaN, or whose output does not depend on the sequence.

    Notes
    -----
    With multipliers m, sequence x and reference r, the attribution of base c at a position is
    ``sum over k of (1[k = c] - r[k]) m[k]``, averaged over references; for the base that is there this is
    DeepLIFT's contribution. The sequence is run forward once for all its references; only the references' half is
    differentiated. Parts of the model that the target does not need are not computed after the first batch.

    References: Shrikumar, Greenside & Kundaje 2017, ICML (PMLR 70:3145); Lundberg & Lee 2017, NeurIPS.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 50, 1))
    >>> X = marginome.random_one_hot((2, 4, 50), random_state=0)
    >>> deep_lift_shap(model, X, n_shuffles=5, random_state=0, device="cpu").shape
    torch.Size([2, 4, 50])
    """
    try:
        validate_one_hot(X, "X")
    except MarginomeError as error:
        if not only_warn or not isinstance(X, torch.Tensor) or X.ndim != 3 or X.numel() == 0:
            raise
        warnings.warn(str(error), RuntimeWarning, stacklevel=2)
    X, args = X.detach(), check_args(args, len(X))
    device = resolve_device(device)
    source = References(references, n_shuffles, random_state, X)
    automatic = batch_size == "auto"
    pairs = AUTO_PAIRS.get(device.type, AUTO_PAIRS["cpu"]) if automatic else batch_size
    if not isinstance(pairs, int) or isinstance(pairs, bool) or pairs < 1:
        raise MarginomeError(f"expected a whole number above 0 or 'auto', found {batch_size!r}", where="batch_size")
    if not isinstance(target, int) or isinstance(target, bool):
        raise MarginomeError(f"expected one whole number, found {target!r}", where="target")

    dtype = None if dtype is None else torch_dtype(dtype)
    asked = model
    if (
        dtype is not None
        and dtype not in REDUCED
        and isinstance(model, torch.nn.Module)
        and dtype != model_dtype(model)
    ):
        model = copy.deepcopy(model).to(dtype)
    n, shape = len(X), tuple(X.shape[1:])
    deltas = torch.empty(n, source.n)
    differences = torch.empty(n, source.n)
    result: torch.Tensor | None = None
    kept = []
    with (
        evaluating(model, device),
        attributable(model, allow_tf32),
        ModuleRules(model, additional_nonlinear_ops) as own,
    ):
        pass_ = Passes(model, model_dtype(model), dtype if dtype in REDUCED else None, device, target, own)
        start, last = 0, None
        if automatic and memory_bytes is not None and n:

            def one_pair() -> None:  # whatever its reference is, it takes the same
                trial = Passes(model, pass_.dtype, pass_.autocast, device, target, own)
                given = [a[:1] for a in args]
                _attribute_group(trial, X[:1], given, X[:1, None].flip(3), 1, 0, raw_outputs, hypothetical)

            key = ("pair", shape, dtype, device.type)
            pairs = passes_at_once(asked, key, one_pair, memory_bytes=memory_bytes, most=pairs)

        def store(part: slice, group: _Group) -> None:
            nonlocal result
            for output, what, first in group.outputs:
                check_finite(output, what=what, first=first)
            values = group.values.cpu()
            deltas[part], differences[part] = group.deltas.cpu(), group.differences.cpu()
            if result is None:
                result = values.new_empty((n, source.n, *shape) if raw_outputs else (n, *shape))
            result[part] = values
            if print_convergence_deltas:
                print(deltas[part])
            bar.update(len(values) * source.n)

        with (
            tqdm(total=n * source.n, disable=not verbose, unit="pair", desc="deep_lift_shap") as bar,
            ahead(source, device) as draw,
        ):
            while start < n:
                stop = min(n, start + max(1, pairs // source.n))
                drawn = draw(start, stop, min(n, 2 * stop - start))
                try:
                    group = _attribute_group(
                        pass_, X[start:stop], [a[start:stop] for a in args], drawn, min(pairs, source.n), start,
                        raw_outputs, hypothetical,
                    )  # fmt: skip
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    if not automatic or pairs == 1:
                        raise MarginomeError(
                            f"memory ran out on {device} with {pairs} pairs of sequence and reference in a batch",
                            where="batch_size",
                            remedy="Lower batch_size, or use 'auto'." if pairs > 1 else "Use a larger machine.",
                        ) from error
                    group = None
                if group is None:  # outside the handler, so that its traceback keeps nothing alive
                    pass_.outputs_to_check()  # of what is computed again
                    pairs //= 2
                    log.warning("memory ran out on %s: going on with %d pairs in a batch", device, pairs)
                    if device.type == "cuda":
                        torch.cuda.empty_cache()
                    continue
                if return_references:
                    kept.append(drawn.cpu())
                if last is not None:  # a GPU has the next group to work on meanwhile
                    store(*last)
                last = slice(start, stop), group
                start = stop
            if last is not None:
                store(*last)
    _warn(pass_, deltas, differences, warning_threshold)
    if return_references:
        kept_references = torch.cat(kept)
        return (
            Attributions(result, kept_references, deltas)
            if return_deltas
            else AttributionsReferences(result, kept_references)
        )
    return AttributionsDeltas(result, deltas) if return_deltas else result


class _Group(NamedTuple):
    """Of a few sequences: attributions or multipliers, deltas, differences of outputs; outputs to look for NaN in."""

    values: torch.Tensor
    deltas: torch.Tensor
    differences: torch.Tensor
    outputs: list[tuple[torch.Tensor, str, int]]


def _attribute_group(
    passes: Passes,
    X: torch.Tensor,
    args: list[torch.Tensor],
    references: torch.Tensor,
    at_a_time: int,
    first: int,
    raw_outputs: bool,
    hypothetical: bool,
) -> _Group:
    """Attribute a few sequences; on a GPU what is returned is queued."""
    n_refs = references.shape[1]
    x = to_device(X, passes.dtype, passes.device)
    args = [cast_argument(a, passes.dtype, passes.device) for a in args]
    deltas, differences, raw = [], [], []
    total = torch.zeros(x.shape, dtype=torch.float64 if n_refs > at_a_time else x.dtype, device=x.device)
    on_sequence = None
    for begin in range(0, n_refs, at_a_time):
        r = to_device(references[:, begin : begin + at_a_time], passes.dtype, passes.device)
        multipliers, yx, yr, on_sequence = passes.multipliers(x, r, args, on_sequence, first)
        passes.sizes.append(torch.maximum(yx.abs().max(), yr.abs().max()))
        difference = (yx - yr).double()
        explained = ((x.unsqueeze(1) - r) * multipliers).sum(dim=(2, 3), dtype=torch.float64)
        deltas.append((difference - explained).abs().float())
        differences.append(difference.abs().float())
        if raw_outputs:
            raw.append(multipliers.cpu())
        else:
            # sum over references of (multiplier - its expectation under the reference's base)
            total += (multipliers - (multipliers * r).sum(dim=2, keepdim=True)).sum(dim=1)
    values = torch.cat(raw, dim=1) if raw_outputs else (total / n_refs).to(x.dtype)
    if not raw_outputs and not hypothetical:
        values = values * x
    return _Group(values, torch.cat(deltas, dim=1), torch.cat(differences, dim=1), passes.outputs_to_check())


# Steps of a sum's rounding, relative to the largest output, that a mean delta may have.
ROUNDING = 64


def _warn(passes: Passes, deltas: torch.Tensor, differences: torch.Tensor, threshold: float) -> None:
    """Say what has no rule, and which pairs did not converge."""
    # The mean of both, not of their quotients: a pair may differ by nothing. NaN is above every threshold.
    relative = float(deltas.mean() / differences.mean().clamp_min(1e-12))
    over = ~(deltas <= threshold)
    # Of outputs that hardly differ, rounding is a large part: it is no reason to warn.
    rounding = ROUNDING * torch.finfo(passes.autocast or passes.dtype).eps * max(map(float, passes.sizes))
    converged = not bool(over.any()) and (relative <= 0.01 or float(deltas.mean()) <= rounding)
    notes = passes.notes - {READS_A_NUMBER} if converged else passes.notes
    named = [*passes.without_rule, *sorted(notes)]
    if named:
        warnings.warn(
            "no DeepLIFT rule for " + ", ".join(named) + ": treated by its derivative, so that attributions need "
            "not add up to the difference of the outputs. Look at the deltas, or use saturation_mutagenesis.",
            RuntimeWarning,
            stacklevel=3,
        )
    if not converged:
        worst = divmod(int(deltas.argmax()), deltas.shape[1])  # NaN counts as the largest
        counted = f"{int(over.sum())} of {deltas.numel()} pairs above {threshold:g}, " if bool(over.any()) else ""
        warnings.warn(
            f"convergence deltas: {counted}the largest {float(deltas.max()):.3g} (sequence {worst[0]}, reference "
            f"{worst[1]}), the mean {relative:.2g} of the mean difference of outputs. "
            + ("See the operations named before." if named else "dtype='float64' tells whether it is rounding."),
            RuntimeWarning,
            stacklevel=3,
        )
