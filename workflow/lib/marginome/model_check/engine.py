"""Which computation the engine runs a model by, and how fast: blocks of inserts, kernels, precisions."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from marginome.devices import multiplies_bfloat16, synchronize
from marginome.incremental import Edits, Engine
from marginome.model_check.budget import Part
from marginome.model_check.running import finite_or_none
from marginome.models.loading import LoadedModel
from marginome.seeds import stable_seed
from marginome.sequences import random_one_hot

log = logging.getLogger("marginome")

INSERT_WIDTH = 12
APART = 200  # two halves of an insert this far apart say what wider inserts cost; or as far as there is room
BLOCKS = {"cpu": (16, 64, 128), "cuda": (64, 128, 256, 512)}
BLOCK_SECONDS = 10.0  # a block that would take longer than this to try is not tried
RACES = 3
# Backgrounds of a race between precisions on a CPU, which is there for the log alone.
FEW_BACKGROUNDS = 2
# What stands for the engine where a model has problems: nothing is going to run.
NOT_RUN: dict[str, Any] = {
    "block": 1,
    "pairs_per_second": {},
    "apart": None,
    "engine": {
        "path": "none",
        "reason": "the model has problems",
        "full_operations": [],
        "kernels": "torch",
        "kernels_pairs_per_second": {},
        "bfloat16": {},
        "check_error": None,
        "precision_error": None,
        "effect_error": None,
    },
}


def check_engine(
    loaded: LoadedModel,
    module: torch.nn.Module,
    X: Tensor,
    args: Sequence[Tensor],
    device: torch.device,
    precision: str,
    engine: str,
    memory_bytes: int,
    seed: int,
    part: Part,
    stated: int | None = None,
) -> dict[str, Any]:
    """Which path the engine takes, and the block size that makes most pairs a second; of a stated one, how many."""
    settings = dict(device=device, precision=precision, engine=engine, memory_bytes=memory_bytes)
    start = time.perf_counter()
    runner = Engine(module, X, args, **settings)
    set_up = time.perf_counter() - start
    info = runner.info
    width, blocks = min(INSERT_WIDTH, loaded.input_length), BLOCKS[device.type]
    most = max(blocks[-1], stated or 0)
    inserts = random_one_hot((most, 4, width), random_state=stable_seed(seed, "check_model inserts", width) % 2**32)
    starts = torch.full((most,), loaded.input_length // 2 - width // 2, dtype=torch.int64)
    block, rates, apart, kernels, rough = info.block, {}, None, {}, {}
    if info.path == "incremental":
        few = Edits(inserts[:1], starts[:1])
        pair = _timed(runner, few, device, 1)  # the first makes plans, so that it is slower than those that follow
        if stated and pair * stated <= BLOCK_SECONDS:  # the run takes it whatever others give
            blocks, block = (stated,), stated
        backgrounds = max(1, min(len(X), int(BLOCK_SECONDS / (pair * blocks[0]))))
        for size in blocks:
            if pair * size * backgrounds > min(BLOCK_SECONDS, part.left) and rates:
                part.leave_out(f"blocks of {size} and more inserts were not tried")
                break
            runner.block = size
            edits = Edits(inserts[:size], starts[:size])
            seconds = _timed(runner, edits, device, backgrounds)
            if seconds < 1:  # short enough for its start to count
                seconds = min(seconds, *(_timed(runner, edits, device, backgrounds) for _ in range(2)))
            pair = seconds / (size * backgrounds)
            rates[str(size)] = float(f"{1 / pair:.4g}")
        fastest = max(rates, key=rates.get)
        # the engine's own block unless another is clearly faster: noise must not change a result's last digits
        if rates[fastest] > 1.25 * rates.get(str(block), 0.0):
            block = int(fastest)
        # a plan so wide is checked first, which takes as long as setting up at most
        apart = _apart(runner, inserts[:block], loaded.input_length, part.left - set_up)
        if apart is None and loaded.input_length >= 2 * width:
            log.info("there was no time to measure how much longer wide inserts take: `estimate` counts them as others")
        if info.kernels == "triton":
            other = Engine(module, X, args, kernels=False, **settings)
            engines = {e.info.kernels: e for e in (runner, other)}
            kernels = _race(engines, inserts, starts, block, len(X))
            log.info("convolutions of changes by %s (pairs/s: %s)", max(kernels, key=kernels.get),
                     ", ".join(f"{name} {rate:,.4g}" for name, rate in kernels.items()))  # fmt: skip
        if runner.device.type == "cpu" and precision == "float32":
            rough = _bfloat16(
                runner, lambda: Engine(module, X, args, **{**settings, "precision": "bfloat16"}),
                inserts, starts, block, 2 * set_up < part.left,
            )  # fmt: skip
    elif engine != "full":
        part.notes.append(f"every insert goes through the whole model: {info.reason}")
    errors = {key: getattr(info, key) for key in ("check_error", "precision_error", "effect_error")}
    for key, error in errors.items():
        if error is not None and not math.isfinite(error):
            part.notes.append(f"the engine's {key.replace('_', ' ')} is not finite, so it is not known")
    return {
        "block": block,
        "pairs_per_second": rates,
        "apart": apart,
        "engine": {
            "path": info.path,
            "reason": info.reason,
            "full_operations": list(info.full_operations),
            "kernels": max(kernels, key=kernels.get) if kernels else info.kernels,
            "kernels_pairs_per_second": kernels,
            "bfloat16": rough,
            **{key: finite_or_none(error) for key, error in errors.items()},
        },
    }


def engine_like(like: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `check_engine` found of a model of the same architecture, without what depends on weights.

    Errors are those of a model's own weights: every shard compares its engine with the full pass before it is used,
    on the backgrounds that it computes.
    """
    errors = dict.fromkeys(("check_error", "precision_error", "effect_error"))
    return {key: like[key] for key in ("block", "pairs_per_second", "apart")} | {"engine": {**like["engine"], **errors}}


