"""Programs of ``torch.export`` (.pt2): vetted as data, then loaded.

A .pt2 file is an archive of JSON and pickles, and PyTorch's loader evaluates strings of the JSON (sizes,
guards), resolves names of functions and unpickles. So the archive is read first, as text and as pickle
opcodes, and refused when it holds anything that a convolutional or attention model has no need of.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from marginome.errors import MarginomeError
from marginome.models.pickles import damaged_weights, names_of_pickles, plain_names

_TARGETS = re.compile(r"torch\.ops\.(aten|prims|higher_order)\.\w+(\.\w+)?|_operator\.\w+|math\.\w+|torch\.sym_\w+")
_NAME = re.compile(r"[\w.\[\]'-]*")
_SPEC_TYPES = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
_EXPRESSION = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Name, ast.Constant, ast.Subscript,
    ast.Attribute, ast.keyword, ast.operator, ast.unaryop, ast.cmpop, ast.boolop, ast.expr_context,
)  # fmt: skip
_FUNCTIONS = {
    "Symbol", "Integer", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CleanDiv",
    "CeilDiv", "IntTrueDiv", "ModularIndexing", "TruncToInt", "floor", "ceiling", "Abs", "Eq", "Ne", "Ge", "Gt", "Le",
    "Lt", "And", "Or", "Not",
}  # fmt: skip


def is_exported(path: str) -> bool:
    """Whether a file is one that ``torch.export.save`` wrote."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return any(name.endswith(("archive_format", "serialized_exported_program.json")) for name in names)


def load_exported(path: str, trusted: bool, where: str) -> nn.Module:
    """Load an exported program as a module that has modes and can be copied, as any other.

    Parameters
    ----------
    path : str
        Written by ``torch.export.save``.
    trusted : bool
        Skip the vetting (``trust_pickle: true``).
    where : str
        For messages.

    Raises
    ------
    MarginomeError
        When the archive holds what could run code, is damaged, or is of another PyTorch.
    """
    if not is_exported(path):
        raise MarginomeError(
            "this is not a file of torch.export.save",
            where=where,
            remedy="Give the loader that fits it, or leave loader out.",
        )
    if not trusted:
        for found in suspicious(path):
            raise MarginomeError(
                f"the exported program holds what could run code ({found}); it was not loaded",
                where=where,
                remedy="Give its weights as a state dict instead. Only if you trust where the file is from: "
                "trust_pickle: true.",
            )
    try:
        program = torch.export.load(path).module()
        # the exported module forbids train() and eval(); its graph, which has its mode from the export, does not
        return torch.fx.GraphModule(program, program.graph)
    except MemoryError:
        raise
    except Exception as error:
        text = str(error).strip().splitlines()
        raise MarginomeError(
            f"the exported program cannot be loaded ({type(error).__name__}: {text[0] if text else ''})",
            where=where,
            remedy=f"It may be damaged, or of another PyTorch: export it again with PyTorch {torch.__version__}.",
        ) from error


def suspicious(path: str) -> Iterator[str]:
    """Yield what in an archive could run code when PyTorch loads it; nothing for an ordinary program."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                content = archive.read(member)
                file = member.rsplit("/", 1)[-1]
                if file.startswith(("custom_obj", "opaque_obj")):
                    yield f"the object {file}"
                elif file.endswith(".json"):
                    text = content.decode()
                    if "__enum__" in text or "default_factory" in text:
                        yield f"a class named in {file}"
                    yield from _in_json(json.loads(text), file)
                elif content[:2] == b"PK" or content[:1] == b"\x80":
                    foreign = sorted(names_of_pickles(io.BytesIO(content), path) - set(plain_names()))
                    if foreign:
                        yield f"{foreign[0]} in the pickle {file}"
    except (zipfile.BadZipFile, UnicodeDecodeError, json.JSONDecodeError, EOFError, KeyError) as error:
        raise damaged_weights(path, error) from error


def _in_json(value: Any, key: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "metadata":  # traces and names for people
                continue
            if name == "range_constraints" and not all(re.fullmatch(r"\w+", symbol) for symbol in item):
                yield "a symbol that is no name"
            yield from _in_json(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _in_json(item, key)
    elif isinstance(value, str):
        if key == "target" and not _TARGETS.fullmatch(value):
            yield f"the operation {value[:60]}"
        elif key in ("expr_str", "guards_code") and not _is_arithmetic(value):
            yield f"the expression {value[:60]}"
        elif key == "name" and not _NAME.fullmatch(value):
            yield f"the name {value[:60]}"
        elif key in ("in_spec", "out_spec") and value and not _is_plain_spec(json.loads(value)):
            yield f"a structure of unknown type in {key}"


def _is_arithmetic(text: str) -> bool:
    """Whether an expression is arithmetic and comparison of sizes, so that evaluating it can do nothing else."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError):
        return False
    for node in nodes:
        if not isinstance(node, _EXPRESSION):
            return False
        if isinstance(node, ast.Attribute) and node.attr != "size":
            return False
        if isinstance(node, ast.Name) and not re.fullmatch(r"L|[suz]\d+|True|False", node.id):
            if node.id not in _FUNCTIONS:
                return False
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not re.fullmatch(r"\w+", node.value):
            return False
    return True


def _is_plain_spec(value: Any) -> bool:
    """Whether a structure is made of tuples, lists and dicts with plain keys."""
    if isinstance(value, dict):
        if "type" in value and value["type"] not in _SPEC_TYPES:
            return False
        return all(_is_plain_spec(item) for item in value.values())
    if isinstance(value, list):
        return all(_is_plain_spec(item) for item in value)
    if isinstance(value, str):
        return bool(re.fullmatch(r"[\w.\s\[\]\",-]*", value))
    return True
