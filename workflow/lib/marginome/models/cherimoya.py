"""Cherimoya (the models of CATv1), rebuilt from its checkpoints: a config and a state dict, read as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from marginome.errors import MarginomeError
from marginome.models.arguments import Argument
from marginome.models.built import Built
from marginome.models.outputs import Output
from marginome.models.pickles import refuse_repeated
from marginome.models.states import load_strictly, plain_state, read_weights
from marginome.models.wrappers import StrandedHead

_NORM_EPSILON = 1e-3
# The checkpoint's config: what is needed of it, what has no effect on predictions.
_NEEDED = ("n_filters", "n_layers", "signal_groups", "n_control_tracks", "expansion", "residual_scale", "trimming")
_NO_EFFECT = ("name", "verbose")
_LOSS_WEIGHTS = ("lw0", "lw1")  # weights of the training loss
_MOST = 2**20  # filters, layers and tracks beyond any model's


class Block(nn.Module):
    """A depthwise dilated convolution, a norm over all positions and channels, two convolutions of width 1, added.

    Parameters
    ----------
    filters : int
    hidden : int
        Channels between the two convolutions of width 1.
    dilation : int
    scale : float
        Of what is added.
    """

    def __init__(self, filters: int, hidden: int, dilation: int, scale: float):
        super().__init__()
        self.scale = scale
        self.conv = nn.Conv1d(filters, filters, 3, padding=dilation, dilation=dilation, groups=filters, bias=False)
        self.norm = nn.GroupNorm(1, filters, eps=_NORM_EPSILON, affine=False)  # one group: (channels, positions)
        self.linear1 = nn.Conv1d(filters, hidden, 1, bias=False)
        self.activation = nn.GELU(approximate="tanh")
        self.linear2 = nn.Conv1d(hidden, filters, 1, bias=False)

    def forward(self, X: Tensor) -> Tensor:
        """``(n, filters, length)`` to the same."""
        return X + self.scale * self.linear2(self.activation(self.linear1(self.norm(self.conv(X)))))


class Cherimoya(nn.Module):
    """A wide convolution, blocks of dilation 1, 2, 4, ..., a profile head and a count head.

    Parameters
    ----------
    config : mapping
        As in a checkpoint, all of whole numbers but `signal_groups` (channels of each group) and `residual_scale`.
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        filters, tracks, groups = config["n_filters"], config["n_control_tracks"], config["signal_groups"]
        self.trimming, self.n_control_tracks = config["trimming"], tracks
        self.iconv = nn.Conv1d(4, filters, 21, padding=10)
        self.igelu = nn.GELU(approximate="tanh")
        self.blocks = nn.ModuleList(
            Block(filters, config["expansion"] * filters, 2**i, config["residual_scale"])
            for i in range(config["n_layers"])
        )
        self.fconv = nn.Conv1d(filters + tracks, sum(groups), 75, padding=37)
        self.linear = nn.Linear(filters + (tracks > 0), len(groups))

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
            Profile logits ``(n, channels, length - 2 * trimming)``, the channels of all signal groups one after the
            other, and log(1 + counts) ``(n, groups)``.
        """
        X = self.igelu(self.iconv(X))
        for block in self.blocks:
            X = block(X)
        kept = slice(self.trimming, X.shape[2] - self.trimming)
        mean = X[:, :, kept].mean(dim=2)
        if self.n_control_tracks:
            X = torch.cat([X, controls], dim=1)
            total = controls[:, :, kept].sum(dim=(1, 2)).unsqueeze(-1)
            mean = torch.cat([mean, torch.log(total + 1)], dim=-1)
        return self.fconv(X)[:, :, kept], self.linear(mean)


def is_cherimoya(loaded: Any) -> bool:
    """Whether what a file held is a checkpoint of Cherimoya: its config beside its state dict."""
    if not isinstance(loaded, dict) or not isinstance(loaded.get("config"), dict):
        return False
    return "signal_groups" in loaded["config"] and isinstance(loaded.get("state_dict"), dict)


def load(file: str, bias_file: str | None, settings: Mapping[str, Any], loader: str, where: str) -> Built:
    """Build a model from a checkpoint; see `Built`. Such files do not tell the length of the sequences."""
    loaded = read_weights(file)
    if not is_cherimoya(loaded):
        raise MarginomeError(
            "this is no checkpoint of Cherimoya, which holds a config with signal_groups and a state_dict",
            where=where,
            remedy="Give the file that Cherimoya.save wrote, or the loader that fits this one.",
        )
    config = _checked(loaded["config"], where)
    state = {_name(name): value for name, value in plain_state(loaded, where).items() if name not in _LOSS_WEIGHTS}
    refuse_repeated(state, where)
    _check_sizes(config, state, where)
    module = Cherimoya(config)
    load_strictly(module, {name: _shape(name, value) for name, value in state.items()}, where)
    tracks = config["n_control_tracks"]
    arguments = ()
    if tracks:  # the length is filled in when it is known
        flip = (0, 1) if tracks == 2 else (1,)
        arguments = (Argument("controls", (tracks, 0), flip=flip),)
    groups = config["signal_groups"]
    return Built(module, None, arguments, _outputs(groups), stranded=(_strands(groups),))


def _strands(groups: list[int]) -> StrandedHead:
    """Of the profiles: positions are turned round, and the channels within every group, (+, -) of two."""
    order = []
    for channels in groups:
        order += reversed(range(len(order), len(order) + channels))
    return StrandedHead((0,), 2, 1, tuple(order))


def _outputs(groups: list[int]) -> tuple[Output, ...]:
    """Log counts of every group (head 1), and logits (head 0), whose softmax runs over the channels of a group."""
    several = len(groups) > 1
    names = tuple(f"counts_{i + 1}" for i in range(len(groups))) if several else ("counts",)
    outputs = [Output("counts", head=1, names=names, unit="log counts", measure="difference")]
    for i, channels in enumerate(groups):
        first = sum(groups[:i])
        outputs.append(
            Output(
                f"profile_{i + 1}" if several else "profile", "profile", 0,
                index=f"{first}:{first + channels}" if several else None, unit="logits",
                measure="jensen_shannon_distance", softmax="both", bin=1,
            )
        )  # fmt: skip
    return tuple(outputs)


def _checked(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The config with a value of the right type for every key that is needed, and no key that is not known."""
    unknown = sorted(str(key) for key in config if key not in (*_NEEDED, *_NO_EFFECT))
    missing = [key for key in _NEEDED if key not in config]
    if unknown or missing:
        raise MarginomeError(
            f"its config has {'the unknown key ' + unknown[0] if unknown else 'no ' + missing[0]}; read are the "
            "checkpoints of Cherimoya 0.3",
            where=where,
            remedy="Load it in the Cherimoya that wrote it, and save it by Cherimoya 0.3.1.",
        )
    for key in _NEEDED:
        value = config[key]
        if key == "signal_groups":
            fits = isinstance(value, list) and 0 < len(value) < _MOST and all(_whole(n, 1) for n in value)
        elif key == "residual_scale":
            fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
        else:
            fits = _whole(value, 0 if key in ("n_control_tracks", "trimming", "n_layers") else 1)
        if not fits:
            raise MarginomeError(f"its config has {key}: {str(value)[:60]}", where=where)
    return {key: config[key] for key in _NEEDED}


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < _MOST


