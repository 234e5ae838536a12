"""Which operations of a model have no DeepLIFT rule here."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from marginome.attribution.attaching import unseen_differences
from marginome.attribution.differentiating import attributable, differentiable
from marginome.attribution.recording import Recorder, named_modules_of
from marginome.prediction import cast_argument, check_args, evaluating, leaves, model_dtype, to_device
from marginome.sequences import validate_one_hot


def find_unsupported_operations(
    model: torch.nn.Module, X: torch.Tensor, args: Sequence[torch.Tensor] | None = None
) -> list[str]:
    """Name the operations of a model for which DeepLIFT has no rule here.

    Parameters
    ----------
    model : torch.nn.Module
        Returns a tensor or a nested structure of tensors; all that depend on the sequence are looked at.
    X : torch.Tensor, shape (n, 4, length)
        A few sequences to run it on, on the model's own device.
    args : sequence of torch.Tensor, optional
        More inputs, n entries each.

    Returns
    -------
    list of str
        ``"aten.<operation> in module '<name> (<class>)'"``, each once; empty for a model that can be attributed.
    """
    validate_one_hot(X, "X")
    args = check_args(args, len(X))
    home = next((t.device for t in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    with evaluating(model, home), attributable(model, False):
        dtype = model_dtype(model)
        given = [cast_argument(a, dtype, home) for a in args]

        def run(X: torch.Tensor, recorder: Recorder) -> list[torch.Tensor]:
            with named_modules_of(model, recorder), differentiable(), recorder:
                outputs = model(to_device(X, dtype, home).requires_grad_().clone(), *(a.clone() for a in given))
                recorder.finish()
            return [t for _, t in leaves(outputs) if t.requires_grad]

        first = Recorder(trace=True)
        found = first.without_rule(*run(X, first))
        first.forget_graph()
        if not first.unseen:
            return found
        # Whether these matter is told by other sequences: here, each base by its complement.
        second = Recorder(first.operations, None, first.unseen)
        outputs = run(X.flip(1), second)
        return [*found, *sorted(unseen_differences(first, second, *outputs))]
