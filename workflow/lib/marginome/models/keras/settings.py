"""The settings of one layer in a Keras file: of the right type, and none that matters is passed over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marginome.errors import MarginomeError

# What acts in training only, what names a layer, and how it was made: any value gives the same predictions.
_NO_EFFECT = {
    "name", "trainable", "batch_input_shape", "batch_shape", "build_config", "autocast", "seed", "momentum", "rate",
    "renorm_momentum", "noise_shape", "stddev", "l1", "l2", "fused", "input_dim",
}  # fmt: skip
_NO_EFFECT_ENDINGS = ("_initializer", "_regularizer", "_constraint")
# Settings that are no concern as long as they have these values. Whatever is unknown has to be absent.
_DEFAULTS = {
    "data_format": ("channels_last", None), "keepdims": (False,), "groups": (1,), "renorm": (False,),
    "renorm_clipping": (None,), "virtual_batch_size": (None,), "adjustment": (None,), "synchronized": (False,),
    "lora_rank": (None,), "lora_alpha": (None,), "quantization_config": (None,), "sparse": (False,),
    "ragged": (False,), "optional": (False,), "input_tensor": (None,), "input_length": (None,),
}  # fmt: skip
_FLOATS = {"float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16"}
_MISSING = object()


class Settings:
    """What the architecture says of one layer, as typed values; it knows which of them were read.

    Parameters
    ----------
    values : mapping
        The layer's ``config``.
    layer : str
        Its name, for messages.
    where : str
        The model and the file, for messages.
    keras : int or None
        The major version that wrote the file, where it tells; some activations differ.
    """

    def __init__(self, values: Any, layer: str, where: str, keras: int | None = None):
        self.layer, self.where, self.keras = layer, where, keras
        if not isinstance(values, Mapping):
            raise self.unsupported(f"its settings are {_shown(values)}")
        self.values = values
        self._read: set[str] = set()

    def unsupported(self, what: str) -> MarginomeError:
        """Build the error that names this layer."""
        return MarginomeError(
            f"layer '{self.layer}': {what}",
            where=self.where,
            remedy="Rebuild the model in PyTorch and name your function: loader: path/to/file.py:function.",
        )

    def get(self, key: str, default: Any = _MISSING) -> Any:
        """Return a setting as it is; without a default it has to be there."""
        self._read.add(key)
        if key not in self.values and default is _MISSING:
            raise self.unsupported(f"its setting {key} is missing")
        return self.values.get(key, default)

    def flag(self, key: str, default: bool) -> bool:
        """Return a setting that is true or false."""
        return self._of(bool, key, default)

    def word(self, key: str, default: Any = _MISSING) -> str:
        """Return a setting that is a word."""
        return self._of(str, key, default)

    def integer(self, key: str, default: Any = _MISSING, least: int = 1) -> int:
        """Return a whole number of at least `least`; a list of one counts as its number."""
        value = self.get(key, default)
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        return self._whole(key, value, least)

    def pair(self, key: str) -> tuple[int, int]:
        """Return two whole numbers, of positions on the left and on the right; one number stands for both."""
        value = self.get(key)
        value = value if isinstance(value, list) else [value, value]
        if len(value) != 2:
            raise self.unsupported(f"its {key} is {_shown(value)}; wanted one number or two")
        return self._whole(key, value[0], 0), self._whole(key, value[1], 0)

    def number(self, key: str, default: float) -> float:
        """Return a finite number; ``null`` counts as the default."""
        value = self.get(key, default)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
            raise self.unsupported(f"its {key} is {_shown(value)}; wanted a number")
        return float(value)

    def _of(self, kind: type, key: str, default: Any) -> Any:
        value = self.get(key, default)
        if not isinstance(value, kind):
            raise self.unsupported(f"its {key} is {_shown(value)}")
        return value

    def _whole(self, key: str, value: Any, least: int) -> int:
        if isinstance(value, float) and value.is_integer():  # Keras 2 wrote 3.0 at times
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
            raise self.unsupported(f"its {key} is {_shown(value)}; wanted a whole number from {least} on")
        return value

    def refuse_unread(self) -> None:
        """Raise an error that names a setting which nobody read and which may change the numbers."""
        for key, value in self.values.items():
            if key in self._read or key in _NO_EFFECT or key.endswith(_NO_EFFECT_ENDINGS):
                continue
            if key == "dtype":
                self._check_dtype(value)
            elif not any(type(value) is type(same) and value == same for same in _DEFAULTS.get(key, ())):
                raise self.unsupported(f"{key}: {_shown(value)} is not supported")

    def _check_dtype(self, value: Any) -> None:
        """Weights and arithmetic are float32 here, whatever float they were; whole numbers mean another arithmetic."""
        name = value["config"].get("name") if isinstance(value, Mapping) and "config" in value else value
        if name is not None and name not in _FLOATS:
            raise self.unsupported(f"dtype: {_shown(name)} is not supported")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