def _bfloat16(
    runner: Engine, build: Callable[[], Engine], inserts: Tensor, starts: Tensor, block: int, in_time: bool
) -> dict[str, Any]:
    """Return what ``precision: bfloat16`` would give on a processor that multiplies such numbers: rates, and its error.

    It is offered in the log where it is faster, never taken by itself. Elsewhere ``reason`` says why it was not tried.
    """
    if not multiplies_bfloat16():
        return {"reason": "this processor has no instructions for products of bfloat16"}
    if not in_time:
        return {"reason": "there was no time left to set it up"}
    rough = build()
    if rough.info.path != "incremental":
        return {"reason": rough.info.reason}
    few = min(FEW_BACKGROUNDS, len(runner.X))
    rates = _race({"float32": runner, "bfloat16": rough}, inserts, starts, block, few)
    error = rough.info.effect_error
    if rates["bfloat16"] > rates["float32"]:
        log.info("precision: bfloat16 would compute %s pairs/s in place of %s; largest error of an effect in the "
                 "sample: %s of the largest effect", f"{rates['bfloat16']:,.4g}", f"{rates['float32']:,.4g}",
                 "unknown" if error is None else f"{error:.1g}")  # fmt: skip
    return {"pairs_per_second": rates, "effect_error": None if error is None else finite_or_none(error), "reason": ""}


def _apart(runner: Engine, inserts: Tensor, length: int, left: float) -> dict[str, Any] | None:
    """Return how much longer inserts take whose halves are far apart: both widths (bp), and the ratio of times.

    None where sequences are too short, or no time is left. The two kinds take turns in a few backgrounds.
    """
    runner.block, width = len(inserts), inserts.shape[-1]
    apart, half = min(APART, length - width), width // 2
    if left <= 0 or apart < width:
        return None
    wide = torch.cat([inserts[..., :half], inserts.new_zeros((len(inserts), 4, apart)), inserts[..., half:]], dim=2)
    kinds = [Edits(some, torch.full((len(some),), (length - some.shape[-1]) // 2)) for some in (inserts, wide)]
    few = min(FEW_BACKGROUNDS, len(runner.X))
    seconds: list[list[float]] = [[], []]
    for _ in range(RACES + 1):
        for edits, times in zip(kinds, seconds):
            times.append(_timed(runner, edits, runner.device, few))
        if 2 * RACES * seconds[1][0] > min(BLOCK_SECONDS, left):
            return None
    narrow, broad = (statistics.median(times[1:]) for times in seconds)  # the first round makes plans
    return {"bp": [width, width + apart], "times": float(f"{max(1.0, broad / narrow):.4g}")}


def _race(
    engines: dict[str, Engine], inserts: Tensor, starts: Tensor, block: int, backgrounds: int
) -> dict[str, float]:
    """Return pairs per second of engines on the same backgrounds, which take turns."""
    edits = Edits(inserts[:block], starts[:block])
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(RACES + 1):
        for name, runner in engines.items():
            runner.block = block
            seconds[name].append(_timed(runner, edits, runner.device, backgrounds))
    # the first round makes plans and compiles
    pairs = len(edits.starts) * backgrounds
    return {name: float(f"{pairs / statistics.median(times[1:]):.4g}") for name, times in seconds.items()}


def _timed(runner: Engine, edits: Edits, device: torch.device, backgrounds: int) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in runner.run(edits, backgrounds=slice(0, backgrounds)):
        pass
    synchronize(device)
    return time.perf_counter() - start
