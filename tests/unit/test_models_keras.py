"""Keras .h5 files rebuilt in PyTorch: files of Keras 2 and 3 against what Keras 2 and 3 themselves predict."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from marginome import MarginomeError, random_one_hot
from marginome.models import load_model

FILES = Path(__file__).parents[1] / "data/keras2"
FILES_OF_3 = FILES.with_name("keras3")  # by Keras 3.15, and by tf_keras 2.21 where the name ends in 2
OUTPUTS = {
    "sequential": {"tasks": {"names": ["a", "b"]}},
    "other_layers": {
        "classes": {"head": 0, "names": ["a", "b", "c"]},
        "product": {"head": 1, "names": ["a", "b", "c"]},
    },
}


def settings(name: str, **more) -> dict:
    made = {"weights": str(FILES / f"{name}.h5")} | more
    if name in OUTPUTS:
        made["outputs"] = OUTPUTS[name]
    return made


def inputs(values) -> list[torch.Tensor]:
    """X and the further inputs of an .npz, in PyTorch's layout."""
    X = torch.from_numpy(np.eye(4, dtype=np.float32)[values["bases"]])
    extra = [torch.from_numpy(values[f"extra{i}"]) for i in range(9) if f"extra{i}" in values]
    return [x.transpose(1, 2) if x.dim() == 3 else x for x in (X, *extra)]


def heads(module: torch.nn.Module, *x: torch.Tensor) -> list[np.ndarray]:
    """What a module returns, which is in Keras' layout."""
    with torch.no_grad():
        y = module(*x)
    return [v.numpy() for v in (y if isinstance(y, tuple) else (y,))]


@pytest.mark.parametrize(
    "name", ["chrombpnet_bias", "chrombpnet_nobias", "chrombpnet", "bpnet", "sequential", "other_layers"]
)
def test_files_of_keras_2_predict_as_in_keras_2(name):
    loaded = load_model(name, settings(name))
    assert loaded.loader == "keras" and loaded.input_length == 300
    values = np.load(FILES / f"{name}.npz")
    found = heads(loaded.module, *inputs(values))
    assert len(found) == sum(key.startswith("output") for key in values)
    for i, y in enumerate(found):
        expected = values[f"output{i}"]
        assert expected.std() > 0.01
        np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", [f"{n}{k}" for n in ("activations", "open_length", "merges") for k in ("", "2")])
def test_every_output_is_that_of_keras(name):
    """Each activation by name and as a layer; open lengths, also of a model inside; vectors beside positions."""
    entry = {"weights": str(FILES_OF_3 / f"{name}.h5"), "outputs": {"first": {"head": 0, "index": "0, 0"}}}
    if "open" in name:
        entry["outputs"] = {"acceptor": {"index": "10, 1"}}
        with pytest.raises(MarginomeError, match=r"the shape of the input 'sequence' open.*Give input_length"):
            load_model(name, entry)
        entry["input_length"] = 60
    elif "merges" in name:
        entry["outputs"] = {"first": {"head": 0, "index": "0"}}
    loaded = load_model(name, entry)
    values = np.load(FILES_OF_3 / f"{name}.npz")
    found = heads(loaded.module, *inputs(values))
    assert len(found) == sum(key.startswith("output") for key in values)
    for i, y in enumerate(found):
        expected = values[f"output{i}"]
        assert expected.std() > 1e-3
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max(), err_msg=f"output {i}")


@pytest.mark.parametrize(("component", "name"), [("accessibility", "chrombpnet_nobias"), ("bias", "chrombpnet_bias")])
def test_parts_of_a_combined_chrombpnet(component, name):
    values = np.load(FILES / f"{name}.npz")
    loaded = load_model("part", settings("chrombpnet", component=component, loader="chrombpnet"))
    for i, y in enumerate(heads(loaded.module, *inputs(values))):
        np.testing.assert_allclose(y, values[f"output{i}"], rtol=0, atol=1e-5)
    alone = load_model("alone", settings(name, component=component))
    for a, b in zip(heads(loaded.module, *inputs(values)), heads(alone.module, *inputs(values))):
        np.testing.assert_array_equal(a, b)


