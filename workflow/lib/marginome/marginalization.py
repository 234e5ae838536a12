"""Marginalization: a function on backgrounds, before and after something is put into them.

The backgrounds are the same before and after, so the average difference over many of them is what the
insert does by itself: its marginal effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from marginome.errors import MarginomeError
from marginome.incremental import Edits, Engine
from marginome.incremental.worthwhile import engine_pays
from marginome.prediction import check_args, check_finite, map_structure, model_dtype, predict
from marginome.sequences import DNA, torch_dtype, validate_one_hot
from marginome.substitution import NamedMotif, encode_insert, insert_start, substitute


class Marginalization(NamedTuple):
    """What a function returned before and after; unpacks as ``y_before, y_after``.

    Attributes
    ----------
    y_before, y_after : tensor or nested list, tuple, dict of tensors
        In the structure that the function returns.
    """

    y_before: Any
    y_after: Any

    @property
    def y_befores(self) -> Any:
        """The same as `y_before`, by tangermeme's name for it in `marginalize_annotations`."""
        return self.y_before

    @property
    def y_afters(self) -> Any:
        """The same as `y_after`, by tangermeme's name for it in `marginalize_annotations`."""
        return self.y_after


def marginalize(
    model: torch.nn.Module,
    X: torch.Tensor,
    motif: str | torch.Tensor | NamedMotif,
    start: int | None = None,
    alphabet: Sequence[str] = DNA,
    func: Callable = predict,
    additional_func_kwargs: dict | None = None,
    **kwargs: Any,
) -> Marginalization:
    """Apply a function to backgrounds before and after putting a motif into them.

    Parameters
    ----------
    model : torch.nn.Module
        Passed to `func`.
    X : torch.Tensor, shape (n, 4, length)
        One-hot backgrounds; left as they are.
    motif : str, Motif, or torch.Tensor, shape (4, width), (1, 4, width) or (n, 4, width)
        One for all backgrounds, or one per background. N in a string and all-zero columns in a tensor
        keep the background's base.
    start : int, optional
        Position of the motif's first base, from 0. Centred by default: ``length // 2 - width // 2``.
    alphabet : sequence of str, default A, C, G, T
        How to read a motif that is a string.
    func : callable, default predict
        Called as ``func(model, X, **kwargs)``, twice: `deep_lift_shap`, `saturation_mutagenesis`, or your
        own, with any result.
    additional_func_kwargs : dict, optional
        More keyword arguments of `func`, for names that this function uses itself.
    **kwargs
        Keyword arguments of `func`, such as ``args``, ``device`` and ``batch_size`` of `predict`.

    Returns
    -------
    Marginalization
        ``y_before`` and ``y_after``, each as `func` returns it.

    Raises
    ------
    MarginomeError
        Input that is not one-hot or empty, a motif that does not fit or is on another device; with `predict`, a model
        whose output for a sequence depends on the others of its batch.

    See Also
    --------
    marginalize_many : many motifs, the backgrounds computed once; much faster for a screen.

    Examples
    --------
    >>> y_before, y_after = marginalize(model, X, "GTGACTCATC", device="cpu")  # doctest: +SKIP
    """
    settings = {**kwargs, **(additional_func_kwargs or {})}
    edited = substitute(X, motif, start=start, alphabet=alphabet)
    return Marginalization(func(model, X, **settings), func(model, edited, **settings))


