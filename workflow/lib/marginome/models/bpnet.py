"""BPNet and ChromBPNet as bpnet-lite trains them, rebuilt from a state dict or a module saved whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from marginome.errors import MarginomeError, unknown_name
from marginome.models.arguments import Argument
from marginome.models.built import Built
from marginome.models.layers import LogSumExp
from marginome.models.outputs import Output
from marginome.models.pickles import Record, plain_tensors, refuse_repeated
from marginome.models.states import load_strictly, plain_state, read_weights

# The count head averages over the output window and this much more on either side: the half-width of
# bpnet-lite's profile convolution (75), kept as a constant in its code whatever the width is.
COUNT_MARGIN = 37
FIRST_KEYS = ("iconv.weight", "fconv.weight", "linear.weight")


class BPNet(nn.Module):
    """BPNet (Avsec et al. 2021, Nat Genet 53:354) in the form that bpnet-lite trains.

    A wide convolution, a stack of residual dilated convolutions (dilation 2, 4, ...), a profile head
    (a wide convolution) and a count head (a mean over positions and a linear layer). The names of the
    parameters are those of bpnet-lite's files.

    Parameters
    ----------
    weights : mapping of str to Tensor
        ``iconv``, ``rconvs.<i>``, ``fconv`` and ``linear``, each with ``weight`` and perhaps ``bias``;
        they give the number of filters, layers, strands and control tracks and all kernel sizes.
    trimming : int, optional
        Positions cut off either side of the profile. Default: 47 plus the sum of the dilations.
    pre_activation : bool, default False
        How residuals are added: to the activations (bpnet-lite's BPNet), or before them (its
        BasePairNet, as basepairmodels does).
    """

    def __init__(self, weights: Mapping[str, Tensor], trimming: int | None = None, pre_activation: bool = False):
        super().__init__()
        layers = sorted({int(m[1]) for m in (re.fullmatch(r"rconvs\.(\d+)\.weight", name) for name in weights) if m})
        if layers != list(range(len(layers))):
            raise MarginomeError(f"the dilated layers found are {layers}; wanted 0, 1, 2, ... without gaps")
        self.n_filters = weights["iconv.weight"].shape[0]
        self.n_layers = len(layers)
        self.n_control_tracks = weights["fconv.weight"].shape[1] - self.n_filters
        if trimming is None:
            trimming = 2**self.n_layers if pre_activation else 47 + sum(2**i for i in range(1, self.n_layers + 1))
        self.trimming = int(trimming)
        self.pre_activation = pre_activation
        self.iconv = _convolution(weights, "iconv")
        self.irelu = nn.ReLU()
        self.rconvs = nn.ModuleList([_convolution(weights, f"rconvs.{i}", 2 ** (i + 1)) for i in layers])
        self.rrelus = nn.ModuleList([nn.ReLU() for _ in layers])
        self.fconv = _convolution(weights, "fconv")
        self.linear = nn.Linear(*reversed(weights["linear.weight"].shape), bias="linear.bias" in weights)

    def forward(self, X: Tensor, controls: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predict profile logits and log counts.

        Parameters
        ----------
        X : Tensor, shape (n, 4, length)
            One-hot sequences.
        controls : Tensor, shape (n, n_control_tracks, length)
            Control tracks, for a model that has them.

        Returns
        -------
        tuple of Tensor
            Profile logits ``(n, strands, length - 2 * trimming)`` and log counts ``(n, 1)``.
        """
        X = self.iconv(X)
        if self.pre_activation:
            for relu, conv in zip(self.rrelus, self.rconvs):
                X = X + conv(relu(X))
            X = self.irelu(X)
        else:
            X = self.irelu(X)
            for relu, conv in zip(self.rrelus, self.rconvs):
                X = X + relu(conv(X))
        margin = max(self.trimming - COUNT_MARGIN, 0)
        mean = X[:, :, margin : -margin or None].mean(dim=2)
        if self.n_control_tracks:
            X = torch.cat([X, controls], dim=1)
            cut, pseudocount = (self.trimming, 2) if self.pre_activation else (margin, 1)
            total = controls[:, :, cut : -cut or None].sum(dim=(1, 2)).unsqueeze(-1)
            mean = torch.cat([mean, torch.log(total + pseudocount)], dim=-1)
        profile = self.fconv(X)[:, :, self.trimming : -self.trimming or None]
        return profile, self.linear(mean)