def test_chrombpnet_joined_from_its_two_files_is_the_combined_one():
    values = np.load(FILES / "chrombpnet.npz")
    joined = load_model("joined", settings("chrombpnet_nobias", bias_weights=str(FILES / "chrombpnet_bias.h5")))
    for i, y in enumerate(heads(joined.module, *inputs(values))):
        np.testing.assert_allclose(y, values[f"output{i}"], rtol=0, atol=1e-5)


def test_outputs_and_arguments_of_the_official_files():
    chrombpnet = load_model("c", settings("chrombpnet", loader="chrombpnet"))
    assert [(o.name, o.head, o.shape, o.softmax) for o in chrombpnet.outputs] == [
        ("counts", 1, (1,), None),
        ("profile", 0, (1, 60), "both"),
    ]
    with torch.no_grad():
        read = chrombpnet.readouts()(torch.zeros(2, 4, 300))
    assert read["profile"].shape == (2, 1, 60) and read["counts"].shape == (2, 1)
    bpnet = load_model("b", settings("bpnet", loader="bpnet_keras"))
    assert [(a.name, a.shape, a.flip) for a in bpnet.args] == [
        ("profile_bias_input_0", (2, 60), (0, 1)),
        ("counts_bias_input_0", (2,), (0,)),
    ]
    assert bpnet.outputs[1].shape == (2, 60)
    assert all((a == 0).all() for a in bpnet.arguments(["x", "y"]))


def test_folds_are_averaged_and_kept():
    files = [str(FILES / "chrombpnet_nobias.h5"), str(FILES / "chrombpnet_bias.h5")]
    folds = load_model("folds", {"weights": files})
    assert folds.members == 2 and len(folds.sha256) == 2
    X = random_one_hot((3, 4, 300), random_state=0).float()
    members = [heads(folds.member(i).module, X) for i in range(2)]
    for i, mean in enumerate(heads(folds.module, X)):
        np.testing.assert_allclose(mean, (members[0][i] + members[1][i]) / 2, atol=1e-6)
        assert np.abs(members[0][i] - members[1][i]).max() > 0.01
    with pytest.raises(MarginomeError, match="no member 2"):
        folds.member(2)


def _log_sum_exp(x):
    import keras

    return keras.ops.logsumexp(x, axis=-1, keepdims=True)