def marginalize_many(
    model: torch.nn.Module,
    X: torch.Tensor,
    motifs: Sequence[str | torch.Tensor | NamedMotif],
    start: int | Sequence[int] | None = None,
    alphabet: Sequence[str] = DNA,
    func: Callable = predict,
    additional_func_kwargs: dict | None = None,
    *,
    engine: str = "auto",
    **kwargs: Any,
) -> Marginalization:
    """Put each of many motifs into the same backgrounds; apply a function before (once) and after each.

    Parameters
    ----------
    model, X, alphabet, func, additional_func_kwargs, **kwargs
        As in `marginalize`.
    motifs : sequence of str, Motif, or torch.Tensor, shape (4, width) or (1, 4, width)
        m motifs, of any widths; the consensus of a `Motif` (of `read_motifs`). A tensor ``(m, 4, width)`` is m
        motifs too.
    start : int or sequence of int, optional
        Position of the first base: one for all motifs, or one per motif. Each is centred by default.
    engine : {"auto", "incremental", "full"}, default "auto"
        With `predict`, whether only what a motif changes is computed (`marginome.incremental`): "auto" does
        so from 256 (motif, background) pairs on, where the model allows it; "full" never does.

    Returns
    -------
    Marginalization
        ``y_before`` as `func` returns it, ``(n, ...)``; ``y_after`` with an axis for the motifs before it,
        ``(m, n, ...)``, on the CPU.

    Raises
    ------
    MarginomeError
        As in `marginalize`, naming the motif; no motif; another number of starts than of motifs.
    """
    validate_one_hot(X, "X")
    if isinstance(motifs, str) or len(motifs) == 0:
        found = f"the string {motifs!r}" if isinstance(motifs, str) else "none"
        raise MarginomeError(f"expected a sequence of motifs, found {found}", where="motifs")
    inserts = []
    for i, motif in enumerate(motifs):
        insert = encode_insert(motif, alphabet, name=f"motifs[{i}]")
        if len(insert) != 1:
            raise MarginomeError(
                f"expected one motif (4, width), found {len(insert)}",
                where=f"motifs[{i}]",
                remedy="One motif per background is marginalize's.",
            )
        if isinstance(motif, torch.Tensor) and motif.device != X.device:
            raise MarginomeError(f"it is on {motif.device}, X is on {X.device}", where=f"motifs[{i}]")
        inserts.append(insert[0])
    given = list(start) if isinstance(start, Sequence) else [start] * len(inserts)
    if len(given) != len(inserts):
        raise MarginomeError(f"{len(given)} starts for {len(inserts)} motifs", where="start")
    starts = [
        insert_start(X.shape[-1], insert.shape[-1], s, name=f"motifs[{i}]")
        for i, (insert, s) in enumerate(zip(inserts, given))
    ]
    edits = Edits.stack([insert.cpu() for insert in inserts], starts)
    return _before_and_after(model, X, edits, func, {**kwargs, **(additional_func_kwargs or {})}, engine)


def marginalize_annotations(
    model: torch.nn.Module,
    X: torch.Tensor,
    X0: torch.Tensor,
    annotations: torch.Tensor,
    start: int | None = None,
    func: Callable = predict,
    additional_func_kwargs: dict | None = None,
    *,
    engine: str = "auto",
    **kwargs: Any,
) -> Marginalization:
    """Put the sequence of each annotation, alone, into all backgrounds; apply a function before and after.

    Whether a seqlet drives a prediction by itself, or only where it was found.

    Parameters
    ----------
    model, func, additional_func_kwargs, engine, **kwargs
        As in `marginalize_many`.
    X : torch.Tensor, shape (n, 4, length)
        One-hot sequences that the annotations are in.
    X0 : torch.Tensor, shape (n0, 4, length0)
        One-hot backgrounds.
    annotations : torch.Tensor, shape (m, 3)
        Rows ``example_idx, start, end`` (0-based, end not included), as seqlet callers give them.
    start : int, optional
        Where in the backgrounds; each is centred by default.

    Returns
    -------
    Marginalization
        ``y_before`` and ``y_after`` as `func` returns them with an axis for the annotations before it,
        ``(m, n0, ...)``. The backgrounds are computed once: ``y_before`` is one array, shown m times.

    Raises
    ------
    MarginomeError
        No annotations, annotations outside `X` (says which), one that is all N, and as in `marginalize`.
    """
    validate_one_hot(X, "X")
    validate_one_hot(X0, "X0")
    spans = _check_annotations(annotations, X)
    if X.device != X0.device:
        raise MarginomeError(f"it is on {X0.device}, X is on {X.device}", where="X0")
    inserts = [X[i, :, a:b].to("cpu", torch.int8) for i, a, b in spans]
    blank = [i for i, insert in enumerate(inserts) if not insert.any()]
    if blank:
        raise MarginomeError("it covers only unknown bases (N)", where=f"annotations[{blank[0]}]")
    starts = [
        insert_start(X0.shape[-1], insert.shape[-1], start, name=f"annotations[{i}]")
        for i, insert in enumerate(inserts)
    ]
    settings = {**kwargs, **(additional_func_kwargs or {})}
    before, after = _before_and_after(model, X0, Edits.stack(inserts, starts), func, settings, engine)
    shown = map_structure(lambda y: y.expand(len(spans), *y.shape), before)
    return Marginalization(shown, after)


