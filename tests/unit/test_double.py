"""Convolutions in float64 with few outputs, against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F

from marginome.incremental import double
from marginome.incremental.double import FewOutputs, convolve


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("taps", "padding", "dilation", "length"),
    [(75, 37, 1, 200), (75, 0, 1, 75), (5, 0, 3, 40), (4, 30, 2, 20), (9, 4, 1, 3), (4, 7, 5, 2)],
)
def test_it_is_the_convolution(taps, padding, dilation, length, bias):
    """Also where the padding is wider than the sequence, so that some taps read nothing."""
    x, weight = drawn(3, 12, length), drawn(2, 12, taps, seed=1)
    offset = drawn(2, seed=2) if bias else None
    truth = F.conv1d(x, weight, offset, padding=padding, dilation=dilation)
    found = convolve(x, weight, offset, padding, dilation)
    assert found.shape == truth.shape
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-12)


@pytest.fixture
def made(monkeypatch):
    """How often a convolution was computed here."""
    calls = []
    original = double.convolve
    monkeypatch.setattr(double, "convolve", lambda *args: calls.append(args) or original(*args))
    return calls


def test_a_profile_head_is_computed_so(made):
    head = torch.nn.Conv1d(8, 2, 25, padding="same").double().requires_grad_(False)
    x = drawn(2, 8, 60)
    with FewOutputs():
        found = head(x)
    assert len(made) == 1
    torch.testing.assert_close(found, head(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("channels", "outputs", "taps", "dtype", "options"),
    [
        (8, 8, 25, torch.float64, {}),
        (8, 2, 3, torch.float64, {}),
        (8, 2, 25, torch.float32, {}),
        (8, 2, 25, torch.float64, {"stride": 2}),
        (8, 2, 25, torch.float64, {"groups": 2}),
    ],
    ids=["many outputs", "few taps", "float32", "strides", "groups"],
)
def test_all_else_is_left_to_pytorch(made, channels, outputs, taps, dtype, options):
    x = drawn(2, channels, 60, dtype=dtype)
    weight = drawn(outputs, channels // options.get("groups", 1), taps, seed=1, dtype=dtype)
    with FewOutputs():
        found = F.conv1d(x, weight, **options)
        F.conv_transpose1d(x, drawn(channels, 2, 25, seed=2, dtype=dtype))
    assert not made
    assert torch.equal(found, F.conv1d(x, weight, **options))