def _check_sizes(config: Mapping[str, Any], state: Mapping[str, Tensor], where: str) -> None:
    """Refuse a config that does not fit the weights before a module of its sizes is made: a few bytes can say any."""
    layers = {int(m[1]) for m in (re.match(r"blocks\.(\d+)\.", name) for name in state) if m}
    first, last = state.get("iconv.weight"), state.get("fconv.weight")
    filters, channels = config["n_filters"], sum(config["signal_groups"])
    fits = (
        first is not None
        and last is not None
        and tuple(first.shape) == (filters, 4, 21)
        and tuple(last.shape) == (channels, filters + config["n_control_tracks"], 75)
        and layers == set(range(config["n_layers"]))
        and all(
            tuple(state[name].shape) == (config["expansion"] * filters, filters)
            for name in (f"blocks.{i}.linear1.weight" for i in layers)
            if name in state
        )
    )
    if not fits:
        raise MarginomeError(
            f"its weights do not fit its config: {filters} filters, {config['n_layers']} layers, {channels} channels, "
            f"{config['n_control_tracks']} control tracks",
            where=where,
            remedy="The file is damaged, or of another version: save it again by Cherimoya 0.3.1.",
        )


def _name(name: str) -> str:
    """The name of a weight in our module; the depthwise convolution is conv_weight or conv.conv_weight in files."""
    return re.sub(r"^(blocks\.\d+)\.(?:conv\.)?conv_weight$", r"\1.conv.weight", name)


def _shape(name: str, value: Tensor) -> Tensor:
    """A weight in the shape that a convolution has it, where the file has a matrix."""
    if re.fullmatch(r"blocks\.\d+\.conv\.weight", name) and value.dim() == 2:
        return value.T.unsqueeze(1)  # (3, filters) to (filters, 1, 3)
    if re.fullmatch(r"blocks\.\d+\.linear[12]\.weight", name) and value.dim() == 2:
        return value.unsqueeze(2)
    return value
