"""Damaged configs, without end: each is refused in words that name the key, or accepted and put in order.

``python tests/checks/config_fuzz.py --minutes 60 --seed 0`` damages the shipped config and the examples; it prints the
smallest config, or the smallest piece of a file, that is neither refused nor put in order, and exits 1.
"""

from __future__ import annotations

import collections
import copy
import datetime
import json
import math
import os
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

import seeds_in_turn
from marginome.config import resolve_config
from marginome.config_reading import check_file
from marginome.errors import MarginomeError
from seeds_in_turn import places

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [ROOT / "config" / "config.yaml", *sorted((ROOT / "config" / "examples").glob("*.yaml"))]
#: Their files ship, so that these are checked to the end.
COMPLETE = ("config", "elements", "jaspar_release", "mpra_dragonn", "own_model", "pwm_sampling", "spacing")
#: Below these keys anything is allowed: they are passed to the user's own code.
FREE = ("parameters", "arguments")


def _deep(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def _repeating() -> list:
    value = ["x"] * 9
    for _ in range(9):
        value = [value] * 9
    return value


def _endless() -> dict:
    value: dict = {}
    value["again"] = value
    return value


VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 7, 10**6, 2**31, 2**53 + 1, 10**30, 10**5000),
    *(0.0, -0.0, 1.0, 4.0, 0.5, 1e30, -1e30, 1e308, math.nan, math.inf, -math.inf),
    *("", "a", "1", "1e-5", "1e400", "nan", "no", "a\n", "ACGT\n", "ACGT", "a/b", "../a", ".a", "-a", "x" * 300, "\0"),
    *("\ud800", "é", "{x}", "<x>", "$HOME/x", "~/x", "a.py:f", "a.py:", ".py:f", "a b", "a\tb"),
    *("config/examples/own_model.py:nothing", "config/examples/own_model.py:deepbind", "/dev/zero", "/dev/null", "/"),
    *("/etc", "resources/motifs/JASPAR2026_CORE_vertebrates.meme"),
    *([], [None], [1.0, 2.0], ["a", "a"], [math.nan], {}, {"": 1}, {"a": None}, {1: 2}, {None: 1}),
    *({"kind": "uniform", "n": 4.0, "length": 300.0}, {"kind": "nothing"}, {"kind": []}),
    *({"start": 0, "stop": 10**9, "step": 1.0}, datetime.date(2026, 1, 1), b"bytes", {1, 2}, (1, 2), object()),
    *(_deep(60), _deep(3000), _repeating(), _endless()),
    *("gc_matched", "composition", "both", "centre", "sample", "cuda", "counts", "profile", "keras", "beluga"),
]
KEYS: list[Any] = ["", "a\n", "x" * 300, "a/b", "é", "{x}", 1, 1.5, True, None, datetime.date(2026, 1, 1), (1, 2), "a"]
TEXTS = [
    *(
        b"[" * 3000,
        b"\xff",
        b"\xef\xbb\xbf",
        b"\x00",
        b"\t",
        b"\n",
        b": ",
        b"- ",
        b"? [a, b]\n: 1\n",
        b"&a *a",
        b"<<: *x",
    ),
    *(
        b"10:20",
        b"010",
        b"2026-01-01",
        b"!!python/object:os.system",
        b".nan",
        b"1.0",
        b"9" * 5000,
        b"seed: 1\nseed: 2\n",
    ),
    *(b"{", b"'", b"#", b"%"),
]


def damaged(config: Any, rng: random.Random, known: list[str]) -> Any:
    """Change, remove, add, rename or move one to three parts of a config."""
    config = copy.deepcopy(config)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        target, key = rng.choice(places(config))
        way = rng.random()
        if way < 0.5 or isinstance(target, list):
            target[key] = copy.copy(rng.choice(VALUES))
        elif way < 0.6:
            del target[key]
        elif way < 0.75:
            target[rng.choice(known)] = copy.copy(rng.choice(VALUES))
        elif way < 0.9:
            target[rng.choice(KEYS)] = target.pop(key)
        else:
            other, name = rng.choice(places(config))
            target[key] = copy.deepcopy(other[name]) if not isinstance(other[name], dict) else other[name]
        if isinstance(target.get(key) if isinstance(target, dict) else target[key], int | list) and rng.random() < 0.3:
            value = target[key]
            target[key] = float(value) if isinstance(value, int) and abs(value) < 2**60 else [value]
    return config


def integer_keys() -> set[str]:
    """Names of the keys that the schemas call integers wherever they stand, and nothing else."""
    kinds = collections.defaultdict(set)

    def walk(schema: Any) -> None:
        for name, sub in schema.get("properties", {}).items() if isinstance(schema, dict) else ():
            kinds[name].add(json.dumps(sub.get("type", sub.get("$ref", "other"))))
        for sub in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
            walk(sub)

    for file in (ROOT / "workflow" / "lib" / "marginome" / "schemas").glob("*.yaml"):
        walk(yaml.safe_load(file.read_text()))
    own = {'"integer"', '"#/$defs/n"', '"#/$defs/length"'}
    return {name for name, found in kinds.items() if found <= own}