def test_keras_3_writes_files_that_predict_as_in_keras_3(tmp_path):
    """A combined ChromBPNet in the legacy .h5 of Keras 3, and a Sequential one."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)

    def part(filters: int, name: str | None = None):
        inp = layers.Input((200, 4), name="sequence")
        x = layers.Conv1D(filters, 21, activation="relu")(inp)
        conv = layers.Conv1D(filters, 3, dilation_rate=2, activation="relu")(x)
        x = layers.add([conv, layers.Cropping1D(2)(x)])
        profile = layers.Cropping1D(26)(layers.Conv1D(1, 75)(x))
        profile = layers.Flatten(name="logits_profile_predictions")(profile)
        counts = layers.Dense(1, name="logcount_predictions")(layers.GlobalAveragePooling1D()(x))
        return keras.Model(inp, [profile, counts], **({"name": name} if name else {}))

    inp = layers.Input((200, 4), name="sequence")
    a, b = part(5, "model_wo_bias")(inp), part(3)(inp)
    summed = layers.Lambda(_log_sum_exp, output_shape=(1,), name="logcount_predictions")
    counts = summed(layers.Concatenate()([a[1], b[1]]))
    combined = keras.Model(inp, [layers.Add(name="logits_profile_predictions")([a[0], b[0]]), counts])
    plain = keras.Sequential(
        [
            layers.Input((200, 4)),
            layers.Conv1D(6, 7, activation="gelu"),
            layers.BatchNormalization(),
            layers.MaxPooling1D(3),
            layers.Flatten(),
            layers.Dense(4, activation="relu"),
            layers.Dense(1, name="activity"),
        ]
    )
    X = random_one_hot((4, 4, 200), random_state=0).float()
    for name, model in (("combined", combined), ("plain", plain)):
        file = str(tmp_path / f"{name}.h5")
        model.save(file)
        expected = model.predict(X.transpose(1, 2).numpy(), verbose=0)
        found = heads(load_model(name, {"weights": file}).module, X)
        for y, wanted in zip(found, expected if isinstance(expected, list) else [expected], strict=True):
            np.testing.assert_allclose(y, wanted, atol=1e-6)


def test_python_in_a_file_is_never_read(resources):
    with pytest.raises(MarginomeError, match="layer 'lambda_1200': it holds Python code, which is not run"):
        load_model("deepbind", {"weights": str(resources / "models/deepbind/D00328.003_SELEX_CTCF.h5")})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_length": 2114}, "input_length is 2114, but the model reads 300 bp"),
        ({"component": "bias"}, "by its layer names the file holds the accessibility model alone"),
        ({"component": "combined"}, "the file holds a single model"),
        ({"loader": "beluga"}, "cannot be read"),
        ({"loader": "bpnet_lite"}, "cannot be read"),
        ({"bias_weights": str(FILES / "sequential.h5")}, "bias_weights join two single ChromBPNet models"),
        ({"outputs": {"counts": {"head": 2}}}, "there is no head 2: the model returns 2 heads"),
    ],
)
def test_settings_that_do_not_fit(change, message):
    with pytest.raises(MarginomeError, match=message):
        load_model("c", settings("chrombpnet_nobias") | change)


def edited(tmp_path, name: str, change) -> str:
    file = tmp_path / f"{name}.h5"
    shutil.copy(FILES / f"{name}.h5", file)
    with h5py.File(file, "r+") as handle:
        config = json.loads(handle.attrs["model_config"])
        change(handle, config)
        handle.attrs["model_config"] = json.dumps(config)
    return str(file)


def no_architecture(handle, config):
    handle["model_weights/main_conv_0/main_conv_0/kernel:0"][0, 0, 0] = np.nan


def another_shape(handle, config):
    group = handle["model_weights/main_conv_0/main_conv_0"]
    del group["kernel:0"]
    group["kernel:0"] = np.zeros((21, 3, 5), np.float32)


def missing_weights(handle, config):
    del handle["model_weights/main_conv_0"]


def unknown_layer(handle, config):
    next(x for x in config["config"]["layers"] if x["class_name"] == "ReLU")["class_name"] = "Attention"


def unknown_activation(handle, config):
    next(x for x in config["config"]["layers"] if x["class_name"] == "Conv1D")["config"]["activation"] = "mish2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_architecture, "1 of 420 values of the weight .* are NaN"),
        (another_shape, "layer 'main_conv_0': its kernel .* does not fit 4 channels"),
        (missing_weights, "no weights for layer 'main_conv_0'"),
        (unknown_layer, "layers of the kind Attention are not supported"),
        (unknown_activation, "the activation 'mish2' is not known"),
    ],
)
def test_damaged_or_unknown_content(tmp_path, change, message):
    with pytest.raises(MarginomeError, match=message):
        load_model("bpnet", {"weights": edited(tmp_path, "bpnet", change)})


def test_truncated_and_weightless_files(tmp_path, resources):
    cut = tmp_path / "cut.h5"
    cut.write_bytes((FILES / "bpnet.h5").read_bytes()[:20000])
    with pytest.raises(MarginomeError, match="damaged, cut short"):
        load_model("cut", {"weights": str(cut)})
    with pytest.raises(MarginomeError, match="weights without an architecture"):
        load_model("mpra", {"weights": str(resources / "models/mpra_dragonn_conv.hdf5")})
    with pytest.raises(MarginomeError, match="0 names for 12 targets"):
        load_model("mpra", {"weights": str(resources / "models/mpra_dragonn_conv.hdf5"),
                            "architecture": str(resources / "models/mpra_dragonn_conv.model.json")})  # fmt: skip