def _check_annotations(annotations: torch.Tensor, X: torch.Tensor) -> list[tuple[int, int, int]]:
    """Return annotations as int tuples after checking shape and ranges."""
    if not isinstance(annotations, torch.Tensor):
        annotations = torch.tensor(annotations)  # a copy: columns of a table may not be writable
    if annotations.ndim != 2 or annotations.shape[1] != 3:
        raise MarginomeError(
            f"expected (m, 3): example_idx, start, end; found {tuple(annotations.shape)}", where="annotations"
        )
    if not (annotations == annotations.round() if annotations.is_floating_point() else torch.tensor(True)).all():
        raise MarginomeError("expected whole numbers: example_idx, start, end", where="annotations")
    if len(annotations) == 0:
        raise MarginomeError("there is none", where="annotations")
    spans = [tuple(int(v) for v in row) for row in annotations.tolist()]
    for i, (example, a, b) in enumerate(spans):
        if not 0 <= example < len(X):
            raise MarginomeError(f"example_idx {example}, but X has {len(X)} sequences", where=f"annotations[{i}]")
        if not 0 <= a < b <= X.shape[-1]:
            raise MarginomeError(
                f"start {a} and end {b} are no span of a sequence of {X.shape[-1]} bp", where=f"annotations[{i}]"
            )
    return spans


def _before_and_after(
    model: torch.nn.Module, X: torch.Tensor, edits: Edits, func: Callable, settings: dict, engine: str
) -> Marginalization:
    """Return `func` on the backgrounds, ``(n, ...)``, and after each edit, ``(m, n, ...)``."""
    m, n = len(edits.starts), len(X)
    if func is predict and engine != "full":
        chosen = _engine_settings(model, **settings)
        if chosen is not None and (
            engine != "auto" or engine_pays(model, X, check_args(chosen["args"], n), m * n, chosen["device"])
        ):
            return _with_engine(model, X, edits, engine=engine, **chosen)
    before = func(model, X, **settings)
    after = None
    for i in range(m):
        one = edits.take(torch.full((n,), i))
        y = func(model, one.apply(X), **settings)
        if after is None:
            after = map_structure(lambda t: t.new_empty(m, *t.shape), y)
        map_structure(lambda all_, t, i=i: all_[i].copy_(t), after, y)
    return Marginalization(before, after)


def _engine_settings(
    model: torch.nn.Module,
    args: Sequence[torch.Tensor] | None = None,
    func: Callable | None = None,
    batch_size: int | str = 32,
    dtype: torch.dtype | str | None = None,
    device: str | torch.device | None = None,
    verbose: bool = False,
) -> dict | None:
    """Translate `predict`'s settings into the engine's; None if the engine does not have them."""
    weights = model_dtype(model)
    wanted = weights if dtype is None else torch_dtype(dtype)
    if wanted not in (weights, torch.bfloat16):
        return None
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if wanted == torch.bfloat16 and weights != torch.bfloat16:
        precision = "bfloat16"
    elif device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        precision = "tf32"  # what a plain call of the model does in this session
    else:
        precision = "float32"
    return {"args": args, "post": func, "device": device, "precision": precision, "verbose": verbose}


def _with_engine(
    model: torch.nn.Module,
    X: torch.Tensor,
    edits: Edits,
    *,
    args: Sequence[torch.Tensor] | None,
    post: Callable | None,
    device: torch.device,
    precision: str,
    verbose: bool,
    engine: str,
) -> Marginalization:
    """Compute before and after with the engine; `post` is predict's `func`, applied to each part on the device."""
    m, n = len(edits.starts), len(X)
    runner = Engine(model, X, check_args(args, n), device=device, precision=precision, engine=engine)
    before = runner.before if post is None else post(runner.before)
    check_finite(before)
    before = map_structure(torch.Tensor.cpu, before)
    after = map_structure(lambda t: t.new_empty(m, *t.shape), before)
    with tqdm(total=m * n, disable=not verbose, unit="pair", desc="marginalize") as bar:
        for some, which, y in runner.run(edits):
            if post is not None:
                k, b = some.stop - some.start, which.stop - which.start
                y = post(map_structure(lambda t: t.flatten(0, 1), y))
                y = map_structure(lambda t, k=k, b=b: t.unflatten(0, (k, b)), y)
            check_finite(y, first=which.start, dim=1)
            map_structure(lambda all_, t, s=some, w=which: all_[s, w].copy_(t), after, y)
            bar.update((some.stop - some.start) * (which.stop - which.start))
    return Marginalization(before, after)