INTEGERS = integer_keys()


def judge(config: Any, *, check_files: bool) -> str:
    """Return ``refused`` or ``accepted``; raise AssertionError, or whatever is no refusal in words."""
    try:
        resolved = resolve_config(config, check_files=check_files)
    except MarginomeError as error:
        said(error)
        return "refused"
    for path, value in _leaves(resolved):
        if any(key in FREE for key in path):
            continue
        assert not (isinstance(value, float) and not math.isfinite(value)), f"{path} is {value}"
        if path[-1] in INTEGERS and value is not None:
            assert isinstance(value, int) and not isinstance(value, bool), f"{path} is {value!r}"
    for section in ("models", "motifs", "backgrounds", "screens", "attributions"):
        for name in resolved[section]:
            assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name), f"the name {name!r}"
    json.dumps(resolved)
    # what sheets name is among its models now, and would be there twice
    again = resolve_config({**resolved, "sheets": []}, check_files=False)
    assert again == {**resolved, "sheets": []}, "read again it is another"
    return "accepted"


def said(error: MarginomeError) -> None:
    """Check a refusal: one line for each mistake, each names where it is."""
    lines = str(error).split("\n")
    several = re.fullmatch(r"the config has \d+ mistakes:", lines[0])
    for line in lines[1:] if several else lines:
        assert line.isprintable() and len(line) < 1500, f"not one line of words: {line[:200]!r}"
        # in the config, in a file by its whole path, or in a row of a sheet
        known = r"(  - )?(config: |/.*: |[^:]*atlas.*, line [\d, ]+: |  - and \d+ more)"
        assert re.match(known, line), f"where is it? {line[:200]}"
    assert several or len(lines) == 1, f"more than a line: {lines}"


def _leaves(value: Any, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
    else:
        for key, item in items:
            yield from _leaves(item, (*path, key))


def judge_text(content: bytes, file: Path) -> str:
    """Return what became of a config file whose bytes were damaged."""
    file.write_bytes(content)
    try:
        check_file(file)
    except MarginomeError as error:
        said(error)
        return "refused"
    config = yaml.safe_load(content)  # what `check_file` lets pass is YAML
    return judge(config, check_files=False)


def _damaged_text(content: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 3)):
        way, at = rng.randrange(4), rng.randrange(len(content) + 1)
        if way == 0:
            content = content[:at] + rng.choice(TEXTS) + content[at:]
        elif way == 1 and content:
            content = content[: max(at - 1, 0)] + bytes([rng.randrange(256)]) + content[at:]
        elif way == 2:
            content = content[:at] + content[at + rng.randrange(60) :]
        else:
            lines = content.split(b"\n")
            lines.insert(rng.randrange(len(lines)), rng.choice(lines))
            content = b"\n".join(lines)
    return content


# ------------------------------------------------------------------------------------------------------- tries
class Sources:
    """The configs that are damaged, parsed, and the keys that they know."""

    def __init__(self) -> None:
        self.bytes = {path: path.read_bytes() for path in CONFIGS}
        self.parsed = {path: yaml.safe_load(content) for path, content in self.bytes.items()}
        every = (place for config in self.parsed.values() for place in places(config))
        self.known = sorted({key for target, key in every if isinstance(target, dict)})


def fault(judged: Callable[[], str]) -> str:
    """Return what is wrong, empty if nothing is."""
    try:
        judged()
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:500]}"
    return ""


def check(seed: int, sources: Sources, file: Path) -> tuple[str, str]:
    """Return what became of the damaged config of a seed, and what is wrong at its smallest."""
    rng = random.Random(seed)
    path = rng.choice(CONFIGS)
    as_text = rng.random() < 0.3
    judged: Callable[[Any], str]
    if as_text:
        case: Any = _damaged_text(sources.bytes[path], rng)
        judged = partial(judge_text, file=file)
    else:
        case = damaged(sources.parsed[path], rng, sources.known)
        judged = partial(judge, check_files=path.stem in COMPLETE)
    try:
        return judged(case), ""
    except Exception as error:
        said = f"{type(error).__name__}: {str(error)[:500]}"
    shrink = seeds_in_turn.fewest if as_text else seeds_in_turn.smallest_tree
    small = shrink(case, lambda less: bool(fault(partial(judged, less))))
    now = fault(partial(judged, small)) or said
    return "", f"{path.name}: {now}\n{str(small)[:3000]}\n  found as {said}"


def prepared() -> tuple[Sources, Path]:
    """The configs, and a place for damaged ones; paths in the configs are relative to the root."""
    os.chdir(ROOT)
    return Sources(), Path(tempfile.mkdtemp()) / "config.yaml"


if __name__ == "__main__":
    sources, file = prepared()
    seeds_in_turn.try_seeds(lambda seed: check(seed, sources, file), seeds_in_turn.options(__doc__))
