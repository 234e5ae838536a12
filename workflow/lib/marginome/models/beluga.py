"""Beluga (DeepSEA 2019; Zhou et al. 2018, Nat Genet 50:1171) from its published weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from marginome.errors import MarginomeError
from marginome.models.built import Built
from marginome.models.outputs import Output
from marginome.models.states import load_strictly, plain_state, read_weights

ALPHABET = "AGCT"  # the order of DeepSEA's one-hot encoding
INPUT_LENGTH = 2000
N_TARGETS = 2002
OUTPUTS = (
    Output("logits", head="logits", unit="log odds", measure="difference"),
    Output("probabilities", head="probabilities", unit="probability", measure="difference"),
)
# where the published state dict keeps its layers -> ours
_LAYERS = {
    "0.0": "conv.0", "0.2": "conv.2", "0.6": "conv.5", "0.8": "conv.7", "0.12": "conv.10", "0.14": "conv.12",
    "1.2.1": "dense.1", "1.4.1": "dense.3",
}  # fmt: skip


class Beluga(nn.Module):
    """Six convolutions of width 8, two poolings, two dense layers; 2,000 bp to 2,002 chromatin features.

    The published code runs 2-D convolutions over sequences of height 1; these are the same numbers with
    1-D convolutions.
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(4, 320, 8), nn.ReLU(), nn.Conv1d(320, 320, 8), nn.ReLU(), nn.MaxPool1d(4),
            nn.Conv1d(320, 480, 8), nn.ReLU(), nn.Conv1d(480, 480, 8), nn.ReLU(), nn.MaxPool1d(4),
            nn.Conv1d(480, 640, 8), nn.ReLU(), nn.Conv1d(640, 640, 8), nn.ReLU(),
        )  # fmt: skip
        self.dense = nn.Sequential(nn.Flatten(), nn.Linear(67840, 2003), nn.ReLU(), nn.Linear(2003, N_TARGETS))
        self.sigmoid = nn.Sigmoid()

    def forward(self, X: Tensor) -> dict[str, Tensor]:
        """``(n, 4, 2000)``, channels A G C T, to logits and probabilities, each ``(n, 2002)``."""
        logits = self.dense(self.conv(X))
        return {"logits": logits, "probabilities": self.sigmoid(logits)}


def is_beluga_state(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the layers of the published Beluga."""
    return all(f"{name}.weight" in state for name in _LAYERS)


def load(file: str, bias_file: str | None, settings: Mapping[str, Any], loader: str, where: str) -> Built:
    """Build Beluga from a file of its weights; see `Built`."""
    return Built(build(plain_state(read_weights(file), where), where), INPUT_LENGTH, (), OUTPUTS, ALPHABET)


def build(state: Mapping[str, Tensor], where: str) -> Beluga:
    """Build Beluga from the published state dict (its common prefix ``model.`` already removed)."""
    if not is_beluga_state(state):
        missing = [name for name in _LAYERS if f"{name}.weight" not in state]
        raise MarginomeError(
            f"this is not the published Beluga: it has no layer {missing[0]} (the first of its keys: "
            f"{', '.join(list(state)[:3])})",
            where=where,
        )
    weights = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        if layer in _LAYERS and value.dim() == 4 and value.shape[2] == 1:
            value = value.squeeze(2)
        weights[f"{_LAYERS.get(layer, layer)}.{kind}"] = value
    with torch.device("meta"):  # the weights below are the only copy
        module = Beluga()
    module = module.to_empty(device="cpu")
    load_strictly(module, weights, where)
    return module
