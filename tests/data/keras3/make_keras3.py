"""Write the files of this folder, and what Keras itself predicts with them. Not run by the tests.

Needs TensorFlow in an environment of its own, with both lines of Keras, 3 and 2 (tf_keras):

    python -m venv tf && tf/bin/pip install tensorflow-cpu==2.21.0 keras==3.15.1 tf_keras==2.21.0
    tf/bin/python tests/data/keras3/make_keras3.py keras
    tf/bin/python tests/data/keras3/make_keras3.py tf_keras

Random weights. `activations`: every activation by name (in an Activation layer, in a convolution, in a dense
layer), and every activation layer with parameters other than the defaults. `open_length`: a splicing model
like the published ones, which leaves the length open, with a model inside. `merges`: vectors that are joined
with flattened positions, pooling that keeps its axis. Names end in 2 for tf_keras. Each .npz holds the
bases (0 to 3) and the predictions, in Keras' layout.
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
import importlib

import h5py
import numpy as np

keras = importlib.import_module(sys.argv[1])
layers, Model = keras.layers, keras.Model
THREE = sys.argv[1] == "keras"
FOLDER = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(3)

NAMES = ["linear", "relu", "relu6", "leaky_relu", "elu", "selu", "sigmoid", "tanh", "softplus", "softsign",
         "exponential", "silu", "swish", "gelu", "mish", "hard_sigmoid", "softmax", "log_softmax"]  # fmt: skip
NAMES_OF_3 = [
    "celu",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "log_sigmoid",
    "hard_shrink",
    "soft_shrink",
    "tanh_shrink",
]
SLOPE = "negative_slope" if THREE else "alpha"


def randomize(model):
    """Random weights of a size that keeps values near 1, and biases that are not zero."""
    for layer in model.layers:
        if isinstance(layer, Model):
            randomize(layer)
            continue
        new = []
        for w in layer.weights:
            fan = max(1, int(np.prod(w.shape[:-1])))
            value = rng.normal(size=w.shape) * (np.sqrt(2 / fan) if len(w.shape) > 1 else 0.2)
            if "variance" in w.name:
                value = rng.uniform(0.5, 2, size=w.shape)
            elif "gamma" in w.name:
                value = rng.uniform(0.5, 1.5, size=w.shape)
            elif "alpha" in w.name:  # of PReLU
                value = rng.uniform(-0.5, 1, size=w.shape)
            new.append(value.astype(np.float32))
        if layer.name == "wide":  # values from -9 to 9: beyond every bend
            new = [np.float32(rng.uniform(-9, 9, size=w.shape)) for w in layer.weights]
        layer.set_weights(new)


def activations():
    inp = layers.Input((10, 4), name="sequence")
    x = layers.Conv1D(5, 2, name="wide", use_bias=False)(inp)
    names = NAMES + (NAMES_OF_3 if THREE else [])
    outputs = [layers.Activation(name, name=f"name_{name}")(x) for name in names]
    outputs += [
        layers.LeakyReLU(name="leaky")(x),
        layers.LeakyReLU(**{SLOPE: 0.07}, name="leaky_007")(x),
        layers.ELU(name="elu_1")(x),
        layers.ELU(alpha=0.4, name="elu_04")(x),
        layers.ReLU(name="relu")(x),
        layers.ReLU(max_value=2.5, name="relu_max")(x),
        layers.ReLU(max_value=6.0, name="relu_six")(x),
        layers.ReLU(negative_slope=0.15, name="relu_slope")(x),
        layers.ReLU(threshold=1.5, name="relu_threshold")(x),
        layers.ReLU(max_value=3.0, negative_slope=0.2, name="relu_max_slope")(x),
        layers.ReLU(max_value=3.0, threshold=0.5, name="relu_max_threshold")(x),
        layers.Softmax(name="softmax")(x),
        layers.Softmax(axis=1, name="softmax_positions")(x),
        layers.PReLU(name="prelu")(x),
        layers.PReLU(shared_axes=[1], name="prelu_channels")(x),
        layers.PReLU(shared_axes=[1, 2], name="prelu_one")(x),
        layers.PReLU(shared_axes=[2], name="prelu_positions")(x),
        layers.PReLU(name="prelu_flat")(layers.Flatten()(x)),
        layers.Softmax(name="softmax_flat")(layers.Flatten()(x)),
        layers.Conv1D(3, 2, activation=layers.LeakyReLU(**{SLOPE: 0.11}), name="conv_leaky")(x),
        layers.Dense(3, activation=layers.ReLU(max_value=1.5), name="dense_relu")(x),
    ]
    if not THREE:
        outputs.append(layers.ThresholdedReLU(theta=1.25, name="thresholded")(x))
    small = layers.Conv1D(5, 2, name="small")(inp)
    for name in ("leaky_relu", "hard_sigmoid", "gelu", "softmax"):
        outputs.append(layers.Conv1D(3, 2, activation=name, name=f"conv_{name}")(small))
        outputs.append(layers.Dense(3, activation=name, name=f"dense_{name}")(layers.GlobalMaxPooling1D()(small)))
    return Model(inp, outputs)


def open_length():
    """Residual dilated convolutions, cropped, with a softmax over three channels at every position."""
    inp = layers.Input((None, 4), name="sequence")

    def block(x, width, dilation, name):
        y = x
        for i in (1, 2):
            y = layers.BatchNormalization(name=f"{name}_bn{i}")(y)
            y = layers.Activation("relu", name=f"{name}_relu{i}")(y)
            y = layers.Conv1D(6, width, dilation_rate=dilation, padding="same", name=f"{name}_conv{i}")(y)
        return layers.add([x, y], name=f"{name}_add")

    x = layers.Conv1D(6, 1, name="first")(inp)
    skip = layers.Conv1D(6, 1, name="skip")(x)
    x = block(x, 5, 1, "a")
    inner = layers.Input((None, 6), name="inner_input")
    x = Model(inner, block(inner, 5, 4, "b"), name="inner")(x)
    skip = layers.add([skip, layers.Conv1D(6, 1, name="skip_last")(x)], name="skip_add")
    skip = layers.Cropping1D(20, name="crop")(skip)
    return Model(inp, layers.Conv1D(3, 1, activation="softmax", name="splicing")(skip))


def merges():
    inp = layers.Input((12, 4), name="sequence")
    x = layers.Conv1D(3, 3, padding="same", activation="relu", name="conv")(inp)
    flat = layers.Flatten(name="flat")(x)
    dense = layers.Dense(36, activation="tanh", name="dense")(layers.GlobalAveragePooling1D(name="mean")(x))
    kept = layers.GlobalAveragePooling1D(keepdims=True, name="kept")(x)
    highest = layers.GlobalMaxPooling1D(keepdims=True, name="highest")(x)
    return Model(
        inp,
        [
            layers.Add(name="dense_flat")([dense, flat]),
            layers.Add(name="flat_dense")([flat, dense]),
            layers.Multiply(name="flat_times_dense")([flat, dense]),
            kept,
            layers.Multiply(name="gated")([x, layers.Dense(3, activation="sigmoid", name="gate")(kept)]),
            layers.Concatenate(axis=1, name="longer")([x, highest]),
            layers.Flatten(name="twice")(layers.Flatten(name="once")(x)),
        ],
    )


def save(name, model, length):
    randomize(model)
    bases = rng.integers(0, 4, size=(3, length), dtype=np.uint8)
    predicted = model.predict(np.eye(4, dtype=np.float32)[bases], verbose=0)
    predicted = predicted if isinstance(predicted, list) else [predicted]
    name = os.path.join(FOLDER, name if THREE else f"{name}2")
    with h5py.File(f"{name}.h5", "w", libver="latest") as handle:  # a tenth of the size: a group is 100 bytes
        if THREE:
            from keras.src.legacy.saving.legacy_h5_format import save_model_to_hdf5

            save_model_to_hdf5(model, handle, include_optimizer=False)
        else:
            keras.models.save_model(model, handle, include_optimizer=False)
    np.savez_compressed(f"{name}.npz", bases=bases, **{f"output{i}": y for i, y in enumerate(predicted)})


save("activations", activations(), 10)
save("open_length", open_length(), 60)
save("merges", merges(), 12)
