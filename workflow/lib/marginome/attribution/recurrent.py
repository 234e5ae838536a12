"""Recurrent layers as the steps they consist of: one operation for a whole layer, or a cell, has no DeepLIFT rule."""

from __future__ import annotations

import torch
from torch._decomp import get_decompositions
from torch.overrides import TorchFunctionMode

LAYERS = {torch.lstm: "lstm", torch.gru: "gru", torch.rnn_tanh: "rnn_tanh", torch.rnn_relu: "rnn_relu"}
CELLS = {
    torch.lstm_cell: "lstm",
    torch.gru_cell: "gru",
    torch.rnn_tanh_cell: "rnn_tanh",
    torch.rnn_relu_cell: "rnn_relu",
}


class RecurrentSteps(TorchFunctionMode):
    """Run LSTM, GRU and plain recurrent layers and cells as matrix products, sigmoids, tanhs and products.

    By the device, PyTorch runs a layer or a cell as one operation (cuDNN, oneDNN, CUDA's fused cells) or as many. Its
    own decompositions give the same numbers on every device.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Replace calls of recurrent layers and cells; leave others alone."""
        kwargs = kwargs or {}
        if func in LAYERS:
            # (input, state, weights, has_biases, ...), or (data, batch sizes, state, weights, ...) if packed
            overload = "input" if isinstance(args[3], bool) else "data"
            return _steps(LAYERS[func], overload, *args, **kwargs)
        if func in CELLS:
            return _cell(CELLS[func], *args, **kwargs)
        return func(*args, **kwargs)


def _steps(kind: str, overload: str, *args, **kwargs):
    """Return what a layer returns: its outputs, and its last states in the shape of those given."""
    operation = getattr(getattr(torch.ops.aten, kind), overload)
    out, *after = get_decompositions([operation])[operation](*args, **kwargs)
    states = args[1 if overload == "input" else 2]
    # PyTorch 2.11 keeps an axis of 1
    shapes = [s.shape for s in (states if kind == "lstm" else [states])]
    return out, *(s.reshape(shape) for s, shape in zip(after, shapes, strict=True))


def _cell(kind: str, x, state, weight, recurrent, bias=None, recurrent_bias=None):
    """One step of a layer of one step."""
    weights = [weight, recurrent] + ([] if bias is None else [bias, recurrent_bias])
    states = tuple(s[None] for s in state) if kind == "lstm" else state[None]
    _, *after = _steps(kind, "input", x[None], states, weights, bias is not None, 1, 0.0, False, False, False)
    return tuple(s[0] for s in after) if kind == "lstm" else after[0][0]
