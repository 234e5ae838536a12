"""The recipes of docs/models.md for published models: their lines, run on models of the published form."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import published
from marginome import marginalize_many
from marginome.models import load_model
from model_jobs import checked
from oracles import ORACLE, run_oracle
from workspace import ROOT

INSERT = "TGACGTCATT"


def recipes() -> dict[str, dict]:
    (block,) = re.findall(r"```yaml\n(models:\n  deepstarr:.*?)```", (ROOT / "docs/models.md").read_text(), re.S)
    return yaml.safe_load(block)["models"]


def one_hot(bases: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.as_tensor(bases), 4).transpose(1, 2).float()


def bases_of(text: str) -> np.ndarray:
    return np.array(["ACGT".index(base) for base in text])


def by_class(folder: Path, recipe: dict, name: str, model: torch.nn.Module, saved) -> None:
    """Put the class and the file where the recipe says; `saved` is what the file holds of a state dict."""
    (folder / "models").mkdir()
    (folder / recipe["loader"].partition(":")[0]).write_text(f"from published import {name}\n")
    torch.save(saved(model.state_dict()), folder / recipe["weights"])


def malinois(folder, recipe, bases):
    model = published.randomise(published.Malinois(), 600)
    options = argparse.Namespace(n_outputs=3, inner=[argparse.Namespace(dropout=0.1)])
    by_class(folder, recipe, "Malinois", model, lambda s: {"model_state_dict": s, "model_hparams": options})
    rng = np.random.default_rng(1)
    recipe["flanks"] = {side: "".join(rng.choice([*"ACGT"], 200)) for side in ("left", "right")}
    return {"activity": model(reporter(recipe, bases))}


def legnet(folder, recipe, bases):
    model = published.randomise(published.LegNet(), 230)
    more = {"loss.weight": torch.ones(1)}
    by_class(folder, recipe, "LegNet", model, lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()} | more})
    return {"activity": model(reporter(recipe, bases))[:, None]}


def reporter(recipe, bases):
    beside = [np.tile(bases_of(recipe["flanks"][side]), (len(bases), 1)) for side in ("left", "right")]
    return one_hot(np.concatenate([beside[0], bases, beside[1]], axis=1))


def sei(folder, recipe, bases):
    build = "from published import Sei as Wide\n\ndef Sei():\n    return Wide(30, (60, 80, 120))\n"
    model = published.randomise(published.Sei(30, (60, 80, 120)), 4096, gain=0.3)
    model.classifier[2].weight.data.mul_(0.2)  # so that no probability is near 0 or 1
    by_class(folder, recipe, "Sei", model, lambda s: s)
    (folder / "models/sei.py").write_text(build)
    (folder / "models/sei_targets.txt").write_text("".join(f"target {i}\n" for i in range(30)))
    return {"chromatin": torch.logit(model(one_hot(bases)))}


def puffin(folder, recipe, bases):
    model = published.randomise(published.Puffin(), 1650, gain=1)
    by_class(folder, recipe, "Puffin", model, lambda s: s)
    return {"initiation": model(one_hot(bases))[:, 4, 825, None]}


# Four convolutions and two dense layers, two outputs; as its authors do, weights and architecture are two files.
_DEEPSTARR = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
os.environ["KERAS_BACKEND"] = "torch"
import h5py, keras, numpy as np
from keras import layers as L
from keras.src.legacy.saving import legacy_h5_format
keras.utils.set_random_seed(0)
inp = x = L.Input((249, 4))
for filters, width in ((256, 7), (60, 3), (60, 5), (120, 3)):
    x = L.BatchNormalization()(L.Conv1D(filters, width, padding="same")(x))
    x = L.MaxPooling1D(2)(L.Activation("relu")(x))
x = L.Flatten()(x)
for units in (256, 256):
    x = L.Dropout(0.4)(L.Activation("relu")(L.BatchNormalization()(L.Dense(units)(x))))
model = keras.Model(inp, [L.Dense(1, activation="linear", name=f"Dense_{name}")(x) for name in ("Dev", "Hk")])
rng = np.random.default_rng(0)
model.set_weights([np.abs(w + 0.2 * rng.standard_normal(w.shape)) + 0.2 if "variance" in v.path else
                   w + (0.3 if w.ndim == 1 else 0.02) * rng.standard_normal(w.shape)
                   for v, w in zip(model.weights, model.get_weights())])
open("models/deepstarr.json", "w").write(model.to_json())
with h5py.File("models/deepstarr.h5", "w") as file:
    legacy_h5_format.save_weights_to_hdf5_group(file, model)
found = model.predict(np.eye(4, dtype="f")[np.load("bases.npy")], verbose=0)
np.savez("values.npz", developmental=found[0], housekeeping=found[1])
"""
# The authors' own network and two-hot sequences; of TensorFlow they need Keras alone.
_CLIPNET = """
import os, sys, types, warnings
warnings.simplefilter("ignore")
os.environ["KERAS_BACKEND"] = "torch"
import keras, numpy as np
tensorflow = types.ModuleType("tensorflow")
tensorflow.keras = keras
sys.modules |= {"tensorflow": tensorflow, "tensorflow.keras": keras, "pyfastx": types.ModuleType("pyfastx")}
from clipnet import rnn_v10, utils
del sys.modules["tensorflow"]  # Keras would look for it
X = np.stack([utils.get_twohot("".join("ACGT"[base] for base in row)) for row in np.load("bases.npy")])
assert set(np.unique(X)) == {0, 2}
keras.utils.set_random_seed(0)
rng, found = np.random.default_rng(0), []
for file in ("models/fold_1.h5", "models/fold_2.h5"):
    model = rnn_v10.construct_nn(1000, 1000)
    new = []
    for variable, w in zip(model.weights, model.get_weights()):
        w = w + (0.2 if w.ndim == 1 else 0.02) * rng.standard_normal(w.shape)
        w = w + 3 if variable.path.endswith("beta") and w.shape == (1,) else w  # the last ReLU lets signals through
        new.append(np.abs(w) + 0.2 if "variance" in variable.path else w)
    model.set_weights(new)
    model.save(file)
    found.append(model.predict(X.astype("f"), verbose=0))
np.savez("values.npz", initiation=np.mean([y[1] for y in found], axis=0))
"""
_TORCH = """
import sys
sys.path[:0] = sys.argv[2:]
import numpy as np, torch
torch.set_num_threads(1)
from published import randomise
X = torch.nn.functional.one_hot(torch.from_numpy(np.load("bases.npy")), 4).transpose(1, 2).float()

@torch.no_grad()
def mean(files, make, gain):
    found = []
    for i, file in enumerate(files):
        model = randomise(make(), X.shape[2], gain, seed=i)
        torch.save(model.state_dict(), file)
        y = [model(x) for x in X.split(4)]
        found.append([torch.cat(parts) for parts in zip(*y)] if isinstance(y[0], tuple) else torch.cat(y))
    return found
"""
_PROCAPNET = """
from personal_bpnet.procapnet_orig import ProCapNet
found = mean(["models/procapnet_fold0.pt", "models/procapnet_fold1.pt"], lambda: ProCapNet(32, 8), 1)
profile, counts = (np.mean([part.numpy() for part in parts], axis=0) for parts in zip(*found))
np.savez("values.npz", profile=profile, counts=counts)
"""
_PANGOLIN = """
from bipangolin.model import AR, L, Pangolin, W
found = mean([f"models/final.{i}.0.3.v2" for i in (1, 2, 3)], lambda: Pangolin(L, W, AR), 0.2)
y = torch.stack(found).double().mean(0)[:, 1, 99, None]
np.savez("values.npz", splice_site=torch.logit(y).numpy())
"""


