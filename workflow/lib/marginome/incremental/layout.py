"""How feature maps lie in memory: the model's logical shape, with the channels last."""

from __future__ import annotations

import torch


def channels_to_end(t: torch.Tensor) -> torch.Tensor:
    """View feature maps with the channels as last axis."""
    return t.movedim(1, -1) if t.ndim > 2 else t


def channels_back(t: torch.Tensor) -> torch.Tensor:
    """Undo `channels_to_end`."""
    return t.movedim(-1, 1) if t.ndim > 2 else t


def channels_last(t: torch.Tensor) -> torch.Tensor:
    """Lay feature maps out with the channels last in memory."""
    return channels_back(channels_to_end(t).contiguous())


def zeros_like_layout(t: torch.Tensor, shape: list[int], fill: float = 0.0) -> torch.Tensor:
    """Return a filled tensor of another shape, with the channels last in memory like all feature maps."""
    if len(shape) < 3:
        return t.new_full(shape, fill)
    return channels_back(t.new_full([shape[0], *shape[2:], shape[1]], fill))
