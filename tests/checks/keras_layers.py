"""Every layer and activation of Keras 3 and Keras 2: predicted as Keras predicts, or refused in one line by name.

    python tests/checks/keras_layers.py --minutes 30 --seed 0 --keras2 tf/bin/python

Files are written and predicted by Keras in a process of its own (keras_models.py): Keras 3 of this environment, and
Keras 2 of the Python that is named (one with tf_keras; without it Keras 2 is left out). Both sides compute in float64.
Of a layer that fails, the model with the fewest settings and other layers is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import seeds_in_turn
from marginome.errors import MarginomeError
from marginome.hdf5 import Contents, Request, read_many
from marginome.models.keras.activations import _EITHER, _KERAS_3
from marginome.models.keras.file import graph_of
from marginome.models.keras.graph import BUILDERS, InKerasOrder

CLOSE = 1e-7  # of the largest value: slopes are float32 in some operations of TensorFlow, as in LeakyReLU


def outcome(file: Path, contents: Contents | MarginomeError) -> str:
    """Return "equal", or "refused" with the reason; all else is in capitals."""
    try:
        if isinstance(contents, MarginomeError):
            raise contents
        text = contents.attributes[""]["model_config"]
        model = InKerasOrder(graph_of(text, contents, {}, f"model 'm': {file.name}")).double().eval()
    except MarginomeError as error:
        said = str(error)
        named = file.name in said and "layer '" in said and "\n" not in said
        return f"refused: {error.what}" if named else f"NOT NAMED: {said}"
    except Exception as error:
        return f"CRASH: {type(error).__name__}: {error}"
    values = np.load(file.with_suffix(".npz"))
    X, wanted = torch.from_numpy(np.eye(4)[values["bases"]]).transpose(1, 2), values["output"]
    with torch.no_grad():
        found = model(X).numpy()
    if found.shape != wanted.shape:
        return f"ANOTHER SHAPE: {found.shape}, in Keras {wanted.shape}"
    gap, size = float(np.abs(found - wanted).max()), float(np.abs(wanted).max())
    return "equal" if gap <= CLOSE * max(size, 1e-3) else f"WRONG: by {gap:.3g} of {size:.3g}"


class Made(NamedTuple):
    """A model that Keras made: its layer, whether that has its defaults, what came of it, and what else it has."""

    kind: str
    plain: bool
    said: str
    parts: tuple[str, ...]


def run(
    line: str, python: str, seed: int, kinds: Sequence[str] = (), without: Sequence[str] = ()
) -> tuple[list[Made], list[str]]:
    """Return what one line of Keras made, and what it did not make."""
    with tempfile.TemporaryDirectory() as folder:
        script = str(Path(__file__).with_name("keras_models.py"))
        command = [python, script, line, str(seed), folder, *kinds, *(["--without", *without] if without else [])]
        subprocess.run(command, check=True, capture_output=True)
        told = json.loads((Path(folder) / "models.json").read_text())
        files = [Path(folder) / model["file"] for model in told["made"]]
        read = read_many([Request(str(file)) for file in files])
        found = [
            Made(model["kind"], model["plain"], outcome(file, contents), tuple(dict.fromkeys(model["parts"])))
            for model, file, contents in zip(told["made"], files, read, strict=True)
        ]
    return found, sorted(told["not_made"])


def is_wrong(line: str, made: Made) -> bool:
    """Whether a model is read otherwise than Keras predicts, or not at all although its layer is known."""
    word = made.said.partition(":")[0]
    return word.isupper() or (made.plain and made.kind in known(line) and word != "equal")


def smallest(line: str, python: str, seed: int, made: Made) -> Made:
    """Leave out what a model has beside its layer as long as it fails."""
    least = {(): made}

    def fault(without: tuple[str, ...]) -> str:
        for other in run(line, python, seed, [made.kind], without)[0]:
            if other.plain == made.plain and is_wrong(line, other):
                least[without] = other
                return other.said
        return ""

    def more(without: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        parts = least[without].parts
        if without == () and len(parts) > 1:
            yield parts
        for part in parts:
            yield (*without, part)

    without, _ = seeds_in_turn.smallest((), more, fault)
    return least[without]


def known(line: str) -> set[str]:
    """What is read of one line of Keras: layers, and activations by name."""
    names = {"linear", "softmax", "log_softmax", "hard_sigmoid", *_EITHER, *(_KERAS_3 if line == "keras" else ())}
    return {*BUILDERS, "TimeDistributed", *(f"activation {name}" for name in names)} - {"Lambda"}


def main() -> None:
    """Run for some minutes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keras2", help="the Python that has tf_keras")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = {"keras": sys.executable} | ({"tf_keras": options.keras2} if options.keras2 else {})
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    stop, seed, wrong = time.monotonic() + 60 * options.minutes, options.seed, 0
    while seed == options.seed or time.monotonic() < stop:
        for line, python in lines.items():
            found, not_made = run(line, python, seed)
            for made in found:
                word = made.said.partition(":")[0]
                counts[f"{line} {word}"] += 1
                if is_wrong(line, made):
                    wrong += 1
                    least = smallest(line, python, seed, made) if wrong <= seeds_in_turn.FAILURES else made
                    settings = "its defaults" if least.plain else ", ".join(least.parts) or "no more than it needs"
                    print(f"seed {seed}, {line}, {least.kind} with {settings}: {least.said}", flush=True)
                elif word == "refused" and made.kind in known(line):
                    reasons[f"{line}, {made.kind}: {made.said[:150]}"] += 1
            if seed == options.seed:
                there = {made.kind for made in found}
                print(f"{line}: {len(there)} layers and activations, {len(there & known(line))} of them read; "
                      f"not of one dimension: {', '.join(not_made)}", flush=True)  # fmt: skip
        seed += 1
    for reason, n in sorted(reasons.items()):
        print(f"{n} x {reason}")
    print(dict(counts))
    sys.exit(wrong > 0 or not counts)


if __name__ == "__main__":
    main()
