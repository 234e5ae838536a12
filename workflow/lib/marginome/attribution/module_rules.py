"""Rules that a user gives for modules of their own, in the form that captum and tangermeme take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from marginome.errors import MarginomeError


@dataclass
class _Call:
    """One call of a module with a rule, and later the same call on the sequences."""

    module: torch.nn.Module
    rule: Callable
    input: torch.Tensor
    output: torch.Tensor
    partner: _Call | None = None
    n_refs: int = 1


class ModuleRules:
    """Apply rules to all modules of some classes, for the duration of a ``with`` block.

    Parameters
    ----------
    model : torch.nn.Module
        Where the modules are looked for.
    rules : dict or None
        {module class: rule(module, grad_input, grad_output)}. When a rule is called, ``module.input`` and
        ``module.output`` are the values on the sequences stacked on those on the references (first axis), and so are
        ``grad_input[0]`` (autograd's own) and ``grad_output[0]``. It returns a tuple like `grad_input`.
    """

    def __init__(self, model: torch.nn.Module, rules: dict[type, Callable] | None):
        self.model, self.rules = model, rules or {}
        for kind, rule in self.rules.items():
            if not (isinstance(kind, type) and issubclass(kind, torch.nn.Module) and callable(rule)):
                raise MarginomeError(
                    f"expected {{module class: function}}, found {kind!r}: {rule!r}", where="additional_nonlinear_ops"
                )
        self.handles: list = []
        self.calls: list[_Call] = []

    def __enter__(self) -> ModuleRules:
        for module in self.model.modules():
            if type(module) in self.rules:
                self.handles.append(module.register_forward_hook(self._replace))
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in self.handles:
            handle.remove()

    def begin(self) -> None:
        """Forget the calls of the last pass."""
        self.calls = []

    def end(self) -> list[_Call]:
        """Return the calls of this pass."""
        return self.calls

    def pair(self, on_sequences: list[_Call], on_references: list[_Call], n_refs: int) -> None:
        """Tell each call on the references which one on the sequences is the same."""
        for x, r in zip(on_sequences, on_references):
            r.partner, r.n_refs = x, n_refs

    def _replace(self, module: torch.nn.Module, inputs: tuple, output: Any) -> torch.Tensor:
        if len(inputs) != 1 or not isinstance(output, torch.Tensor):
            raise MarginomeError(
                f"a rule needs a module with one input and one tensor as output, {type(module).__name__} has others",
                where="additional_nonlinear_ops",
            )
        call = _Call(module, self.rules[type(module)], inputs[0].detach().clone(), output.detach())
        self.calls.append(call)
        return _Replaced.apply(inputs[0], output.detach(), call)


class _Replaced(torch.autograd.Function):
    """A module's output whose gradient is that of the user's rule."""

    @staticmethod
    def forward(ctx, input: torch.Tensor, output: torch.Tensor, call: _Call) -> torch.Tensor:
        """Return the output as it is."""
        ctx.call = call
        return output.clone()

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple:
        """Run the rule on sequences stacked on references; the references' half is the result."""
        call = ctx.call
        x = call.partner
        if x is None:  # only the references are differentiated
            raise RuntimeError("a rule ran before its call was matched with the sequences'")
        both_in = torch.cat([x.input.repeat_interleave(call.n_refs, dim=0), call.input])
        both_out = torch.cat([x.output.repeat_interleave(call.n_refs, dim=0), call.output])
        both_grad = torch.cat([grad, grad])
        with torch.enable_grad():
            z = both_in.detach().requires_grad_()
            (plain,) = torch.autograd.grad(call.module.forward(z), z, both_grad)
        before = {name: call.module.__dict__.get(name) for name in ("input", "output")}
        try:
            call.module.__dict__.update(input=both_in, output=both_out)
            result = call.rule(call.module, (plain,), (both_grad,))
        finally:
            for name, value in before.items():
                if value is None:
                    call.module.__dict__.pop(name, None)
                else:
                    call.module.__dict__[name] = value
        return result[0][len(both_in) - len(call.input) :], None, None
