"""Keras .h5 files rebuilt in PyTorch: files of Keras 2 and 3 against what Keras 2 and 3 themselves predict."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import damaged_keras
from marginome import MarginomeError, marginalize_many, random_one_hot
from marginome.hdf5 import Request, read_foreign_hdf5
from marginome.models import load_model
from marginome.models.keras.activations import activation
from marginome.models.keras.file import graph_of
from marginome.models.keras.graph import _calls
from marginome.models.keras.settings import Settings

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
        ({"loader": "beluga"}, "a model of Keras, and a state dict.*Leave loader out"),
        ({"loader": "bpnet_lite"}, "a model of Keras, and a state dict.*Leave loader out"),
        ({"bias_weights": str(FILES / "sequential.h5")}, "bias_weights join two single ChromBPNet models"),
        ({"outputs": {"counts": {"head": 2}}}, "there is no head '2'; the model returns 2 heads"),
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


# ------------------------------------------------------------ what a file says and we do not do, by name
@cache
def contents(name: str):
    return read_foreign_hdf5(Request(str(FILES.parent / f"{name}.h5")))


def refused(name: str, message: str, change=None, attributes=(), arrays=()) -> None:
    """A file whose architecture, root attributes or weights were changed is refused in one line that names it."""
    held = contents(name)
    config = json.loads(held.attributes[""]["model_config"])
    if change:
        change({_name(layer): layer for layer in config["config"]["layers"]}, config)
    root = {**held.attributes[""], **dict(attributes)}
    held = replace(held, attributes={**held.attributes, "": root}, arrays={**held.arrays, **dict(arrays)})
    with pytest.raises(MarginomeError, match=message) as caught:
        graph_of(json.dumps(config), held, {"input_length": 60}, f"model 'm': {name}.h5")
    assert f"{name}.h5" in str(caught.value) and "\n" not in str(caught.value)


def _name(layer) -> str:
    return layer["config"]["name"]


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("Conv1D", {"data_format": "channels_first"}, "data_format: 'channels_first' is not supported"),
        ("MaxPooling1D", {"data_format": "channels_first"}, "data_format: 'channels_first' is not supported"),
        ("AveragePooling1D", {"data_format": "channels_first"}, "data_format: 'channels_first' is not supported"),
        ("GlobalMaxPooling1D", {"data_format": "channels_first"}, "data_format: 'channels_first' is not supported"),
        ("Flatten", {"data_format": "channels_first"}, "data_format: 'channels_first' is not supported"),
        ("Conv1D", {"padding_mode": "reflect"}, "padding_mode: 'reflect' is not supported"),
        ("Conv1D", {"lora_rank": 4}, "lora_rank: 4 is not supported"),
        ("Dense", {"quantization_mode": "int8"}, "quantization_mode: 'int8' is not supported"),
        (
            "Dense",
            {"dtype": {"class_name": "QuantizedDTypePolicy", "config": {"name": "int8_from_float32"}}},
            "dtype: ",
        ),
        ("Conv1D", {"dtype": "complex64"}, "dtype: 'complex64' is not supported"),
        ("BatchNormalization", {"renorm": True}, "renorm: True is not supported"),
        ("BatchNormalization", {"axis": 1}, "batch normalisation over axis 1"),
        ("BatchNormalization", {"epsilon": float("nan")}, "its epsilon is nan; wanted a number"),
        ("Conv1D", {"strides": [0]}, "its strides is 0; wanted a whole number from 1 on"),
        ("Conv1D", {"use_bias": "no"}, "its use_bias is 'no'"),
        ("Conv1D", {"activation": "squareplus"}, "the activation 'squareplus' is not known"),
        ("Conv1D", {"activation": "hard_silu"}, "the activation 'hard_silu' is not known"),  # Keras 2 has none
        ("Conv1D", {"activation": {"class_name": "function", "config": "mine"}}, "the activation mine is not known"),
        ("Conv1D", {"activation": {"class_name": "PReLU", "config": {}}}, "the activation PReLU is not known"),
        ("Conv1D", {"activation": {"class_name": "ReLU", "config": {"extra": 1}}}, "extra: 1 is not supported"),
        ("LeakyReLU", {"alpha": None, "slope": 0.1}, "slope: 0.1 is not supported"),
        ("InputLayer", {"sparse": True}, "sparse: True is not supported"),
        ("InputLayer", {"batch_input_shape": [None, 2, 300, 4]}, "an input of shape"),
        ("ZeroPadding1D", {"padding": [10**9, 1]}, "more than any model has"),
        ("Concatenate", {"axis": 0}, "concatenation along axis 0"),
    ],
)
def test_a_setting_that_is_not_honoured_is_refused_by_name(kind, settings, message):
    def change(layers, config):
        layer = next(layer for layer in layers.values() if layer["class_name"] == kind)
        layer["config"].update(settings)

    refused("keras2/other_layers", message, change)


@pytest.mark.parametrize(
    ("layer", "settings", "message"),
    [
        ("relu_max", {"threshold": -1.0}, "a ReLU with threshold -1.0"),
        ("relu_threshold", {"negative_slope": 0.1}, "a ReLU with threshold 1.5, negative_slope 0.1"),
        ("softmax", {"axis": [1, 2]}, r"softmax over axis \[1, 2\]"),
        ("softmax", {"axis": 0}, "softmax over axis 0"),
        ("prelu", {"shared_axes": [1]}, r"its slopes are \(9, 5\); wanted \(1, 5\)"),
        ("name_relu", {"activation": "sparsemax"}, "the activation 'sparsemax' is not known"),
        ("name_relu", {"activation": ["relu"]}, "the activation .* is not known"),
        ("leaky_007", {"negative_slope": "0.1"}, "its negative_slope is '0.1'; wanted a number"),
    ],
)
def test_a_parameter_of_an_activation_is_honoured_or_refused(layer, settings, message):
    refused("keras3/activations", message, lambda layers, _: layers[layer]["config"].update(settings))


def test_every_activation_of_keras_3_is_compared_or_refused():
    os.environ["KERAS_BACKEND"] = "torch"
    from keras.src.activations import ALL_OBJECTS

    layers = json.loads(contents("keras3/activations").attributes[""]["model_config"])["config"]["layers"]
    compared = {layer["config"]["activation"] for layer in layers if layer["class_name"] == "Activation"}
    unknown = {"glu", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "threshold"}
    assert {activation.__name__ for activation in ALL_OBJECTS} <= compared | unknown
    for name in unknown:
        with pytest.raises(MarginomeError, match="is not known"):
            activation(name, True, Settings({}, "layer", "where", 3))
    with pytest.raises(MarginomeError, match="hard_sigmoid differs between Keras 2 and 3"):
        activation("hard_sigmoid", True, Settings({}, "layer", "where", None))


CONV = "model_weights/skip/skip/kernel:0"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({CONV: np.ones((1, 6, 6), np.int8)}, r"layer 'skip' has weights of the type int8 \(kernel\)"),
        ({CONV: np.ones((1, 6, 6), np.complex64)}, "layer 'skip' has weights of the type complex64"),
        ({CONV: np.ones((1, 6, 6), bool)}, "layer 'skip' has weights of the type bool"),
        ({CONV: np.ones((6, 6), np.float32)}, r"its kernel \(6, 6\) does not fit 6 channels"),
        ({CONV.replace("kernel", "bias"): np.ones(1, np.float32)}, r"its bias \(1,\) does not fit"),
    ],
)
def test_weights_of_another_kind_or_shape(arrays, message):
    refused("keras3/open_length2", message, arrays=arrays)


def test_weights_that_nobody_uses_or_that_are_there_twice():
    def drop_the_bias(layers, config):
        layers["conv"]["config"]["use_bias"] = False

    refused("keras3/merges2", "layer 'conv' has more weights than it can use: bias", drop_the_bias)
    held = contents("keras3/merges2")
    names = held.attributes["model_weights/conv"]["weight_names"]
    other = {"model_weights/of_another": {"weight_names": ["a/kernel:0"]}}
    twice = {"model_weights/conv": {"weight_names": [*names, "conv_1/conv/kernel:0"]}}
    for more, message in ((other, "no layer of the architecture uses the weights model_weights/of_another/a/kernel:0"),
                          (twice, "layer 'conv' has several arrays 'kernel'")):  # fmt: skip
        changed = replace(held, attributes=held.attributes | more)
        with pytest.raises(MarginomeError, match=message):
            graph_of(held.attributes[""]["model_config"], changed, {}, "m")
    spread = {"model_weights/conv": {f"weight_names{i}": [name] for i, name in enumerate(names)}}  # as Keras does
    graph_of(held.attributes[""]["model_config"], replace(held, attributes=held.attributes | spread), {}, "m")


def test_calls_with_more_than_tensors():
    def dropout_at_prediction(layers, config):
        layers["crop"]["inbound_nodes"][0][0][3] = {"training": True}

    refused("keras3/open_length2", r"layer 'crop' is called with more than tensors \(training\)", dropout_at_prediction)

    def dropout_in_keras_3(layers, config):
        layers["crop"]["inbound_nodes"][0]["kwargs"] = {"training": True, "mask": None}

    refused("keras3/open_length", r"layer 'crop' is called with more than tensors \(training\)", dropout_in_keras_3)


def old_setting(layers, config):
    layers["first"]["config"]["nb_filter"] = 6


@pytest.mark.parametrize(
    ("version", "change", "message"),
    [
        ("1.2.2", None, "written by Keras 1.2.2; files of Keras 2 and 3 are read. Load it in the Keras that wrote it"),
        ("0.3.1", None, "written by Keras 0.3.1"),
        (None, old_setting, "written by Keras 0 or 1"),
        ("4.0.0", None, "written by Keras 4.0.0"),
    ],
)
def test_files_of_other_versions_of_keras_say_which(version, change, message):
    refused("keras3/open_length2", message, change, attributes={"keras_version": version})


def test_weights_of_keras_0_have_no_architecture(tmp_path):
    with h5py.File(tmp_path / "old.h5", "w") as handle:
        handle.attrs["nb_layers"] = 1
        handle["layer_0/param_0"] = np.ones((3, 3))
    with pytest.raises(MarginomeError, match=r"old\.h5: the file was written by Keras 0 or 1"):
        load_model("old", {"weights": str(tmp_path / "old.h5")})


def cyclic(layers, config):
    layers["first"]["inbound_nodes"] = layers["crop"]["inbound_nodes"]


def same_names(layers, config):
    config["config"]["layers"].append(layers["crop"])


def as_a_dictionary(layers, config):
    config["config"]["output_layers"] = {"splicing": ["splicing", 0, 0]}


def inner_of_another_length(layers, config):
    layers["inner"]["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 61, 6]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cyclic, "has inputs that do not exist"),
        (same_names, "two layers of the architecture have one name"),
        (as_a_dictionary, "its inputs or outputs are a dict; a list is read"),
        (inner_of_another_length, r"layer 'inner_input': an input of shape \(61, 6\) is given \(60, 6\)"),
        (
            lambda layers, _: layers["first"].pop("class_name"),
            "damaged, or of an unknown form .KeyError: 'class_name'.",
        ),
        (lambda layers, _: layers["first"].update(config=3), "layer 'first': its settings are 3"),
        (lambda layers, _: layers["first"]["config"].pop("filters"), "layer 'first': its setting filters is missing"),
        (lambda layers, _: layers["splicing"]["config"].update({"a\nb" * 999: 1}), "layer 'splicing': a ba ba .*"),
    ],
)
def test_odd_architectures(change, message):
    refused("keras3/open_length2", message, change)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '{"class_name": "Model"}', "[" * 100_000, None, 3, ["{}"]]
)
def test_architectures_that_are_none(text):
    with pytest.raises(MarginomeError, match=r"m\.h5: the architecture is"):
        graph_of(text, contents("keras3/merges"), {}, "m.h5")


def test_an_attention_of_keras_2_names_its_value_and_key():
    """As tf_keras writes it; what it predicts is compared by tests/checks/keras_layers.py."""
    more = {"value": ["v", 0, 0], "key": ["k", 1, 0], "attention_mask": None}
    layer = {"class_name": "MultiHeadAttention", "config": {"name": "a"}, "inbound_nodes": [[["q", 0, 0, more]]]}
    assert _calls(layer, "m.h5") == [[("q", 0, 0), ("v", 0, 0), ("k", 1, 0)]]
    more["attention_mask"] = ["mask", 0, 0]
    with pytest.raises(MarginomeError, match=r"called with more than tensors \(attention_mask\)"):
        _calls(layer, "m.h5")


def test_damaged_files_are_read_or_refused_in_one_line(tmp_path):
    """A slice of tests/checks/damaged_keras.py, which says how to run more."""
    checker = damaged_keras.Checker(tmp_path)
    found = [*map(checker.architecture, range(100)), *checker.bytes(range(100))]
    assert [fault for _, fault in found if fault] == []
    for words in (Counter(word for word, _ in found[:100]), Counter(word for word, _ in found[100:])):
        assert words["read"] and words["refused"]


# ------------------------------------------------------------------------------------- the order of axes
def test_outputs_are_in_the_order_of_keras():
    """Profiles of (positions, strands): an index is Keras' own, readouts are (strands, positions)."""
    values = np.load(FILES / "bpnet.npz")
    x, profile = inputs(values), values["output0"]
    one = load_model("b", settings("bpnet", outputs={
        "profile": None, "bin": {"head": 0, "index": "2, 1"}, "mine": {"head": 0, "kind": "profile"},
        "strand": {"head": 0, "kind": "profile", "index": ":, 1"}}))  # fmt: skip
    assert {o.name: o.shape for o in one.outputs} == {
        "profile": (2, 60),
        "bin": (1,),
        "mine": (2, 60),
        "strand": (1, 60),
    }
    beside = (one.input_length - 60) // 2  # the file's own profile is one of bases; of another output nothing says it
    assert beside > 0 and {o.name: (o.first, o.bin) for o in one.outputs if o.kind == "profile"} == {
        "profile": (beside, 1), "mine": (None, None), "strand": (None, None)}  # fmt: skip
    with torch.no_grad():
        found = one.readouts()(*x)
        assert one.module(*x)[0].shape == (len(profile), 60, 2)
    for name, expected in (("profile", profile.transpose(0, 2, 1)), ("mine", profile.transpose(0, 2, 1)),
                           ("bin", profile[:, 2, 1:]), ("strand", profile[:, None, :, 1])):  # fmt: skip
        np.testing.assert_allclose(found[name], expected, atol=1e-5)
    with pytest.raises(MarginomeError, match="index 2 is out of bounds for dimension 2 with size 2"):
        load_model("b", settings("bpnet", outputs={"bin": {"head": 0, "index": "2, 2"}}))
    with pytest.raises(MarginomeError, match=r"a profile has the shape \(length, strands\) or \(length,\)"):
        load_model("b", settings("bpnet", outputs={"p": {"head": 0, "kind": "profile", "index": "0:1"}}))


