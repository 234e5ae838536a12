"""`.keras` archives: models that Keras 3 and CREsted wrote in another process, against their own predictions."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from marginome import MarginomeError
from marginome.model_check import check_model
from marginome.models import load_model
from marginome.models.headers import read_header, recognise
from model_jobs import checked
from workspace import ROOT, cannot_run

ORACLE = ROOT / ".venv-oracle"

# Every weight is changed at random, norm statistics too. A layer of one class twice has the groups dense and dense_1.
_WRITE = """
import os, sys, warnings
warnings.simplefilter("ignore")
os.environ["KERAS_BACKEND"] = "torch"
import numpy as np, keras, torch
from keras import layers as L
torch.set_num_threads(1)
folder = sys.argv[1]
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)

def write(name, model, h5=False):
    new = []
    for variable, w in zip(model.weights, model.get_weights()):
        noise = rng.standard_normal(w.shape).astype("f")
        w = w + (0.3 if w.ndim == 1 else 0.1) * noise
        new.append(np.abs(w) + 0.2 if "variance" in variable.path else w)
    model.set_weights(new)
    model.save(f"{folder}/{name}.keras")
    if h5:
        model.save(f"{folder}/{name}.h5")
    bases = rng.integers(0, 4, (3, model.input_shape[1]))
    y = model.predict(np.eye(4, dtype="f")[bases], verbose=0)
    y = y if isinstance(y, list) else [y]
    np.savez(f"{folder}/{name}.npz", bases=bases, **{f"y{i}": v for i, v in enumerate(y)})
"""
_WIDE = """
inp = L.Input((60, 4), name="seq")
x = L.SeparableConv1D(8, 5, padding="same", depth_multiplier=2, activation="gelu")(inp)
x = L.Dropout(0.1)(L.LayerNormalization()(x))
x = L.Add()([x, L.MultiHeadAttention(2, 4, value_dim=5)(x, x)])
x = L.UpSampling1D(2)(L.MaxPooling1D(2)(x))
x = L.Bidirectional(L.LSTM(3, return_sequences=True))(x)
write("attention", keras.Model(inp, L.Dense(2)(L.LSTM(4)(x))), h5=True)

inp = L.Input((50, 4))
a = L.SeparableConv1D(6, 4, strides=2, padding="valid", use_bias=False)(inp)
b = L.SeparableConv1D(6, 3, dilation_rate=2, padding="same")(a)
b = L.LayerNormalization(scale=False, epsilon=0.1)(L.LayerNormalization(center=False)(b))
c = L.MultiHeadAttention(3, 2, use_bias=False, output_shape=7)(a, b, L.Conv1D(5, 1)(b))
c = L.MultiHeadAttention(1, 4)(c, L.UpSampling1D(3)(b))
d = L.Bidirectional(L.LSTM(3), merge_mode="sum")(c)
e = L.Bidirectional(L.LSTM(3, use_bias=False, return_sequences=True), merge_mode="ave")(c)
f = L.LSTM(3, go_backwards=True, return_sequences=True)(e)
g = L.Multiply()([f, d])  # of channels alone: the same at every position
write("variants", keras.Model(inp, [L.TimeDistributed(L.Dense(2))(g), L.LayerNormalization()(d)]), h5=True)

inp = L.Input((40, 4))
a = L.DepthwiseConv1D(5, strides=2, depth_multiplier=3, padding="same", activation="relu")(inp)
a = L.DepthwiseConv1D(3, dilation_rate=2, use_bias=False)(a)
b = L.Bidirectional(L.GRU(3, return_sequences=True))(a)
b = L.GRU(4, use_bias=False, go_backwards=True, return_sequences=True)(b)
write("cells", keras.Model(inp, L.Dense(2)(L.Bidirectional(L.GRU(3), merge_mode="ave")(b))), h5=True)

def part(filters, name):
    inner = L.Input((30, 8))
    y = L.Conv1D(filters, 3, activation="exponential")(L.BatchNormalization()(inner))
    return keras.Model(inner, L.GlobalAveragePooling1D()(y), name=name)

