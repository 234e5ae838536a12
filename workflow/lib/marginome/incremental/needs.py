"""Which positions of a tensor the outputs depend on at all: nothing is computed at others.

A model that crops (BPNet's heads see the middle of what its padded layers compute) gives an edit near an end a cone of
changes that mostly lies outside what is read: of a saturation mutagenesis of BPNet's counts over 2,114 bp, an eighth of
the products and a quarter of all positions.
"""

from __future__ import annotations

from torch import fx

from .capture import SEQUENCE, Graph
from .nodes import name_of
from .registry import RULES, in_place

# The axis that is meant: of feature maps (n, channels, positions) the positions.
LAST_AXIS = 2


def needed_spans(graph: Graph) -> dict[fx.Node, tuple[int, int]]:
    """Return the span of the last axis that outputs depend on, of each tensor ``(n, channels, positions)``.

    Outside its span a node's values (and differences) do not matter, whatever they are: every operation between it and
    an output is known to read no more (`Rule.reads`). Nodes of other shapes, and what operations without such a rule
    read, are needed whole; they are missing here, or have their whole length.
    """
    needed: dict[fx.Node, tuple[int, int]] = {}
    outputs = {output for output in graph.outputs if isinstance(output, fx.Node)}
    for node in reversed(graph.nodes):
        if graph.kind[node] != SEQUENCE:
            continue
        length = _length(graph, node)
        if length is not None and (node in outputs or node not in needed):
            needed[node] = 0, length
        for source in node.all_input_nodes:
            positions = _length(graph, source)
            if graph.kind[source] != SEQUENCE or positions is None:
                continue
            found = None if length is None else _reads(node, source, length == positions, needed[node])
            lo, hi = found or (0, positions)
            before = needed.get(source, (lo, hi))
            needed[source] = max(0, min(lo, before[0])), min(positions, max(hi, before[1]))
    return needed


def _length(graph: Graph, node: fx.Node) -> int | None:
    shape = graph.shape.get(node, ())
    return shape[-1] if len(shape) == LAST_AXIS else None


def _reads(node: fx.Node, source: fx.Node, same_length: bool, span: tuple[int, int]) -> tuple[int, int] | None:
    rule = RULES.get(name_of(node))
    if rule is None or rule.reads is None:
        return None
    # Of several arguments, what is as long as the result lies beside it; what is read otherwise comes first.
    if not (same_length if rule.reads is in_place else source is node.args[0]):
        return None
    return rule.reads(node, *span)