def test_strands_of_keras_profiles_are_averaged():
    values = np.load(FILES / "bpnet.npz")
    x = inputs(values)
    both = load_model("b", settings("bpnet", average_strands=True))
    one = load_model("b", settings("bpnet"))
    turned = (x[0].flip((1, 2)), x[1].flip((1, 2)), x[2].flip(1))
    with torch.no_grad():
        a, b, mean = one.readouts()(*x), one.readouts()(*turned), both.readouts()(*x)
    torch.testing.assert_close(mean["profile"], (a["profile"] + b["profile"].flip((1, 2))) / 2)
    torch.testing.assert_close(mean["counts"], (a["counts"] + b["counts"]) / 2)
    assert (a["profile"] - b["profile"].flip((1, 2))).abs().max() > 0.1
    splicing = {"weights": str(FILES_OF_3 / "open_length.h5"), "input_length": 60, "average_strands": True}
    with pytest.raises(MarginomeError, match="a profile of 3 tracks; it is known for one or two strands"):
        load_model("s", splicing | {"outputs": {"p": {"kind": "profile"}}})


def test_log_counts_of_either_strand_change_places(tmp_path):
    """A BPNet of basepairmodels with two counts: the plus strand's count is the minus strand's on the other strand."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    inp = layers.Input((60, 4))
    x = layers.Conv1D(5, 5, activation="relu")(inp)
    profile = layers.Conv1D(2, 9, name="profile_predictions")(x)
    counts = layers.Dense(2, name="logcounts_predictions")(layers.GlobalMaxPooling1D()(x))
    keras.Model(inp, [profile, counts]).save(tmp_path / "bpnet.h5")
    one, both = (load_model("b", {"weights": str(tmp_path / "bpnet.h5"), "average_strands": averaged})
                 for averaged in (False, True))  # fmt: skip
    X = random_one_hot((3, 4, 60), random_state=0).float()
    with torch.no_grad():
        a, b, mean = one.readouts()(X), one.readouts()(X.flip((1, 2))), both.readouts()(X)
    torch.testing.assert_close(mean["counts"], (a["counts"] + b["counts"].flip(1)) / 2)
    torch.testing.assert_close(mean["profile"], (a["profile"] + b["profile"].flip((1, 2))) / 2)


def test_the_engine_takes_outputs_in_the_order_of_keras(caplog):
    loaded = load_model("b", settings("bpnet"))
    X = random_one_hot((4, 4, 300), random_state=0).float()
    motifs, args = ["TGACTCA", "ACGTGACGT"] * 32, loaded.arguments(list("abcd"))
    with caplog.at_level("INFO"):
        quick = marginalize_many(loaded.readouts(), X, motifs, args=args, engine="incremental", verbose=False)
    assert "only what an edit changes is computed" in caplog.text
    full = marginalize_many(loaded.readouts(), X, motifs, args=args, engine="full", verbose=False)
    for name in ("profile", "counts"):
        torch.testing.assert_close(quick.y_after[name], full.y_after[name], rtol=1e-5, atol=1e-5)


def test_open_lengths_of_further_inputs_come_from_their_shapes():
    held = contents("keras2/bpnet")
    config = json.loads(held.attributes[""]["model_config"])
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "InputLayer" and len(layer["config"]["batch_input_shape"]) == 3:
            layer["config"]["batch_input_shape"][1] = None
    entry = {"input_length": 300, "arguments": [{"name": "profile_bias_input_0", "shape": [2, 60]}]}
    graph = graph_of(json.dumps(config), held, entry, "m")
    assert graph.input_shapes == [(300, 4), (60, 2), (2,)]
    values = np.load(FILES / "bpnet.npz")
    with torch.no_grad():
        found = graph.eval()(*inputs(values))
    np.testing.assert_allclose(found[0].transpose(1, 2), values["output0"], atol=1e-5)
    with pytest.raises(MarginomeError, match=r"a Concatenate of inputs of shapes \(60, 2\), \(300, 2\)"):
        graph_of(json.dumps(config), held, {"input_length": 300}, "m")


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