class ChromBPNet(nn.Module):
    """ChromBPNet: an accessibility model and an enzyme bias model, logits added and counts added.

    Parameters
    ----------
    accessibility, bias : torch.nn.Module
        Both return profile logits and log counts, without extra inputs.
    crop : int, default 0
        Positions cut off either side of the bias profile, to the accessibility profile's length.
    """

    def __init__(self, accessibility: nn.Module, bias: nn.Module, crop: int = 0):
        super().__init__()
        self.accessibility = accessibility
        self.bias = bias
        self.crop = crop
        self.logsumexp = LogSumExp()

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """``(n, 4, length)`` to profile logits, as the accessibility model's, and log counts ``(n, 1)``."""
        profile, counts = self.accessibility(X)
        bias_profile, bias_counts = self.bias(X)
        profile = profile + bias_profile[..., self.crop : -self.crop or None]
        return profile, self.logsumexp(torch.cat([counts, bias_counts], dim=1))


def join(accessibility: nn.Module, bias: nn.Module, where: str) -> ChromBPNet:
    """Join two BPNets into a ChromBPNet, the bias profile cropped to the other's length."""
    for part in (accessibility, bias):
        if not isinstance(part, BPNet) or part.n_control_tracks:
            raise MarginomeError("ChromBPNet joins two BPNets without control tracks; this is none", where=where)
    crop = accessibility.trimming - bias.trimming
    if crop < 0:
        raise MarginomeError(
            f"the bias model cuts off more ({bias.trimming}) than the accessibility model ({accessibility.trimming})",
            where=where,
        )
    return ChromBPNet(accessibility, bias, crop)


#: Of every BPNet: log counts (head 1) and profile logits (head 0).
OUTPUTS = (
    Output("counts", head=1, unit="log counts", measure="difference"),
    Output("profile", "profile", 0, unit="logits", measure="jensen_shannon_distance", softmax="both", bin=1),
)


def load(file: str, bias_file: str | None, settings: Mapping[str, Any], loader: str, where: str) -> Built:
    """Build a model from a file of bpnet-lite, joined with a bias model if there is one; see `Built`."""
    module = build(read_weights(file), settings, where)
    if bias_file:
        bias = build(read_weights(bias_file), {}, f"{where}: {bias_file}")
        module = join(module, bias, where)
    arguments = ()
    tracks = getattr(module, "n_control_tracks", 0)
    if tracks:
        flip = (0, 1) if tracks == 2 else (1,)
        arguments = (Argument("controls", (tracks, 0), flip=flip),)  # the length is filled in when it is known
    return Built(module, None, arguments, OUTPUTS)


def build(loaded: Any, settings: Mapping[str, Any], where: str) -> nn.Module:
    """Build the module from what a file held.

    Parameters
    ----------
    loaded : dict or Record
        A state dict, a dict that holds one, or a module of bpnet-lite saved whole.
    settings : mapping
        The model's config entry; ``parameters`` may give ``trimming``, ``architecture`` (BPNet or
        BasePairNet, for a state dict, which does not tell) and ``component``.
    where : str
        For messages.

    Returns
    -------
    BPNet or ChromBPNet
        Such files do not tell the length of the sequences.
    """
    parameters = dict(settings.get("parameters") or {})
    for key in parameters:
        if key not in ("trimming", "architecture"):
            raise unknown_name("parameter", key, ["trimming", "architecture"], where=where)
    component = settings.get("component")
    if isinstance(loaded, Record):
        return _from_record(loaded, parameters, component, where)
    return _from_state(plain_state(loaded, where), parameters, component, where)


def is_bpnet_state(state: Mapping[str, Any]) -> bool:
    """Whether a state dict is one of bpnet-lite's BPNet or ChromBPNet, judged by its keys."""
    named = all(key in state or f"accessibility.{key}" in state for key in FIRST_KEYS)
    return named and not any(key.startswith("blocks.") for key in state)  # Cherimoya has these names too


def _from_state(state: dict[str, Tensor], parameters: dict, component: str | None, where: str) -> nn.Module:
    if "accessibility.iconv.weight" in state:
        parts = {
            part: {k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(f"{part}.")}
            for part in ("accessibility", "bias")
        }
        # the trimming given is the profile's; the bias model's follows from its own layers
        built = {p: _bpnet(w, parameters if p == "accessibility" else {}, where) for p, w in parts.items()}
        return _assemble(built, component, where)
    if component not in (None, "accessibility"):
        raise MarginomeError(f"component '{component}' was asked for, but the file holds a single BPNet", where=where)
    return _bpnet(state, parameters, where)


