"""Is the engine worth its set-up? An estimate from the model's arithmetic, never a timing: it decides last digits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from marginome.prediction import cast_argument, evaluating, model_dtype, run_model

# What setting the engine up takes: capturing and planning in seconds, the self-check in passes of the model. BPNet's
# counts: 0.4 s and some 40 passes of 0.03 s on a core; Beluga's shape, whose check in float64 copies 0.5 GiB of
# weights: some 110 of 0.17 s.
SECONDS, PASSES = 1.0, 110
# A pass: its products and sums at the rate of a framework's convolutions, and what there is besides.
FLOPS_PER_SECOND = {"cpu": 2e10, "cuda": 2.5e12}
SECONDS_PER_PASS = {"cpu": 1e-4, "cuda": 1e-5}
# A pair costs the engine less than this part of a pass.
PART = 0.1


def engine_pays(
    model: torch.nn.Module, X: torch.Tensor, args: Sequence[torch.Tensor], pairs: int, device: torch.device
) -> bool:
    """Return whether so many pairs take longer by passes of the whole model than by the engine, set-up included.

    Parameters
    ----------
    model : torch.nn.Module
        Run once on one sequence, to count its operations, if there are pairs enough for any model.
    X, args : torch.Tensor
        Sequences with the model's further inputs.
    pairs : int
        Edited sequences to be predicted.
    device : torch.device
        Where they are to be run.
    """
    most = pairs * (1 - PART) - PASSES  # passes that are saved, less those of the self-check
    if most <= 0:
        return False
    dtype = model_dtype(model)
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), evaluating(model, device), counter:
            run_model(model, X[:1].to(device, dtype), [cast_argument(a[:1], dtype, device) for a in args])
    except Exception:  # whatever it is, `predict` says it in a line of its own
        return False
    seconds = counter.get_total_flops() / FLOPS_PER_SECOND[device.type] + SECONDS_PER_PASS[device.type]
    return most * seconds > SECONDS
