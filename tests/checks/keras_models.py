"""Write small models of Keras 3 (`keras`) or Keras 2 (`tf_keras`), one layer in each, and what Keras predicts.

    python tests/checks/keras_models.py keras 0 FOLDER [KIND ...] [--without PART ...]

Run by keras_layers.py, in the Python that has this Keras; it needs nothing of marginome. Every layer that Keras has and
every activation comes once with its defaults and once with random settings; what cannot be made of one-dimensional
inputs is left out, and listed. All is in float64, so that what differs differs by more than rounding.
What a model has beside its layer with its defaults is listed as its parts; --without leaves parts out.
"""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import os
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ.setdefault("KERAS_BACKEND", "torch" if sys.argv[1:2] == ["keras"] else "tensorflow")
import numpy as np

LENGTH, CHANNELS, N = 12, 6, 3
# What a layer has to be given to be made at all.
REQUIRED: dict[str, tuple] = {
    "Activation": ("relu",), "AdaptiveAveragePooling1D": (3,), "AdaptiveMaxPooling1D": (3,), "AveragePooling1D": (2,),
    "AvgPool1D": (2,),
    "Conv1D": (4, 3), "Conv1DTranspose": (4, 3), "Convolution1D": (4, 3), "Convolution1DTranspose": (4, 3),
    "Cropping1D": (2,), "Dense": (5,), "DepthwiseConv1D": (3,), "EinsumDense": ("abc,cd->abd", (None, 4)), "GRU": (3,),
    "GaussianDropout": (0.5,), "GaussianNoise": (0.5,), "AlphaDropout": (0.5,), "Dropout": (0.5,), "LSTM": (3,),
    "LocallyConnected1D": (4, 3), "MultiHeadAttention": (2, 3), "GroupQueryAttention": (3, 4, 2), "Permute": ((2, 1),),
    "RepeatVector": (3,), "Rescaling": (0.5,), "Reshape": ((-1, 3),), "SeparableConv1D": (4, 3),
    "SeparableConvolution1D": (4, 3), "SimpleRNN": (3,), "SpatialDropout1D": (0.5,),
    "GroupNormalization": (3,), "Dot": (-1,), "Embedding": (7, 3),
}  # fmt: skip
OF_TWO = ("Add", "Multiply", "Concatenate", "Subtract", "Average", "Maximum", "Minimum", "Dot", "Attention",
          "AdditiveAttention", "MultiHeadAttention")  # fmt: skip
OF_FEATURES = ("Dense", "BatchNormalization", "Dropout", "GaussianNoise", "ActivityRegularization", "Add", "Multiply",
               "Concatenate", "PReLU", "ReLU", "LeakyReLU", "ELU", "Softmax", "Activation", "Flatten", "RepeatVector",
               "ThresholdedReLU")  # fmt: skip


