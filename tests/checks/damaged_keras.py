"""Damage Keras files in every way: each is either read or refused by one line that names the file.

    PYTHONPATH=workflow/lib python tests/checks/damaged_keras.py --minutes 60 --seed 0

Half of the tries change the architecture's JSON (a wrong type, a missing key, an odd number, a copied or
renamed layer), half the bytes of the .h5 (flips, cuts, zeros). Prints what failed and exits 1.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from marginome import MarginomeError
from marginome.hdf5 import Contents, Request, read_foreign_hdf5, read_many
from marginome.models import load_model

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
        holder, key = rng.choice(list(_places(config)))
        way = rng.random()
        if way < 0.2 and isinstance(holder, dict):
            del holder[key]
        elif way < 0.3 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(rng.choice(holder)))
        elif way < 0.4:
            holder[key] = [holder[key]]
        elif way < 0.5:
            other, place = rng.choice(list(_places(config)))
            holder[key] = copy.deepcopy(other[place])
        else:
            holder[key] = copy.deepcopy(rng.choice(ODD))
    return config


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return bytes that were cut, flipped or zeroed, half of the time near the start, where HDF5's own lists are."""
    changed = bytearray(content)
    if rng.random() < 0.15:
        return bytes(changed[: rng.randrange(1, len(changed))])
    end = len(changed) if rng.random() < 0.5 else min(len(changed), 4000)
    for _ in range(rng.choice([1, 3, 10, 100])):
        at = rng.randrange(8, end)
        if rng.random() < 0.2:
            changed[at : at + 8] = bytes([rng.choice([0, 255])] * 8)
        else:
            changed[at] = rng.randrange(256)
    return bytes(changed)


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


def run(seed: int, tries: int, folder: Path) -> Counter:
    """Try `tries` damaged architectures and as many damaged files; count what became of them."""
    rng, counts = random.Random(seed), Counter()
    whole = {path: read_foreign_hdf5(Request(str(path))) for path in FILES}
    for _ in range(tries):
        path = rng.choice(FILES)
        contents = whole[path]
        text = contents.attributes[""]["model_config"]
        if rng.random() < 0.1:
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(["", "}", '"', "[[[" * 5000, "NaN"]) + text[at + rng.choice([0, 1, 50]) :]
        else:
            text = json.dumps(damaged_json(json.loads(text), rng))
        root = contents.attributes[""] | {"model_config": text}
        counts[_reported(path, replace(contents, attributes=contents.attributes | {"": root}), text, seed)] += 1
    files = []
    for i in range(tries):
        path = rng.choice(FILES)
        files.append(folder / f"{i}_{path.name}")
        files[-1].write_bytes(damaged_bytes(path.read_bytes(), rng))
    for path, contents in zip(files, read_many([Request(str(path), seconds=5) for path in files]), strict=True):
        counts[f"{_reported(path, contents, str(path), seed)} bytes"] += 1
        if isinstance(contents, MarginomeError) and "reading it" in contents.what:
            counts[contents.what.split("(")[-1]] += 1
    return counts


def _reported(path: Path, contents: Contents | MarginomeError, what: str, seed: int) -> str:
    try:
        return attempt(path, contents)
    except BaseException:
        print(f"seed {seed}, {path.name}:\n{what[:200000]}", file=sys.stderr)
        raise


def main() -> int:
    """Run until the time is over."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    end, counts, seed, failed = time.monotonic() + 60 * given.minutes, Counter(), given.seed, False
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory() as folder:
            try:
                counts += run(seed, 100, Path(folder))
            except Exception:
                traceback.print_exc(limit=-6)
                failed = True
                counts["failed"] += 1
        seed += 1
        print(f"{sum(counts.values())} tries, seed {seed}: {dict(counts)}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
