"""Damage Keras files in every way: each is either read or refused by one line that names the file.

    PYTHONPATH=workflow/lib python tests/checks/damaged_keras.py --minutes 60 --seed 0

Half of the tries change the architecture's JSON (a wrong type, a missing key, an odd number, a copied or
renamed layer), half the bytes of the .h5 (flips, cuts, zeros). Prints the smallest architecture, or the least damage,
that fails, and exits with 1.
"""

from __future__ import annotations

import copy
import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import damage
import seeds_in_turn
from marginome import MarginomeError
from marginome.hdf5 import Contents, Request, read_foreign_hdf5, read_many
from marginome.models import load_model
from seeds_in_turn import places

DATA = Path(__file__).parents[1] / "data"
FILES = [
    *(DATA / "keras2" / f"{name}.h5" for name in ("bpnet", "chrombpnet", "other_layers", "sequential")),
    *(DATA / "keras3" / f"{name}.h5" for name in ("open_length", "open_length2", "merges")),
]
ODD = [None, True, False, 0, -1, 1, 2, 3, 7, 1000, 10**9, 10**30, 0.5, -0.0, float("nan"), float("inf"), "", "relu",
       "same", "channels_first", "\x00/..", [], [1], [2, 3], [[]], [None, 300, 4], {}, {"class_name": "ReLU"},
       {"class_name": "LeakyReLU", "config": []}, ["sequence", 0, 0], [["sequence", 0, 0]]]  # fmt: skip


def damaged_json(config: Any, rng: random.Random) -> Any:
    """Return a copy of a JSON value with one to three changes."""
    config = copy.deepcopy(config)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        holder, key = rng.choice(places(config))
        way = rng.random()
        if way < 0.2 and isinstance(holder, dict):
            del holder[key]
        elif way < 0.3 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(rng.choice(holder)))
        elif way < 0.4:
            holder[key] = [holder[key]]
        elif way < 0.5:
            other, place = rng.choice(places(config))
            holder[key] = copy.deepcopy(other[place])
        else:
            holder[key] = copy.deepcopy(rng.choice(ODD))
    return config


def attempt(path: Path, contents: Contents | MarginomeError) -> str:
    """Load a model from what was read of a file; return "read" or "refused". All else is a failure."""

    def read(request: Request, *, where: str | None = None) -> Contents:
        if isinstance(contents, MarginomeError):
            raise MarginomeError(contents.what, where=where, remedy=contents.remedy)
        return contents

    entry = {"weights": str(path), "input_length": 60} if "open" in path.name else {"weights": str(path)}
    entry["outputs"] = {"first": {"head": 0, "reduce": "mean"}}
    try:
        with mock.patch("marginome.models.keras.file.read_foreign_hdf5", read):
            load_model("damaged", entry | {"loader": "keras"})
    except MarginomeError as error:
        text = str(error)
        # a model that was read, but whose outputs are now others, is told from its outputs
        assert path.name in text or "outputs.first" in text, text
        assert "\n" not in text and len(text) < 1500, text
        return "refused"
    return "read"


class Checker:
    """Tries damaged architectures, and damaged files, which are read many at a time by one process."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.whole = {path: read_foreign_hdf5(Request(str(path))) for path in FILES}

    def architecture(self, seed: int) -> tuple[str, str]:
        """Return what became of the damaged architecture of a seed, and what is wrong at its smallest."""
        rng = random.Random(seed)
        path = rng.choice(FILES)
        case: Any = self.whole[path].attributes[""]["model_config"]
        if rng.random() < 0.1:
            at = rng.randrange(len(case))
            case = case[:at] + rng.choice(["", "}", '"', "[[[" * 5000, "NaN"]) + case[at + rng.choice([0, 1, 50]) :]
        else:
            case = damaged_json(json.loads(case), rng)
        word, fault = self._of_architecture(path, case)
        if not fault:
            return word, ""
        shrink = seeds_in_turn.fewest if isinstance(case, str) else seeds_in_turn.smallest_tree
        case = shrink(case, lambda less: bool(self._of_architecture(path, less)[1]))
        text = case if isinstance(case, str) else json.dumps(case)
        return "", f"architecture of {path.name}: {self._of_architecture(path, case)[1] or fault}\n{text[:3000]}"

    def _of_architecture(self, path: Path, case: Any) -> tuple[str, str]:
        text = case if isinstance(case, str) else json.dumps(case)
        contents = self.whole[path]
        root = contents.attributes[""] | {"model_config": text}
        return _judged(path, replace(contents, attributes=contents.attributes | {"": root}))

    def bytes(self, seeds: Sequence[int]) -> list[tuple[str, str]]:
        """Return what became of the damaged bytes of each seed, and what is wrong."""
        return self._of_bytes([self._drawn(seed) for seed in seeds])

    def least(self, seed: int) -> str:
        """Say what is wrong with the damaged bytes of a seed at their least."""
        path, edits = self._drawn(seed)
        least, fault = seeds_in_turn.smallest(edits, damage.less, partial(self._of_one, path))
        return f"{path.name}, {damage.shown(least, path.stat().st_size)}: {fault}"

    def _drawn(self, seed: int) -> tuple[Path, list[damage.Edit]]:
        rng = random.Random(f"{seed} bytes")
        path = rng.choice(FILES)
        return path, damage.draw(path.read_bytes(), rng)

    def _of_one(self, path: Path, edits: Sequence[damage.Edit]) -> str:
        return self._of_bytes([(path, edits)])[0][1]

    def _of_bytes(self, drawn: Sequence[tuple[Path, Sequence[damage.Edit]]]) -> list[tuple[str, str]]:
        files = [self.folder / f"{i}_{path.name}" for i, (path, _) in enumerate(drawn)]
        for file, (path, edits) in zip(files, drawn, strict=True):
            file.write_bytes(damage.edited(path.read_bytes(), edits))
        read = read_many([Request(str(file), seconds=5) for file in files])
        return [_judged(file, contents) for file, contents in zip(files, read, strict=True)]


def _judged(path: Path, contents: Contents | MarginomeError) -> tuple[str, str]:
    try:
        return attempt(path, contents), ""
    except Exception as error:
        return "", f"{type(error).__name__}: {str(error)[:500]}"


BATCH = 50  # files that one process reads


def check(seed: int, checker: Checker, ahead: dict[int, tuple[str, str]]) -> tuple[str, str]:
    """Check the architecture and the bytes of a seed; `ahead` keeps what was read with others."""
    if seed not in ahead:
        ahead.clear()
        ahead.update(zip(range(seed, seed + BATCH), checker.bytes(range(seed, seed + BATCH)), strict=True))
    (word, fault), (of_bytes, fault_of_bytes) = checker.architecture(seed), ahead[seed]
    return f"architecture {word}, bytes {of_bytes}", fault or (fault_of_bytes and checker.least(seed))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        seeds_in_turn.try_seeds(partial(check, checker=Checker(Path(folder)), ahead={}), seeds_in_turn.options(__doc__))
