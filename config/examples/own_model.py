"""A model of your own, for config/examples/own_model.yaml: a function (or class) that returns a torch.nn.Module.

The file is yours to write in any way; marginome calls the function named in the config with the config's
``parameters`` and, when the function has a parameter of this name, the path of the ``weights``. What the
module returns may be a tensor or nested tuples, lists and dicts of tensors; ``outputs`` in the config name
the parts. An edit of this file makes its results anew, since it is among the run's inputs.
"""

from __future__ import annotations

import json

import torch

from marginome.hdf5 import Request, read_foreign_hdf5

UNKNOWN = 0.25  # how DeepBind encodes positions beyond the ends of a sequence


class DeepBind(torch.nn.Module):
    """DeepBind (Alipanahi et al. 2015): motif detectors on both strands, pooled; the best window of either strand wins.

    The layers are those that Kipoi's Keras files name; what their Lambda layers do (padding with 0.25 by one base less
    than a detector's width, the reverse complement, the maximum over windows) is written out here, since
    Python code in a file is not run.
    """

    def __init__(self, filters: int, width: int, window: int, hidden: int | None):
        super().__init__()
        self.pad = torch.nn.ConstantPad1d(width - 1, UNKNOWN)
        self.detect = torch.nn.Sequential(torch.nn.Conv1d(4, filters, width), torch.nn.ReLU())
        self.pool = torch.nn.MaxPool1d(window, stride=1)
        layers = [torch.nn.Conv1d(hidden or filters, 1, 1)]  # width 1: a dense layer at every window
        if hidden is not None:
            layers = [torch.nn.Conv1d(filters, hidden, 1), torch.nn.ReLU(), *layers]
        self.score = torch.nn.Sequential(*layers)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """``(n, 4, length)`` to the binding score before the sigmoid, ``(n, 1)``."""
        return torch.maximum(self.strand(X), self.strand(X.flip((1, 2))))

    def strand(self, X: torch.Tensor) -> torch.Tensor:
        """The score of the best window of one strand."""
        return self.score(self.pool(self.detect(self.pad(X)))).amax(dim=2)


def deepbind(weights: str) -> DeepBind:
    """Build a DeepBind from the arrays and the JSON of one of Kipoi's files."""
    contents = read_foreign_hdf5(Request(weights))
    config = json.loads(contents.attributes[""]["model_config"])
    arrays = {}
    for path, array in contents.arrays.items():
        if path.startswith("model_weights/"):
            layer, kind = path.split("/")[-2:]
            kind_of_layer, number = layer.rsplit("_", 1)
            arrays.setdefault((kind_of_layer, int(number)), {})[kind.split(":")[0]] = torch.from_numpy(array)
    (window,) = {
        layer["config"]["pool_size"][0] for layer in config["config"]["layers"] if "MaxPool" in layer["class_name"]
    }
    # the convolution, then the dense layers in the order of their numbers
    convolution, *dense = [arrays[key] for key in sorted(arrays)]
    width, _, filters = convolution["kernel"].shape
    model = DeepBind(filters, width, window, dense[0]["kernel"].shape[1] if len(dense) == 2 else None)
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv1d)]
    with torch.no_grad():
        for layer, read in zip(layers, (convolution, *dense), strict=True):
            kernel = read["kernel"] if read["kernel"].dim() == 3 else read["kernel"][None]
            layer.weight.copy_(kernel.permute(2, 1, 0))
            layer.bias.copy_(read["bias"])
    return model
