"""Processes with the packages of published models, which are in an environment of their own (`make oracle`)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from workspace import ROOT, cannot_run

ORACLE = ROOT / ".venv-oracle"


def run_oracle(script: str, folder: Path, package: str) -> dict[str, np.ndarray]:
    """Run a script with the oracles' packages on the path; what it saved in values.npz."""
    if not (ORACLE / package).is_dir():
        cannot_run(f"{package} is not in .venv-oracle (make oracle)")
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ORACLE)})  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(folder / "values.npz"))


# Each package writes a small model of its own class, as it saves it; Enformer's and Borzoi's of less depth and width,
# for short sequences. Borzoi's convolutions are as wide as they come: no setting changes them.
PACKAGES = """
import sys, numpy as np, torch
torch.set_num_threads(2)
torch.manual_seed(0)
folder, values = sys.argv[1], {}

def changed(model):
    with torch.no_grad():
        for name, tensor in model.state_dict().items():  # what is saved
            if "running_var" in name:
                tensor.mul_(0.5 + torch.rand_like(tensor))
            elif tensor.is_floating_point():
                tensor.add_((0.3 if tensor.dim() < 2 else 0.05) * torch.randn_like(tensor))
    return model.eval()

def write(name, model, length, read=lambda m, X: m(X)):
    X = torch.nn.functional.one_hot(torch.randint(0, 4, (2, length)), 4).transpose(1, 2).float()
    with torch.no_grad():
        values[f"{name}.X"], values[f"{name}.y"] = X.numpy(), read(model, X).numpy()

from openspliceai.train_base.openspliceai import SpliceAI
model = changed(SpliceAI(32, np.array([11] * 8), np.array([1] * 4 + [4] * 4)))
torch.save(model.state_dict(), f"{folder}/openspliceai.pt")
write("openspliceai", model, 700)
from enformer_pytorch import Enformer, EnformerConfig
heads = {"human": 5, "mouse": 3}
settings = dict(dim=48, depth=2, heads=2, target_length=8, dim_divisible_by=8, output_heads=heads)
model = changed(Enformer(EnformerConfig(**settings)))
model.save_pretrained(f"{folder}/enformer", safe_serialization=False)
write("enformer", model, 2048, lambda m, X: m(X.transpose(1, 2))["human"])
from safetensors.torch import save_model
save_model(model, f"{folder}/enformer/model.safetensors")  # which keeps of two names of one tensor the first
from borzoi_pytorch import Borzoi
from borzoi_pytorch.config_borzoi import BorzoiConfig
model = changed(Borzoi(BorzoiConfig(dim=32, depth=1, heads=2, attn_dim_value=32, bins_to_return=16)))
model.save_pretrained(f"{folder}/borzoi")
write("borzoi", model, 1024)
# Flashzoi needs flash-attn, whose kernels need a GPU: they are replaced by that package's own definitions of what they
# compute (rotary positions, attention), everything else of it runs as it is.
import types
sys.modules["flash_attn_2_cuda"] = types.ModuleType("flash_attn_2_cuda")
from flash_attn.layers import rotary
from flash_attn.modules.mha import CrossAttention
def turn(x, cos, sin, inplace, **more):
    assert inplace and more.pop("seqlen_offsets") == 0 and not any(more.values())
    return x.copy_(rotary.apply_rotary_emb_torch(x.clone(), cos, sin))
rotary.apply_rotary = turn
model = Borzoi(BorzoiConfig(dim=528, depth=1, heads=4, bins_to_return=16, flashed=True, enable_mouse_head=True))
for block in model.transformer:
    mha = block[0].fn[1].mha
    mha.inner_cross_attn = CrossAttention(softmax_scale=mha.inner_cross_attn.softmax_scale)
    mha.use_flash_attn = False
model = changed(model)
model.save_pretrained(f"{folder}/flashzoi")
write("flashzoi", model, 1024)
np.savez(f"{folder}/values.npz", **values)
"""