inp = L.Input((32, 4))
x = L.Conv1D(8, 3, activation="gelu")(inp)
y = L.Concatenate()([part(5, "first")(x), part(3, "second")(x)])
nested = keras.Model(inp, L.Dense(2, activation="softplus")(y))
write("nested", nested)
write("sequential", keras.Sequential([L.Input((40, 4)), L.Conv1D(6, 5), L.BatchNormalization(), L.Activation("silu"),
                                      L.Conv1D(5, 3), L.PReLU(shared_axes=[1]), L.Flatten(), L.Dense(4), L.Dense(1)]))
"""
# CREsted's zoo needs Keras alone; the packages that it lies in import much more, so they are stood in for.
_ZOO = """
import types
for package in ("crested", "crested.tl"):
    module = types.ModuleType(package)
    module.__path__ = [next(f"{p}/{package.replace('.', '/')}" for p in sys.path if os.path.isdir(f"{p}/crested"))]
    sys.modules[package] = module
from crested.tl import zoo
write("dilated_cnn", zoo.dilated_cnn(600, 3, first_conv_filters=12, n_dil_layers=4, num_filters=12))
write("decoupled", zoo.dilated_cnn_decoupled(600, 3, first_conv_filters=12, n_dil_layers=4, num_filters=12))
write("deeptopic_cnn", zoo.deeptopic_cnn(500, 3, filters=16, dense_out=16))
write("deeptopic_lstm", zoo.deeptopic_lstm(300, 3, filters=12, dense_out=8, lstm_out=6))
write("simple_convnet", zoo.simple_convnet(500, 3, first_filters=12, filters=12, dense_size=12))
write("simple_layer", zoo.simple_convnet(500, 3, first_filters=12, filters=12, dense_size=12, normalization="layer"))
write("basenji", zoo.basenji(1024, 3, first_filters=16, filters=32))
write("legnet", zoo.legnet(230, 3, stem_filters=8, tower_filters=(8, 12), pool_sizes=(2, 2)))
write("enformer", zoo.enformer(1024, 3, num_conv_blocks=2, num_transformer_blocks=2, num_transformer_heads=2,
                               target_length=64, start_filters=128, filters=384, pointwise_filters=24,
                               output_activation="linear"))
write("borzoi", zoo.borzoi(1024, 3, num_conv_blocks=3, num_transformer_blocks=1, num_transformer_heads=2,
                           target_length=192, start_filters=32, filters=64, pointwise_filters=24,
                           unet_connections=[2, 3], unet_filters=64))
