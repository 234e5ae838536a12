"""Every operation of PyTorch that takes real numbers, in a small model: exact, named, or refused; never silently wrong.

    python tests/checks/every_operation.py            # all of them, two minutes
    python tests/checks/every_operation.py addcmul_   # some, with what came out

Arguments are made from an operation's schema. What has none here (sparse, quantized, complex ...) is counted. On a
part of a tensor, an operation in place is compared with the same on a copy of that part. Of what fails the fewest
sequences, positions and channels are printed.
"""

from __future__ import annotations

import argparse
import collections
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

import seeds_in_turn
from marginome import MarginomeError, deep_lift_shap, random_one_hot
from marginome.attribution import AttributionsDeltas

EXACT = 1e-9
TWIN = 1e-12  # an operation in place and the same out of place

# What operations are given, as a function of a feature map (n, channels, positions).
DOMAINS: dict[str, Callable[[Tensor], Tensor]] = {
    "real": lambda h: h * 1.0,
    "between 0 and 1": lambda h: h.sigmoid() * 0.8 + 0.1,
    "with zeros": lambda h: h.relu(),
}
SKIPPED = ("sparse", "quant", "nested", "_foreach", "fused", "cudnn", "miopen", "mkldnn", "fft_", "conv",
           "rnn", "lstm", "gru", "embedding", "complex", "angle", "conj", "dropout", "random", "normal", "bernoulli",
           "rand",
           "uniform", "cauchy", "geometric", "exponential_", "poisson", "multinomial", "backward", "linalg_",
           "set_", "resize", "requires_grad", "retain_grad", "record_stream", "rename", "functional",
           "storage", "pin_memory", "cholesky", "svd", "lu_solve", "lu_unpack", "ctc", "stft", "istft", "view_as_real",
           "fbgemm", "to_mkldnn", "histogram", "flash", "attention", "group_norm",
           "batch_norm", "gradient", "vander", "from_file", "data_",
           "special_", "padded", "to_dense", "tensor_split",  "triplet", "sym_", "lstsq", "ormqr", "geqrf")  # fmt: skip


class Size(NamedTuple):
    """Of the model and of what it is given."""

    n: int = 2
    references: int = 2
    length: int = 8
    channels: int = 6

    def smaller(self) -> Iterator[Size]:
        """Yield sizes that are a little smaller."""
        for name, value in self._asdict().items():
            for less in {value // 2, value - 1} - {0}:
                yield self._replace(**{name: less})


class Outcome(NamedTuple):
    """What came of one operation: "exact", "named", "refused", or what is wrong."""

    kind: str
    detail: str = ""
    attributions: Tensor | None = None


class Model(torch.nn.Module):
    """A convolution, an operation, a fixed weighted sum."""

    def __init__(self, between: Callable[[Tensor], Any], domain: str, channels: int):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(channels, 4, 3, generator=generator, dtype=torch.float64) * 0.7)
        self.between, self.domain = between, DOMAINS[domain]

    def forward(self, X: Tensor) -> Tensor:
        h = torch.nn.functional.conv1d(X, self.weight, padding=1)
        results = _tensors(self.between(self.domain(h)))
        found = [t for t in results if t.is_floating_point() and t.ndim and len(t) == len(X)]
        if not found:
            raise LookupError("no real numbers of each sequence come out")
        flat = torch.cat([t.reshape(len(X), -1).to(X.dtype) for t in found], 1)
        weights = torch.arange(1, flat.shape[1] + 1, dtype=X.dtype).mul(2.7).cos()
        return (flat * weights).sum(1, keepdim=True)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for v in value for t in _tensors(v)] if isinstance(value, tuple | list) else []


def inputs(size: Size) -> tuple[Tensor, Tensor]:
    """Return sequences and references; the second reference has a stretch of its sequence in common."""
    n, refs, length, _ = size
    X = random_one_hot((n, 4, length), random_state=0)
    references = random_one_hot((n * refs, 4, length), random_state=1).view(n, refs, 4, length).clone()
    references[:, 1:2, :, 2:6] = X[:, None, :, 2:6]
    return X, references


