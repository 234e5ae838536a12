"""What the scripts of this folder share: one seed after the other, and of what fails the smallest that still fails."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

Case = TypeVar("Case")
FAILURES = 3  # after so many it ends: they are likely one
SHRINK_SECONDS = 30


def options(doc: str | None, **defaults: Any) -> argparse.Namespace:
    """Return what a script is told: for how long, and from which seed on."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=defaults.get("minutes", 10.0))
    parser.add_argument("--tries", type=int, help="so many seeds at most")
    parser.add_argument("--seed", type=int, default=0, help="the first; the others count from it")
    return parser.parse_args()


def try_seeds(check: Callable[[int], tuple[str, str]], given: argparse.Namespace) -> None:
    """Check seeds until the time is over; print what fails, and exit with 1 if something does.

    Parameters
    ----------
    check : callable
        Of a seed: a word to be counted, and what is wrong, at its smallest (empty if nothing is).
    given : argparse.Namespace
        What `options` returned.
    """
    counts: Counter[str] = Counter()
    began = said = time.monotonic()
    end, wrong = began + 60 * given.minutes, 0
    seeds: Iterable[int] = (
        itertools.count(given.seed) if given.tries is None else range(given.seed, given.seed + given.tries)
    )
    for seed in seeds:
        word, fault = check(seed)
        counts["WRONG" if fault else word] += 1
        wrong += bool(fault)
        if fault:
            print(f"\nseed {seed}: {fault}\n", flush=True)
        now = time.monotonic()
        if wrong == FAILURES or now > end:
            break
        if now > said + 60:
            said = now
            print(f"{counts.total()} tries, {wrong} wrong, {(end - now) / 60:.0f} min left", flush=True)
    print(f"{counts.total():,} tries: {dict(counts.most_common())}")
    sys.exit(wrong > 0 or not counts)


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in what takes longer, by processor time; ten times that by the clock, for what only waits.

    A clock alone would call what is right too long where other work has the processor.
    """

    def too_long(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} seconds")

    before = [signal.signal(number, too_long) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(10 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for number, handler in zip((signal.SIGPROF, signal.SIGALRM), before):
            signal.signal(number, handler)


def smallest(
    case: Case,
    smaller: Callable[[Case], Iterable[Case]],
    fault: Callable[[Case], str],
    seconds: float = SHRINK_SECONDS,
) -> tuple[Case, str]:
    """Take the first smaller case that fails too, as long as there is one.

    Parameters
    ----------
    case : object
        One that fails.
    smaller : callable
        Of a case: others, those that leave out most first.
    fault : callable
        Of a case: what is wrong with it, empty if nothing is.
    seconds : float
        After which it ends.

    Returns
    -------
    case : object
    said : str
        What is wrong with it.
    """
    end, said, again = time.monotonic() + seconds, fault(case), True
    while again:
        again = False
        for candidate in smaller(case):
            if time.monotonic() > end:
                return case, said
            found = fault(candidate)
            if found:
                case, said, again = candidate, found, True
                break
    return case, said


def fewest(items: Any, fails: Callable[[Any], bool], seconds: float = SHRINK_SECONDS) -> Any:
    """Leave out pieces of bytes, a text or a list that fails, halves first, as long as it fails."""
    size, end = max(1, len(items) // 2), time.monotonic() + seconds
    while True:
        at, before = 0, len(items)
        while at < len(items):
            if time.monotonic() > end:
                return items
            less = items[:at] + items[at + size :]
            if fails(less):
                items = less
            else:
                at += size
        if size == 1 and len(items) == before:
            return items
        size = max(1, size // 2)


def without_one(items: Sequence[Any]) -> Iterator[Any]:
    """Yield a sequence without each of its items."""
    for i in range(len(items)):
        yield [*items[:i], *items[i + 1 :]]


def places(value: Any, most: int = 2000) -> list[tuple[Any, Any]]:
    """Return (container, key) of everything in nested dicts and lists; the first of what has no end."""
    return list(itertools.islice(_places(value), most))


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in [*items][:50]:
        yield value, key
        if depth < 12:
            yield from _places(item, depth + 1)


def smallest_tree(value: Any, fails: Callable[[Any], bool], seconds: float = SHRINK_SECONDS) -> Any:
    """Leave out parts of nested dicts and lists, in place, for as long as they fail."""
    end, again = time.monotonic() + seconds, True
    while again:
        again = False
        for target, key in places(value):
            if time.monotonic() > end:
                return value
            if not (key in target if isinstance(target, dict) else key < len(target)):
                continue  # it went with another
            kept, old = target[key], dict(target) if isinstance(target, dict) else list(target)
            del target[key]
            if fails(value):
                again = True
            elif isinstance(target, dict):
                target.clear()
                target.update(old)
            else:
                target.insert(key, kept)
    return value