"""


def written(folder: Path, script: str) -> Path:
    done = subprocess.run([sys.executable, "-c", _WRITE + script, str(folder)], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ORACLE)})  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return written(tmp_path_factory.mktemp("keras"), _WIDE)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    if not (ORACLE / "crested").is_dir():
        cannot_run("crested is not in .venv-oracle (make oracle)")
    return written(tmp_path_factory.mktemp("crested"), _ZOO)


def compared(file: Path, loader: str = "keras", rounding: float = 2e-6) -> None:
    """What a file predicts, against what Keras predicted with it."""
    values = np.load(file.with_suffix(".npz"))
    wanted = [values[name] for name in sorted(values.files) if name.startswith("y")]
    outputs = {}
    for i, y in enumerate(wanted):
        index = {"index": "0"} if y.ndim == 3 else {}
        outputs[f"y{i}"] = {"head": i if len(wanted) > 1 else None, "names": list("abcdefg"[: y.shape[-1]])} | index
        outputs[f"y{i}"] = {key: value for key, value in outputs[f"y{i}"].items() if value is not None}
    loaded = load_model(file.stem, {"weights": str(file), "outputs": outputs})
    assert loaded.loader == recognise(str(file)) == loader
    assert read_header({"weights": str(file)}).input_length == loaded.input_length == values["bases"].shape[1]
    X = torch.from_numpy(np.eye(4, dtype=np.float32)[values["bases"]]).transpose(1, 2)
    with torch.no_grad():
        found = loaded.module(X)
    for y, expected in zip(found if isinstance(found, tuple) else (found,), wanted, strict=True):
        largest = np.abs(expected).max()
        assert expected.std(axis=0).mean() > 50 * rounding * largest  # however small outputs are
        np.testing.assert_allclose(y, expected, rtol=0, atol=rounding * largest)


@pytest.mark.parametrize(
    "name",
    [
        "attention.keras",
        "attention.h5",
        "variants.keras",
        "variants.h5",
        "cells.keras",
        "cells.h5",
        "nested.keras",
        "sequential.keras",
    ],
)
def test_archives_of_keras_3_predict_as_in_keras(wide, name):
    compared(wide / name)


def test_attention_and_lstms_pass_the_check_of_a_model(wide):
    """DeepLIFT has a rule for each of their operations."""
    settings = {"weights": str(wide / "attention.keras"), "outputs": {"y": {"names": ["a", "b"]}}}
    check = check_model(load_model("m", settings))
    assert check["problems"] == [] and check["attribution"]["unsupported_operations"] == []
    assert check["attribution"]["deltas"]["y"]["relative"] < 0.01


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        "dilated_cnn",
        "decoupled",
        "deeptopic_cnn",
        "deeptopic_lstm",
        "simple_convnet",
        "simple_layer",
        "basenji",
        "legnet",
        "enformer",
        "borzoi",
    ],
)
def test_models_of_the_crested_zoo_predict_as_in_keras_and_pass_the_check(zoo, tmp_path, name):
    # Keras' own Enformer is 2e-6 to 5e-6 off from float64 in float32
    compared(zoo / f"{name}.keras", rounding=1e-5 if name == "enformer" else 2e-6)
    bins = {"index": "30"} if name in ("enformer", "borzoi") else {}
    outputs = {"y": {"names": ["a", "b", "c"]} | bins}
    found = checked({"weights": str(zoo / f"{name}.keras"), "outputs": outputs}, tmp_path)
    assert found["attribution"]["unsupported_operations"] == []
    assert not found["attribution"]["deltas"]["y"]["relative"] > 0.01


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("MultiheadAttention", {"relative_position_absolute": False}, "CREsted itself cannot run"),
        ("MultiheadAttention", {"relative_position_functions": "sines"}, "features of distances of the kind sines"),
        ("MultiheadAttention", {"num_position_features": 7}, "7 features"),
        ("MultiheadAttention", {"heads": 2**30}, "more than any model has"),
        ("MultiheadAttention", {"heads": 4}, r"its biases are \(1, 2, 1, 64\)"),
        ("MultiheadAttention", {"value_size": 8}, "its v_layer is"),
        ("AttentionPool1D", {"pool_size": 3}, "1024 positions in windows of 3"),
        ("AttentionPool1D", {"per_channel": False}, r"by a matrix \(128, 128\)"),
    ],
)
def test_layers_of_crested_that_do_not_fit_are_one_line(zoo, tmp_path, kind, change, message):
    edit = config_edit(lambda config: first(config, kind)["config"].update(change))
    file = changed(zoo / "enformer.keras", tmp_path / "bad.keras", edit)
    with pytest.raises(MarginomeError, match=message) as refused:
        load_model("m", {"weights": file, "outputs": {"y": {"index": "30", "names": ["a", "b", "c"]}}})
    assert "\n" not in str(refused.value) and "bad.keras" in str(refused.value)


# ------------------------------------------------------------------------------------ hostile and damaged
def changed(source: Path, target: Path, change=lambda members: None, packing: int = zipfile.ZIP_STORED) -> str:
    """A copy of an archive whose members `change` edits, under right checksums."""
    with zipfile.ZipFile(source) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w", packing) as new:
        for name, content in members.items():
            new.writestr(name, content)
    return str(target)


def config_edit(edit):
    def change(members):
        config = json.loads(members["config.json"])
        edit(config)
        members["config.json"] = json.dumps(config)

    return change


def first(config, kind: str) -> dict:
    return next(layer for layer in config["config"]["layers"] if layer["class_name"] == kind)


def _lambda(config):
    layer = first(config, "Dense")
    layer["class_name"] = "Lambda"
    layer["config"] = {"name": "dense", "function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}}


HOSTILE = {
    "lambda": (config_edit(_lambda), "it holds Python code, which is not run"),
    "custom": (config_edit(lambda c: first(c, "Dense").update(class_name="os.system")), "layers of the kind os.system"),
    "renamed": (
        config_edit(
            lambda c: (first(c, "Dense")["config"].update(name="other"), first(c, "Dense").update(name="other"))
        ),
        r"weights of the layer 'other' are those of 'dense' in the archive",
    ),
    "no weights": (lambda m: m.pop("model.weights.h5"), "kind of file is not recognised"),
    "no metadata": (lambda m: m.pop("metadata.json"), "it has no metadata.json"),
    "other weights": (lambda m: m.update({"model.weights.h5": b"no"}), "damaged, cut short, or no HDF5 file"),
    "no json": (lambda m: m.update({"config.json": b"\xff{"}), "damaged, cut short, or none of Keras"),
    "bomb": (lambda m: m.update({"model.weights.h5": bytes(200 << 20)}), "weights are larger than a file of its size"),
    "gate": (config_edit(lambda c: first(c, "MultiHeadAttention")["config"].update(use_gate=True)), "a gate or"),
    "window": (config_edit(lambda c: first(c, "MultiHeadAttention")["config"].update(sliding_window=3)), "window"),
    "hard": (
        config_edit(lambda c: first(c, "LSTM")["config"].update(recurrent_activation="hard_sigmoid")),
        "of an LSTM",
    ),
    "stateful": (config_edit(lambda c: first(c, "LSTM")["config"].update(stateful=True)), "stateful is not supported"),
    "rms": (config_edit(lambda c: first(c, "LayerNormalization")["config"].update(rms_scaling=True)), "rms_scaling"),
    "units": (config_edit(lambda c: first(c, "LSTM")["config"].update(units=2**30)), "its kernel is"),
    "heads": (config_edit(lambda c: first(c, "MultiHeadAttention")["config"].update(num_heads=2**30)), "more than any"),
    "size": (config_edit(lambda c: first(c, "UpSampling1D")["config"].update(size=2**30)), "more than any model has"),
    "unused": (
        config_edit(lambda c: first(c, "LayerNormalization")["config"].update(scale=False)),
        "its beta|no layer",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_one_line(wide, tmp_path, name):
    change, message = HOSTILE[name]
    packing = zipfile.ZIP_DEFLATED if name == "bomb" else zipfile.ZIP_STORED
    file = changed(wide / "attention.keras", tmp_path / "bad.keras", change, packing)
    with pytest.raises(MarginomeError, match=message) as refused:
        load_model("m", {"weights": file, "outputs": {"y": {"names": ["a", "b"]}}})
    assert "\n" not in str(refused.value) and "bad.keras" in str(refused.value)
    read_header({"weights": file})  # a plan never fails on it


def test_damaged_archives_are_read_right_or_refused_in_one_line(wide, tmp_path):
    """Bits flipped, bytes cut: the checksums of the zip are compared."""
    whole = (wide / "attention.keras").read_bytes()
    values = np.load(wide / "attention.npz")
    X = torch.from_numpy(np.eye(4, dtype=np.float32)[values["bases"]]).transpose(1, 2)
    rng, refused = random.Random(0), 0
    for i in range(40):
        data = bytearray(whole)
        if i % 4 == 0:
            del data[rng.randrange(len(data)) :]
        else:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (tmp_path / "bad.keras").write_bytes(data)
        try:
            loaded = load_model("m", {"weights": str(tmp_path / "bad.keras"), "outputs": {"y": {"names": ["a", "b"]}}})
        except MarginomeError as error:
            refused += 1
            assert "\n" not in str(error) and "bad.keras" in str(error)
        else:
            with torch.no_grad():
                np.testing.assert_allclose(loaded.module(X), values["y0"], rtol=2e-5, atol=2e-6)
    assert refused > 20