class Maker:
    """Draws layers and models of one line of Keras."""

    def __init__(self, line: str, seed: int, without: Sequence[str] = ()):
        self.without, self.parts = set(without), []
        self.keras = importlib.import_module(line)
        self.three = line == "keras"
        (self.keras.config if self.three else self.keras.backend).set_floatx("float64")
        if self.three:  # or it computes some of float64 in float32, as JAX does
            importlib.import_module("keras.src.backend.common.dtypes").BIT64_TO_BIT32_DTYPE.pop("float64", None)
        self.layers, self.seed = self.keras.layers, seed
        self.rng = np.random.default_rng(seed)
        self.slope = "negative_slope" if self.three else "alpha"

    def kinds(self) -> list[str]:
        """Names of all layers, and of all activations behind the word "activation"."""
        layer = self.layers.Layer
        found = [n for n in dir(self.layers) if inspect.isclass(c := getattr(self.layers, n)) and issubclass(c, layer)]
        names = [n for n in dir(self.keras.activations) if inspect.isfunction(getattr(self.keras.activations, n))]
        return found + [f"activation {n}" for n in names if n not in ("get", "serialize", "deserialize")]

    def pick(self, *options: Any) -> Any:
        """One of several."""
        return options[self.rng.integers(len(options))]

    def has(self, part: str, chance: float) -> bool:
        """Whether a model has a part."""
        drawn = self.rng.random() < chance and part not in self.without
        self.parts += [part] if drawn else []
        return drawn

    def number(self, low: float, high: float) -> float:
        """A number with two digits: files keep what is written in them."""
        return round(float(self.rng.uniform(low, high)), 2)

    def activation(self) -> Any:
        """None, a name or a layer, as the activation of another layer."""
        names = [kind.split()[1] for kind in self.kinds() if kind.startswith("activation ")]
        drawn = [self.pick("LeakyReLU", "ReLU", "ELU", "Softmax")]
        return self.pick(None, self.pick(*names), self.pick(*names), self.layer(drawn[0], plain=False))

    def layer(self, kind: str, *, plain: bool) -> Any:
        """A layer of a kind: with no more than it needs, or with random settings where they are known here."""
        if kind.startswith("activation "):
            name = kind.split()[1]
            if plain:
                return self.layers.Activation(name)
            return self.pick(self.layers.Conv1D(4, 2, activation=name), self.layers.Dense(4, activation=name))
        if kind in ("Bidirectional", "TimeDistributed", "SpectralNormalization"):
            inside = {"Bidirectional": "LSTM"}.get(kind, "Dense" if plain else self.pick("Dense", "Conv1D", "ReLU"))
            return getattr(self.layers, kind)(self.layer(inside, plain=True))
        more = {} if plain else self._settings().get(kind, dict)()
        names = ("filters", "kernel_size", "units")  # a layer cannot be without
        drawn = {name: value for name, value in more.items() if name in names or name not in self.without}
        self.parts += [name for name in drawn if name not in names]
        return getattr(self.layers, kind)(*(() if drawn else REQUIRED.get(kind, ())), **drawn)

    def _settings(self) -> dict[str, Callable[[], dict]]:
        pick, number = self.pick, self.number

        def conv() -> dict:
            more = pick({}, {"strides": pick(2, 3)}, {"dilation_rate": pick(2, 3)}, {"groups": pick(2, 3)})
            return {"filters": pick(3, 6) if "groups" not in more else 6, "kernel_size": pick(1, 2, 3, 5),
                    "padding": pick("valid", "same", "causal"), "use_bias": pick(True, False),
                    "activation": self.activation(), **more}  # fmt: skip

        def pool() -> dict:
            return {"pool_size": pick(1, 2, 3, 5), "strides": pick(None, 1, 2, 3), "padding": pick("valid", "same")}

        def relu() -> dict:
            return {key: value for key, value in (("max_value", number(0.2, 5)), ("negative_slope", number(0, 0.9)),
                                                  ("threshold", number(0, 2))) if pick(True, False)}  # fmt: skip

        def norm() -> dict:
            return {"axis": pick(-1, 2, 1), "epsilon": number(0.01, 0.5), "center": pick(True, False),
                    "scale": pick(True, False)}  # fmt: skip

        axis = {"axis": pick(-1, -2, 1, 2)}
        return {
            "Conv1D": conv,
            "Convolution1D": conv,
            "Dense": lambda: {"units": pick(1, 4), "use_bias": pick(True, False), "activation": self.activation()},
            "BatchNormalization": norm,
            **dict.fromkeys(("MaxPooling1D", "MaxPool1D", "AveragePooling1D", "AvgPool1D"), pool),
            **dict.fromkeys(
                ("GlobalAveragePooling1D", "GlobalAvgPool1D", "GlobalMaxPooling1D", "GlobalMaxPool1D"),
                lambda: {"keepdims": pick(True, False)},
            ),
            "Cropping1D": lambda: {"cropping": pick(1, [0, 2], [3, 0], [0, 0])},
            "ZeroPadding1D": lambda: {"padding": pick(2, [0, 3], [1, 4])},
            "PReLU": lambda: {"shared_axes": pick(None, [1], [2], [1, 2])},
            "LeakyReLU": lambda: {self.slope: number(0, 0.9)},
            "ELU": lambda: {"alpha": number(0.1, 2)},
            "ReLU": relu,
            "ThresholdedReLU": lambda: {"theta": number(0, 2)},
            "Softmax": lambda: axis,
            "Concatenate": lambda: axis,
        }

    def model(self, kind: str, *, plain: bool) -> Any:
        """A model with such a layer: at positions or at features, called once or twice, alone or in a model inside."""
        layers = self.layers
        inp = layers.Input((LENGTH, 4), name="sequence")
        x = layers.Conv1D(CHANNELS, 2, name="wide" if kind.startswith("activation ") else "first")(inp)
        if kind in OF_FEATURES and not plain and self.has("another layer before", 0.5):
            x = self.pick(layers.Flatten(), layers.GlobalMaxPooling1D(), layers.Dense(4))(x)
        made, two = self.layer(kind, plain=plain), kind in OF_TWO
        beside = layers.Activation("tanh")(x)
        if not plain and two and len(x.shape) == 3 and self.has("a pooled second input", 0.5):
            beside = layers.GlobalAveragePooling1D(keepdims=True)(beside)
        call = (lambda a, b: made(*([a, b] if kind == "MultiHeadAttention" else [[a, b]]))) if two else None
        y = call(x, beside) if call else made(x)
        if not plain and self.has("called twice", 1 / 3):
            again = call(beside, x) if call else made(beside)
            y = layers.Add()([y, again])
        if not plain and len(y.shape) == 3 and self.has("a dense layer behind", 1 / 3):
            y = layers.Dense(2)(layers.Flatten()(y))
        model = self.keras.Model(inp, y)
        if not plain and self.has("in a model inside", 1 / 4):
            outer = layers.Input((LENGTH, 4), name="outer")
            model = self.keras.Model(outer, layers.Activation("tanh")(model(outer)))
        return model

    def randomize(self, model: Any) -> None:
        """Random weights that float32 holds exactly; those of "wide" take values beyond every bend."""
        for layer in model.layers:
            if isinstance(layer, self.keras.Model):
                self.randomize(layer)
                continue
            new = []
            for w in layer.weights:
                name, shape = getattr(w, "path", w.name), tuple(w.shape)
                value = self.rng.normal(size=shape) * (np.sqrt(2 / max(1, np.prod(shape[:-1]))) if shape[1:] else 0.3)
                if layer.name == "wide":
                    value = self.rng.uniform(-9, 9, size=shape)
                elif any(word in name for word in ("variance", "gamma", "alpha")):
                    value = self.rng.uniform(0.4, 1.6, size=shape)
                new.append(np.float32(value).astype(np.float64))
            layer.set_weights(new)

    def write(self, kind: str, file: Path, *, plain: bool) -> None:
        """Write a model with such a layer, and beside it (.npz) bases and output."""
        model = self.model(kind, plain=plain)
        self.randomize(model)
        bases = self.rng.integers(0, 4, size=(N, LENGTH))
        output = np.asarray(model.predict(np.eye(4)[bases], verbose=0))
        model.save(str(file))
        np.savez(file.with_suffix(".npz"), bases=bases, output=output)


def main() -> None:
    """Write <number>.h5 and .npz (bases, output), and models.json: what they are, and what was not made."""
    line, seed, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    more = [*sys.argv[4:], "--without"]
    kinds, without = more[: more.index("--without")], more[more.index("--without") + 1 : -1]
    logging.disable()  # that .h5 is called legacy, once for each file
    maker, made, not_made = Maker(line, seed, without), [], {}
    for kind in kinds or maker.kinds():
        for plain in (True, False):
            maker.rng = np.random.default_rng((seed, zlib.crc32(kind.encode()), plain))  # alone as among all
            for _ in range(1 if plain else 5):  # not all settings go together
                maker.parts = []
                try:
                    maker.write(kind, folder / f"{len(made)}.h5", plain=plain)
                except Exception as error:  # Keras raises what it likes
                    not_made[kind] = f"{type(error).__name__}: {error}"[:200]
                else:
                    made.append({"kind": kind, "plain": plain, "parts": maker.parts,
                                 "file": f"{len(made)}.h5"})  # fmt: skip
                    break
    for model in made:
        not_made.pop(model["kind"], None)
    (folder / "models.json").write_text(json.dumps({"made": made, "not_made": not_made}))


if __name__ == "__main__":
    main()