def attributed(between: Callable[[Tensor], Any], domain: str, size: Size) -> Outcome:
    """Attribute a model with an operation in it, in float64."""
    X, references = inputs(size)
    model = Model(between, domain, size.channels)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = deep_lift_shap(model, X, references=references, hypothetical=True, return_deltas=True, device="cpu")
        except MarginomeError as error:
            return Outcome("refused", str(error))
    assert isinstance(found, AttributionsDeltas)
    said = " ".join(str(w.message) for w in caught)
    finite = bool(found.attributions.isfinite().all())
    worst = float(found.deltas.max())
    if finite and worst <= EXACT * max(1.0, float(found.attributions.abs().max())):
        return Outcome("named" if "no DeepLIFT rule" in said else "exact", said, found.attributions)
    if "no DeepLIFT rule" in said:
        return Outcome("named", said, found.attributions)
    kind = "WRONG" if finite else "NOT FINITE"
    return Outcome(kind, f"delta {worst:.2g}; said: {said[:100]!r}", found.attributions)


# ------------------------------------------------------------------------------------------- arguments from a schema
def calls(name: str, overload: str, schema: Any) -> Iterator[tuple[str, Callable[[Tensor], Any]]]:
    """Yield (description, function of the feature map) of ways to call an operation by its schema."""
    operation = getattr(getattr(torch.ops.aten, name), overload or "default")
    tensors = [a for a in schema.arguments if "Tensor" in str(a.type) and "out" not in a.name]
    styles = ["each depends"] if len(tensors) < 2 else ["each depends", "first depends", "own mask", "last depends"]
    for style in styles:
        for ints in ((-1,), (2,), (1,), (-1, -2)):

            def call(h: Tensor, style: str = style, ints: tuple = ints) -> Any:
                given, options, seen = [], {}, 0
                for argument in schema.arguments:
                    kind = str(argument.type)
                    if "Tensor" in kind:
                        if argument.has_default_value() and kind.startswith("Optional"):
                            value: Any = None
                        else:
                            value = _tensor(argument.name, h, seen, style, len(tensors))
                            if argument.name == "index" and name.startswith("index_"):
                                value = value[0, 0]  # of one axis
                            value = [value, value.flip(1)] if kind.startswith("List") else value
                        seen += 1
                    elif argument.has_default_value() and not (
                        argument.default_value is None and "dim" in argument.name
                    ):
                        if argument.kwarg_only:
                            continue
                        value = argument.default_value
                    else:
                        value = _number(argument.name, kind, ints, h)
                    if argument.kwarg_only:
                        options[argument.name] = value
                    else:
                        given.append(value)
                return operation(*given, **options)

            yield f"{style}, {ints}", call


def _tensor(name: str, h: Tensor, which: int, style: str, n: int) -> Tensor:
    if "index" in name or name == "indices":
        return torch.arange(h.shape[-1]).flip(0).expand(h.shape).contiguous()
    if "mask" in name or name == "condition":
        return (h > 0.2) if style == "own mask" else (torch.arange(h.shape[-1]) % 2 == 0).expand(h.shape)
    depends = {"first depends": which == 0, "last depends": which == n - 1}.get(style, True)
    if style == "own mask" and which:
        return (h > 0.3).to(h.dtype)
    value = h.roll(which, 1) * (1 + 0.1 * which) if which else h
    if depends:
        return value
    return torch.linspace(0.3, 0.9, value[0].numel(), dtype=h.dtype).view(value[0].shape).expand(h.shape).contiguous()


def _number(name: str, kind: str, ints: tuple, h: Tensor) -> Any:
    if name in ("dtype", "layout", "memory_format"):
        raise LookupError(name)
    if kind.startswith("Optional") and not ("dim" in name or "min" in name):
        return None
    if "List[int]" in kind or "List[SymInt]" in kind or "SymInt[]" in kind:
        if "size" in name and "kernel" not in name:
            return list(h.shape)
        return list(ints) if "dim" in name else [2]
    if "bool" in kind:
        return False
    if "int" in kind.lower():
        return ints[0]
    if "number" in kind.lower() or "Scalar" in kind or "float" in kind:
        return 0.7
    if "str" in kind:
        return "none"
    raise LookupError(f"no {kind}")


def operations() -> list[tuple[str, str, Any]]:
    """Return (name, overload, schema) of the operations that may take real numbers and return them."""
    found = []
    for schema in torch._C._jit_get_all_schemas():
        space, _, name = schema.name.partition("::")
        takes = any("Tensor" in str(a.type) for a in schema.arguments)
        gives = any("Tensor" in str(r.type) for r in schema.returns)
        out = any(a.alias_info is not None and a.alias_info.is_write and a.kwarg_only for a in schema.arguments)
        plain = space == "aten" and not name.startswith("_") and not any(part in name for part in SKIPPED)
        if plain and takes and gives and not out:
            found.append((name, schema.overload_name, schema))
    return sorted(found, key=lambda f: f[:2])


