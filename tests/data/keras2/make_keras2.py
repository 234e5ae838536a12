"""Write the Keras 2 files of this folder and what Keras 2 predicts with them. Not run by the tests.

Needs TensorFlow 2.12 in an environment of its own, which the project does not have:

    python -m venv tf && tf/bin/pip install "tensorflow-cpu==2.12.1" "numpy<1.24"
    tf/bin/python tests/data/keras2/make_keras2.py

Small models with random weights, in the architectures and with the layer names of the official
ChromBPNet and of basepairmodels' BPNet: a bias model saved on its own, that model and an accessibility
model combined by a Lambda layer, the accessibility part saved from the combined model, a BPNet with
control inputs; then models with the other layers that are read. Each NAME.npz holds the bases (0 to 3),
further inputs and the predictions, in Keras' layout.
"""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
from tensorflow.keras import Model, Sequential, layers

FOLDER = os.path.dirname(os.path.abspath(__file__))
LENGTH, OUT, N = 300, 60, 4
rng = np.random.default_rng(1)
BASES = rng.integers(0, 4, size=(N, LENGTH), dtype=np.uint8)
X = np.eye(4, dtype=np.float32)[BASES]


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
            new.append(value.astype(np.float32))
        layer.set_weights(new)


def chrombpnet_part(filters, n_layers, body, head, **kwargs):
    inp = layers.Input(shape=(LENGTH, 4), name="sequence")
    x = layers.Conv1D(filters, 21, padding="valid", activation="relu", name=f"{body}1st_conv")(inp)
    for i in range(1, n_layers + 1):
        conv = layers.Conv1D(filters, 3, padding="valid", activation="relu", dilation_rate=2**i, name=f"{body}{i}conv")(
            x
        )
        x = layers.Cropping1D((x.shape[1] - conv.shape[1]) // 2, name=f"{body}{i}crop")(x)
        x = layers.add([conv, x])
    profile = layers.Conv1D(1, 75, padding="valid", name=f"{head}prof_out_precrop")(x)
    profile = layers.Cropping1D(profile.shape[1] // 2 - OUT // 2, name=f"{head}preflatten")(profile)
    profile = layers.Flatten(name=f"{head}logits_profile_predictions")(profile)
    counts = layers.Dense(1, name=f"{head}logcount_predictions")(layers.GlobalAvgPool1D(name="gap")(x))
    return Model(inputs=[inp], outputs=[profile, counts], **kwargs)


def bpnet(filters, n_layers, strands=2):
    inp = layers.Input(shape=(LENGTH, 4), name="sequence")
    profile_bias = layers.Input(shape=(OUT, 2), name="profile_bias_input_0")
    counts_bias = layers.Input(shape=(2,), name="counts_bias_input_0")
    x = layers.Conv1D(filters, 21, padding="valid", name="main_conv_0")(inp)
    for i in range(1, n_layers + 1):
        active = layers.ReLU(name=f"relu_{i}")(x)
        conv = layers.Conv1D(filters, 3, padding="valid", dilation_rate=2**i, name=f"main_dil_conv_{i}")(active)
        x = layers.add([conv, layers.Cropping1D(2**i)(x)], name=f"main_add_{i}")
    x = layers.ReLU(name="relu_last")(x)
    profile = layers.Conv1D(strands, 75, padding="valid", name="main_profile_head")(x)
    crop = profile.shape[1] // 2 - OUT // 2
    profile = layers.Cropping1D(crop, name="main_profile_head_cropped")(profile)
    profile = layers.concatenate([profile, profile_bias], axis=-1, name="main_concat_with_prof_bias_0")
    profile = layers.Conv1D(strands, 1, name="profile_predictions")(profile)
    counts = layers.Dense(1, name="main_counts_head")(layers.GlobalAveragePooling1D(name="main_global_avg_pooling")(x))
    summed = layers.Lambda(
        lambda v: tf.math.reduce_logsumexp(v, axis=-1, keepdims=True), name="main_logsumexp_counts_bias_0"
    )(counts_bias)
    counts = layers.concatenate([counts, summed], axis=-1, name="main_concat_with_counts_bias_0")
    counts = layers.Dense(1, name="logcounts_predictions")(counts)
    return Model(inputs=[inp, profile_bias, counts_bias], outputs=[profile, counts])


def other_layers():
    inp = layers.Input(shape=(LENGTH, 4), name="sequence")
    a = layers.ZeroPadding1D((2, 3))(inp)
    a = layers.Conv1D(6, 8, strides=3, padding="same", activation="softplus")(a)
    a = layers.BatchNormalization(scale=False)(a)
    a = layers.MaxPooling1D(4, strides=2, padding="same")(a)
    b = layers.Conv1D(6, 5, padding="causal", dilation_rate=2)(inp)
    b = layers.LeakyReLU(alpha=0.1)(b)
    b = layers.AveragePooling1D(6)(b)
    joined = layers.Concatenate(axis=-1)([a, layers.Activation("tanh")(b)]) if a.shape[1] == b.shape[1] else None
    long = layers.Concatenate(axis=1)([a, b])
    dense = layers.TimeDistributed(layers.Dense(5, activation="elu"))(long)
    flat = layers.Flatten()(dense)
    flat = layers.BatchNormalization()(layers.Dropout(0.5)(flat))
    hidden = layers.Dense(7, activation="relu")(flat)
    pooled = layers.Concatenate()([layers.GlobalMaxPooling1D()(a), layers.Flatten()(b), hidden])
    one = layers.Dense(3, activation="softmax", name="classes")(pooled)
    two = layers.Multiply(name="product")([layers.Dense(3, use_bias=False)(hidden), one])
    assert joined is None
    return Model(inputs=inp, outputs=[one, two])


def sequential():
    return Sequential(
        [
            layers.Conv1D(8, 9, activation="relu", input_shape=(LENGTH, 4)),
            layers.MaxPooling1D(4),
            layers.Dropout(0.1),
            layers.Conv1D(6, 5, padding="same"),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(10, activation="relu"),
            layers.Dense(2, activation="sigmoid", name="tasks"),
        ]
    )


def save(name, model, extra=()):
    model.save(os.path.join(FOLDER, f"{name}.h5"), include_optimizer=False)
    predicted = model.predict([X, *extra] if extra else X, verbose=0)
    predicted = predicted if isinstance(predicted, list) else [predicted]
    np.savez_compressed(
        os.path.join(FOLDER, f"{name}.npz"), bases=BASES,
        **{f"extra{i}": value for i, value in enumerate(extra)}, **{f"output{i}": y for i, y in enumerate(predicted)},
    )  # fmt: skip


bias = chrombpnet_part(4, 2, "bpnet_", "")
randomize(bias)
save("chrombpnet_bias", bias)
frozen = tf.keras.models.load_model(os.path.join(FOLDER, "chrombpnet_bias.h5"), compile=False)
accessibility = chrombpnet_part(6, 3, "wo_bias_bpnet_", "wo_bias_bpnet_", name="model_wo_bias")
randomize(accessibility)
inp = layers.Input(shape=(LENGTH, 4), name="sequence")
b, a = frozen(inp), accessibility(inp)
profile = layers.Add(name="logits_profile_predictions")([a[0], b[0]])
counts = layers.Lambda(lambda x: tf.math.reduce_logsumexp(x, axis=-1, keepdims=True), name="logcount_predictions")(
    layers.Concatenate(axis=-1)([a[1], b[1]])
)
combined = Model(inputs=[inp], outputs=[profile, counts])
save("chrombpnet", combined)
part = combined.get_layer("model_wo_bias")
save("chrombpnet_nobias", Model(inputs=part.inputs, outputs=[part.output[0], part.output[1]]))
full = bpnet(5, 3)
randomize(full)
extra = (rng.poisson(0.3, size=(N, OUT, 2)).astype(np.float32),)
save("bpnet", full, (*extra, np.log1p(extra[0].sum(axis=1))))
for name, model in (("other_layers", other_layers()), ("sequential", sequential())):
    randomize(model)
    save(name, model)
