"""One rule per operation: which span of its output a change can reach, and how to compute it there.

A rule is called once per plan as ``rule(plan, node)`` with a node at least one of whose inputs changed. It returns the
node's `Change` (None if the change cannot reach it), or raises `NeedsEverythingError` (also by way of `Plan.window` and
`Plan.constant`), and the operation is then computed on whole sequences, which is always right. Importing this package
fills the registry under the plan (`marginome.incremental.registry`); ``docs/engine.md`` shows how to add a rule.
"""

from . import axes, convolutions, dense, elements, pooling, shapes

__all__ = ["axes", "convolutions", "dense", "elements", "pooling", "shapes"]