def check(name: str, overload: str, schema: Any, domains: Sequence[str] = tuple(DOMAINS)) -> list[tuple[str, Outcome]]:
    """Return (how it was called, outcome) for the ways in which an operation can be called at all."""
    found = []
    mutates = name.endswith("_") and not name.endswith("__")
    for domain in domains:
        reached: set[str] = set()
        for how, call in calls(name, overload, schema):
            style = how.split(",")[0]
            if style in reached:
                continue
            if not _is_a_model(call, domain, Size()):
                continue
            reached.add(style)
            outcome = _whole(call, domain, Size())
            found.append((f"{domain}, {how}", _shrunk(outcome, _whole, call, domain)))
            if mutates and outcome.attributions is not None:
                outcome = _on_a_part(call, domain, Size())
                found.append((f"{domain}, {how}, on a part", _shrunk(outcome, _on_a_part, call, domain)))
    return found


def _shrunk(outcome: Outcome, judge: Callable[..., Outcome], call: Callable[[Tensor], Any], domain: str) -> Outcome:
    """Return what is wrong at its smallest; what is not as it is."""
    if not outcome.kind.isupper():
        return outcome

    def fault(size: Size) -> str:
        tried = judge(call, domain, size) if _is_a_model(call, domain, size) else Outcome("no model")
        return f"{size}: {tried.kind}: {tried.detail}" if tried.kind.isupper() else ""

    return Outcome(outcome.kind, seeds_in_turn.smallest(Size(), Size.smaller, fault, seconds=20)[1])


def _is_a_model(call: Callable[[Tensor], Any], domain: str, size: Size) -> bool:
    """Tell whether an operation takes these arguments, and does not mix the sequences of a batch."""
    model, (X, references) = Model(call, domain, size.channels), inputs(size)
    X = torch.cat([X, references.flatten(0, 1)[:3]]).double()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            together, alone = model(X), torch.cat([model(x[None]) for x in X])
            return bool(torch.isclose(together, alone, equal_nan=True).all())
    except Exception:
        return False


def _whole(call: Callable[[Tensor], Any], domain: str, size: Size) -> Outcome:
    try:
        return attributed(call, domain, size)
    except Exception as error:
        return Outcome("CRASH", f"{type(error).__name__}: {str(error)[:150]}")


def _on_a_part(call: Callable[[Tensor], Any], domain: str, size: Size) -> Outcome:
    """Compare an operation in place on a part of a tensor with the same on a copy of the part."""

    def inside(h: Tensor) -> Any:
        whole = torch.cat([h, h.tanh()], 1)
        y = call(whole[:, : h.shape[1]])
        return [whole.sin(), y * 1.0]

    def outside(h: Tensor) -> Any:
        copy = h.clone()
        y = call(copy)
        copy = copy if copy.shape == h.shape else h  # unsqueeze_ and the like turn the view alone
        return [torch.cat([copy, h.tanh()], 1).sin(), y * 1.0]

    try:
        a, b = attributed(inside, domain, size), attributed(outside, domain, size)
    except Exception as error:
        return Outcome("CRASH", f"{type(error).__name__}: {str(error)[:150]}")
    if a.kind == b.kind == "exact" and a.attributions is not None and b.attributions is not None:
        gap = float((a.attributions - b.attributions).abs().max())
        if not gap <= TWIN * max(1.0, float(b.attributions.abs().max())):
            return Outcome("UNLIKE ITS TWIN", f"{gap:.2g}")
    return a


def main() -> None:
    """Print what is wrong, and how many are not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="operations; all by default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    counts: collections.Counter[str] = collections.Counter()
    wrong = 0
    for name, overload, schema in operations():
        if options.names and name not in options.names:
            continue
        outcomes = check(name, overload, schema)
        counts["not called" if not outcomes else "called"] += 1
        told = 0
        for how, outcome in outcomes:
            counts[outcome.kind] += 1
            bad = outcome.kind.isupper()
            wrong, told = wrong + bad, told + bad
            if (told == 1 and bad) or options.names:  # the first way to call it is the plainest
                print(f"{name}.{overload or 'default'} ({how}): {outcome.kind}: {outcome.detail}", flush=True)
    print(dict(counts))
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