def _assemble(parts: dict[str, BPNet], component: str | None, where: str) -> nn.Module:
    return join(**parts, where=where) if component in (None, "combined") else parts[component]


def _bpnet(weights: dict[str, Tensor], parameters: Mapping, where: str) -> BPNet:
    missing = [key for key in FIRST_KEYS if key not in weights]
    if missing:
        raise MarginomeError(
            f"this is not a BPNet of bpnet-lite: there is no {', '.join(missing)} among its {len(weights)} tensors "
            f"(the first: {', '.join(list(weights)[:3])})",
            where=where,
            remedy="Give the loader that fits the file, or write one: loader: path/to/file.py:function.",
        )
    architecture = parameters.get("architecture", "BPNet")
    if architecture not in ("BPNet", "BasePairNet"):
        raise unknown_name("architecture", architecture, ["BPNet", "BasePairNet"], where=f"{where}: parameters")
    first, last, linear = (weights[key] for key in FIRST_KEYS)
    convolutions = [
        weight for name, weight in weights.items() if re.fullmatch(r"[if]conv\.weight|rconvs\.\d+\.weight", name)
    ]
    fits = all(weight.dim() == 3 and weight.numel() for weight in convolutions)
    controls = last.shape[1] - first.shape[0] if fits else -1
    if controls < 0 or first.shape[1] != 4 or linear.shape != (1, first.shape[0] + (controls > 0)):
        raise MarginomeError(
            f"the shapes do not fit a BPNet: iconv {tuple(first.shape)}, fconv {tuple(last.shape)}, "
            f"linear {tuple(linear.shape)}; wanted (f, 4, k), (strands, f + controls, k), (1, f or f + 1)",
            where=where,
        )
    refuse_repeated(weights, where)
    module = BPNet(weights, parameters.get("trimming"), pre_activation=architecture == "BasePairNet")
    load_strictly(module, weights, where)
    return module


def _from_record(record: Record, parameters: dict, component: str | None, where: str) -> nn.Module:
    kind = record.class_name.rsplit(".", 1)[-1]
    if not record.class_name.startswith("bpnetlite."):
        raise MarginomeError(
            f"the file holds a module of class {record.class_name}, saved whole; the loader bpnet_lite reads those of "
            "bpnet-lite",
            where=where,
            remedy="Save its state_dict and give a loader that builds the module: loader: path/to/file.py:function.",
        )
    if kind == "ControlWrapper":  # gives control tracks of zeros, which is what we give
        return _from_record(record["model"], parameters, component, where)
    if kind == "ChromBPNet":
        return _assemble(
            {part: _from_record(record[part], parameters, None, where) for part in ("accessibility", "bias")},
            component,
            where,
        )
    if kind not in ("BPNet", "BasePairNet"):
        raise MarginomeError(
            f"the file holds bpnet-lite's {kind}; known are BPNet, BasePairNet, ChromBPNet", where=where
        )
    if component not in (None, "accessibility"):
        raise MarginomeError(f"component '{component}' was asked for, but the file holds a single BPNet", where=where)
    known = {"architecture": kind, "trimming": record.get("trimming")} | parameters
    module = _bpnet(plain_tensors(record.state_dict(), where), known, where)
    for name, conv in module.named_modules():  # what the weights do not tell was assumed: compare it
        if isinstance(conv, nn.Conv1d):
            saved = _descend(record, name)
            for word in ("padding", "dilation", "stride", "groups"):
                found, ours = saved.get(word), getattr(conv, word)
                if found is not None and _flat(found) != _flat(ours):
                    raise MarginomeError(f"layer {name} has {word} {found}; a BPNet has {ours}", where=where)
    return module


def _descend(record: Record, name: str) -> Record:
    for part in name.split("."):
        record = record[part]
    return record


def _flat(value: Any) -> int:
    return int(value[0]) if isinstance(value, tuple | list) else int(value)


def _convolution(weights: Mapping[str, Tensor], name: str, dilation: int = 1) -> nn.Conv1d:
    out_channels, in_channels, width = weights[f"{name}.weight"].shape
    padding = dilation * (width - 1) // 2
    return nn.Conv1d(
        in_channels, out_channels, width, padding=padding, dilation=dilation, bias=f"{name}.bias" in weights
    )
