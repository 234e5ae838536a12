"""Effect measures: what a motif changed, as a number per background (and target).

An effect measure is any function ``(before, after) -> effect`` on tensors whose first axis is the
background; its result keeps that axis. Pass your own wherever a measure of this module goes.

With ``batch_dims=2`` the first two axes are kept instead, e.g. ``(motif, background, ...)``. `before` and
`after` broadcast, so one ``(n, ...)`` before serves ``(motif, n, ...)`` afters.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from marginome.errors import MarginomeError, unknown_name

Measure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def difference(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Return ``after - before``, elementwise: the measure for outputs on a logit or log scale.

    Parameters
    ----------
    before, after : torch.Tensor, shape (n, ...)
        Output without and with the motif.

    Returns
    -------
    torch.Tensor, shape (n, ...)
        In the unit of the output.
    """
    _same_output(before, after)
    return after - before


def log2_fold_change(before: torch.Tensor, after: torch.Tensor, pseudocount: float = 1.0) -> torch.Tensor:
    """Return ``log2((after + pseudocount) / (before + pseudocount))``, elementwise.

    For outputs on a linear scale, such as counts. Outputs on a log scale want `difference`.

    Parameters
    ----------
    before, after : torch.Tensor, shape (n, ...)
        At least 0.
    pseudocount : float, default 1.0
        In the unit of the output; keeps ratios of small values finite.

    Returns
    -------
    torch.Tensor, shape (n, ...)
        In doublings.

    Raises
    ------
    MarginomeError
        For negative values, or zeros with a pseudocount of 0.
    """
    _same_output(before, after)
    lowest = min(before.min().item(), after.min().item())
    if pseudocount < 0 or lowest < 0 or lowest + pseudocount <= 0:
        raise MarginomeError(
            f"the lowest value is {lowest:g} and the pseudocount {pseudocount:g}; a fold change wants values of at "
            "least 0 and a sum above 0",
            where="log2_fold_change",
            remedy="Use difference for outputs on a log or logit scale.",
        )
    return torch.log2(after + pseudocount) - torch.log2(before + pseudocount)


def euclidean(before: torch.Tensor, after: torch.Tensor, *, batch_dims: int = 1) -> torch.Tensor:
    """Return the Euclidean distance between whole outputs, over everything but the backgrounds.

    Parameters
    ----------
    before, after : torch.Tensor, shape (n, ...)
        For example ``(n, targets)`` or ``(n, strands, length)``.
    batch_dims : int, default 1
        Leading axes to keep.

    Returns
    -------
    torch.Tensor, shape (n,)
        At least 0, in the unit of the output.
    """
    _same_output(before, after)
    change = after - before
    return torch.linalg.vector_norm(change.reshape(*change.shape[:batch_dims], -1), dim=-1)


def jensen_shannon_distance(
    before: torch.Tensor, after: torch.Tensor, *, logits: bool = True, softmax: str = "both", batch_dims: int = 1
) -> torch.Tensor:
    """Return the Jensen-Shannon distance between profiles, base 2: 0 for equal ones, 1 for disjoint ones.

    The square root of the mean Kullback-Leibler divergence of the two profiles from their average
    (Lin 1991, IEEE Trans. Inf. Theory 37:145; Endres and Schindelin 2003, ibid. 49:1858). Computed in
    float64, since it is a small difference of large terms for similar profiles.

    Parameters
    ----------
    before, after : torch.Tensor, shape (n, strands, length) or (n, length)
        Profiles as the model returns them.
    logits : bool, default True
        Whether the values are logits; otherwise probabilities or any values of at least 0, which are
        divided by their sum.
    softmax : {"both", "strand"}, default "both"
        What one distribution is: all strands together (models of bpnet-lite), or each strand.
    batch_dims : int, default 1
        Leading axes to keep.

    Returns
    -------
    torch.Tensor, float64
        Shape ``(n,)`` for "both", ``(n, strands)`` for "strand".

    Raises
    ------
    MarginomeError
        Negative or all-zero profiles when `logits` is false, or another word for `softmax`.
    """
    if softmax not in ("both", "strand"):
        raise unknown_name("choice", softmax, ("both", "strand"), where="softmax")
    _same_output(before, after)
    output_dims = max(before.ndim, after.ndim) - batch_dims
    logs = []
    for name, profile in (("before", before), ("after", after)):
        profile = profile.double()
        if softmax == "both":
            profile = profile.reshape(*profile.shape[: profile.ndim - output_dims], -1)
        if logits:
            logs.append(profile.log_softmax(dim=-1))
            continue
        total = profile.sum(dim=-1, keepdim=True)
        if (profile < 0).any() or (total <= 0).any():
            raise MarginomeError(
                "a profile of probabilities has values of at least 0 and a sum above 0",
                where=name,
                remedy="Pass logits=True for logits.",
            )
        logs.append((profile / total).log())
    log_p, log_q = torch.broadcast_tensors(*logs)
    log_m = torch.logaddexp(log_p, log_q)  # of twice the average
    p, q = log_p.exp(), log_q.exp()
    # 0 log 0 is 0; xlogy cannot be used, since the logarithms are what is known exactly.
    terms = torch.where(p > 0, p * (log_p - log_m), 0.0) + torch.where(q > 0, q * (log_q - log_m), 0.0)
    divergence = 1 + terms.sum(dim=-1) / (2 * torch.log(torch.tensor(2.0, dtype=torch.float64)))
    return divergence.clamp(0, 1).sqrt()


def _same_output(before: torch.Tensor, after: torch.Tensor) -> None:
    for name, value in (("before", before), ("after", after)):
        if not isinstance(value, torch.Tensor):
            raise MarginomeError(
                f"expected a tensor, found {type(value).__name__}",
                where=name,
                remedy="Apply the measure to each output of a model with several.",
            )
    if before.device != after.device:
        raise MarginomeError(f"before is on {before.device}, after on {after.device}", where="before, after")
    try:
        torch.broadcast_shapes(before.shape, after.shape)
    except RuntimeError:
        raise MarginomeError(
            f"before is {tuple(before.shape)}, after is {tuple(after.shape)}", where="before, after"
        ) from None


# By the names that configurations and tables use.
MEASURES: dict[str, Measure] = {
    "difference": difference,
    "log2_fold_change": log2_fold_change,
    "euclidean": euclidean,
    "jensen_shannon_distance": jensen_shannon_distance,
}