def by_package(folder, bases, script, package):
    (folder / "models").mkdir()
    np.save(folder / "bases.npy", bases)
    path = [str(ROOT / "tests"), str(ROOT / "workflow/lib")]
    if not (ORACLE / package).is_dir():
        run_oracle("", folder, package)  # says what to do
    done = subprocess.run([sys.executable, "-c", script, "-", *path], cwd=folder, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ORACLE)})  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: torch.from_numpy(value) for name, value in np.load(folder / "values.npz").items()}


PREDICTED = {
    "deepstarr": lambda folder, recipe, bases: by_package(folder, bases, _DEEPSTARR, "."),
    "clipnet": lambda folder, recipe, bases: by_package(folder, bases, _CLIPNET, "clipnet"),
    "malinois": malinois,
    "legnet": legnet,
    "procapnet": lambda folder, recipe, bases: by_package(folder, bases, _TORCH + _PROCAPNET, "personal_bpnet"),
    "sei": sei,
    "pangolin_heart": lambda folder, recipe, bases: by_package(folder, bases, _TORCH + _PANGOLIN, "bipangolin"),
    "puffin": puffin,
}


def test_every_recipe_is_run():
    assert [*recipes()] == [*PREDICTED]


@pytest.mark.long
@pytest.mark.parametrize("name", PREDICTED)
def test_a_recipe_gives_what_the_model_gives(name, tmp_path, monkeypatch):
    """Before and after an insert, by the engine and in full; the check finds nothing that would be wrong."""
    recipe = recipes()[name]
    length = recipe.get("input_length", 1000 if name == "clipnet" else 249)
    plain = np.random.default_rng(0).integers(0, 4, (4, length))
    edited, start = plain.copy(), length // 2 - 8
    edited[:, start : start + len(INSERT)] = bases_of(INSERT)
    (tmp_path / "config").symlink_to(ROOT / "config")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ORACLE)) if name == "pangolin_heart" else None
    with torch.no_grad():
        predicted = PREDICTED[name](tmp_path, recipe, np.concatenate([plain, edited]))
    loaded = load_model(name, recipe)
    assert loaded.input_length == length and {o.name for o in loaded.outputs} == set(predicted)
    assert len({o.unit for o in loaded.outputs} - {"model units"}) >= 1
    for engine in ("full",) if name == "pangolin_heart" else ("incremental", "full"):
        found = marginalize_many(loaded.readouts(), one_hot(plain), [INSERT], start=start, engine=engine, device="cpu")
        for output, wanted in predicted.items():
            before, after = wanted[:4].float(), wanted[4:].float()
            spread = float(before.std(0).mean())
            rounding = 2e-6 * float(before.abs().max())
            assert spread > 100 * rounding and float((after - before).abs().max()) > 100 * rounding
            for y, expected in ((found.y_before[output], before), (found.y_after[output][0], after)):
                torch.testing.assert_close(y, expected, rtol=0, atol=5 * rounding)
    if name != "pangolin_heart":  # minutes of processor time
        assert not checked(recipe, tmp_path)["problems"]
