"""A model made differentiable in the sequence, by operations that have rules, and the target of its output."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from marginome.attribution.recurrent import RecurrentSteps
from marginome.errors import MarginomeError
from marginome.prediction import leaves

# What autograd says of models that can be run but not be differentiated.
REFUSALS = (
    "modified inplace",
    "automatic differentiation",
    "in an in-place operation",
    "derivative for",
    "not differentiable",
)


@contextlib.contextmanager
def differentiable() -> Iterator[None]:
    """Turn autograd's refusal of a change in place into a message."""
    try:
        yield
    except RuntimeError as error:
        if not any(part in str(error) for part in REFUSALS):
            raise
        raise MarginomeError(
            f"PyTorch cannot differentiate the model: {str(error).split('. ')[0]}",
            where="model",
            remedy="Write that step out of place (y = f(x) instead of f_(x) or out=), or attribute by "
            "saturation_mutagenesis.",
        ) from error


def target_of(y: Any, target: int, n: int) -> torch.Tensor:
    """Return the target (n,) of a model's output (n, targets)."""
    if not isinstance(y, torch.Tensor):
        found = f"{type(y).__name__} of {sum(1 for _ in leaves(y))} tensors"
        raise MarginomeError(
            f"the model returned a {found}, a tensor (n, targets) is wanted",
            where="output of the model",
            remedy="Wrap the model: marginome.Readout(model, head=...).",
        )
    while y.ndim > 2 and y.shape[-1] == 1:
        y = y.squeeze(-1)
    if y.ndim != 2 or y.shape[0] != n:
        raise MarginomeError(
            f"the model returned shape {tuple(y.shape)} for {n} sequences, (n, targets) is wanted",
            where="output of the model",
            remedy="Wrap the model: marginome.Readout(model, index=..., reduce=...) makes (n, targets) of it.",
        )
    if not -y.shape[1] <= target < y.shape[1]:
        raise MarginomeError(
            f"{target} is out of range: the model has {y.shape[1]} output{'s' if y.shape[1] > 1 else ''}",
            where="target",
        )
    y = y[:, target]
    if y.is_complex():
        raise MarginomeError(
            "its numbers are complex, which have no order",
            where="output of the model",
            remedy="Wrap the model: marginome.Readout(model, reduce=lambda y: y.abs()) makes real ones of them.",
        )
    if not y.requires_grad:
        raise MarginomeError(
            "the output does not depend on the sequence by differentiable operations",
            where="output of the model",
            remedy="Check that forward() neither detaches nor runs under torch.no_grad.",
        )
    return y


@contextlib.contextmanager
def attributable(model: torch.nn.Module, allow_tf32: bool) -> Iterator[None]:
    """Make a model differentiable in the sequence alone, by operations that have rules, in full precision."""
    trained = [p for p in model.parameters() if p.requires_grad]
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    fast = torch.backends.mha.get_fastpath_enabled()
    with contextlib.ExitStack() as stack:
        # Attention and recurrent layers as the steps they consist of, rather than as one fused operation.
        stack.enter_context(torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH))
        if any(isinstance(m, torch.nn.RNNBase | torch.nn.RNNCellBase) for m in model.modules()):
            stack.enter_context(RecurrentSteps())
        stack.enter_context(torch.enable_grad())
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allow_tf32
            for p in trained:
                p.requires_grad_(False)
            yield
        finally:
            for p in trained:
                p.requires_grad_(True)
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
            torch.backends.mha.set_fastpath_enabled(fast)
