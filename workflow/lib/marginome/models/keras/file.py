"""What is in a Keras file: its model, or a part of it, with the inputs and outputs that are known by their names."""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Mapping
from typing import Any

from torch import nn

from marginome.bounded import ARCHITECTURE
from marginome.errors import MarginomeError
from marginome.hdf5 import Contents, Request, read_foreign_hdf5
from marginome.models.arguments import Argument
from marginome.models.bpnet import ChromBPNet
from marginome.models.built import Built
from marginome.models.keras.archive import read_archive
from marginome.models.keras.graph import MODELS, Graph, InKerasOrder
from marginome.models.keras.weights import ArchiveWeights, Weights
from marginome.models.outputs import Output
from marginome.models.wrappers import StrandedHead
from marginome.textfiles import read_text

# What a damaged architecture runs into where it is read; each becomes one line that names the file.
_DAMAGE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, AssertionError)
_OLD_SETTINGS = {"nb_filter", "border_mode", "init", "subsample_length"}  # of Keras 1 and before


def load(file: str, bias_file: str | None, settings: Mapping[str, Any], loader: str, where: str) -> Built:
    """Build a model from a Keras .h5 file or a .keras archive.

    Parameters
    ----------
    file : str
        Written by ``model.save`` (.h5 or .keras), or by ``model.save_weights`` with ``architecture`` in `settings`.
    bias_file : str or None
        ChromBPNet's bias model, added to the accessibility model in `file`.
    settings : mapping
        The model's config entry: ``architecture`` and ``component`` are used, and ``input_length`` and
        the shapes under ``arguments`` where the file leaves a length open.
    loader : str
        ``chrombpnet`` and ``bpnet_keras`` want a profile and a count output.
    where : str
        For messages.

    Returns
    -------
    Built
        The module's outputs have Keras' order of axes.
    """
    graph = _read(file, settings, where)
    component = settings.get("component")
    if component is not None:
        graph = _component(graph, component, bias_file is not None, where)
    if bias_file is not None:
        bias = _read(bias_file, _without_architecture(settings), f"{where}: {bias_file}")
        for part, source in ((graph, where), (bias, bias_file)):
            if not _is_bpnet(part) or len(part.outputs) != 2 or part.nested():
                raise MarginomeError("bias_weights join two single ChromBPNet models; this is none", where=str(source))
        for ours, theirs in zip(graph.output_shapes, bias.output_shapes):
            if ours != theirs:
                raise MarginomeError(f"outputs of shape {ours} and, in {bias_file}, {theirs}", where=where)
        module: nn.Module = ChromBPNet(_in_keras_order(graph), _in_keras_order(bias))
    else:
        module = _in_keras_order(graph)
    if loader != "keras" and not _is_bpnet(graph):
        raise MarginomeError(
            f"the loader {loader} wants a profile and a log-count output; found {', '.join(graph.outputs)}",
            where=where,
            remedy="Use loader: keras and name the outputs.",
        )
    sequence = graph.input_shapes[0]
    if len(sequence) != 2 or sequence[1] != 4:
        raise MarginomeError(f"the first input is {sequence}; wanted (length, 4)", where=where)
    return Built(
        module,
        input_length=sequence[0],
        arguments=tuple(_argument(*item) for item in list(zip(graph.inputs, graph.input_shapes))[1:]),
        outputs=_default_outputs(graph),
        positions_first=True,
        stranded=_stranded(graph),
    )


def _stranded(graph: Graph) -> tuple[StrandedHead, ...]:
    """Of a BPNet with log counts for either strand: those change places."""
    if not _is_bpnet(graph):
        return ()
    counts, profile = _default_outputs(graph)
    each = profile.softmax == "strand" and len(counts.names) == 2
    return (StrandedHead((counts.head,), None, 1, (1, 0)),) if each else ()


def _without_architecture(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "architecture"}


def _in_keras_order(graph: Graph) -> nn.Module:
    return InKerasOrder(graph) if any(len(shape) == 2 for shape in graph.output_shapes) else graph


def _argument(name: str, shape: tuple) -> Argument:
    if len(shape) == 2:
        shape = (shape[1], shape[0])
    strands = ("bias" in name or "control" in name) and shape[0] == 2
    flip = ((0,) if strands else ()) + ((1,) if len(shape) == 2 and (strands or shape[0] == 1) else ())
    return Argument(name, shape, flip=flip)


def _default_outputs(graph: Graph) -> tuple[Output, ...]:
    if _is_bpnet(graph):
        profile = next(i for i, name in enumerate(graph.outputs) if "profile" in name)
        counts = next(i for i, name in enumerate(graph.outputs) if "logcount" in name)
        strands = graph.output_shapes[profile][1] if len(graph.output_shapes[profile]) == 2 else 1
        k = graph.output_shapes[counts][0]
        names = ("counts",) if k == 1 else tuple(f"counts_{i + 1}" for i in range(k))
        # basepairmodels: counts per track go with a multinomial loss per track, one count with one over both
        softmax = "strand" if k > 1 and k == strands else "both"
        return (
            Output("counts", head=counts, names=names, unit="log counts", measure="difference"),
            Output(
                "profile", "profile", profile, unit="logits", measure="jensen_shannon_distance", softmax=softmax, bin=1
            ),
        )
    if len(graph.outputs) == 1:
        return (Output(graph.outputs[0], unit="model units"),)
    return ()


def _is_bpnet(graph: Graph) -> bool:
    return any("profile" in name for name in graph.outputs) and any("logcount" in name for name in graph.outputs)


def _component(graph: Graph, component: str, has_bias_file: bool, where: str) -> Graph:
    nested = graph.nested()
    if component == "combined":
        if not nested and not has_bias_file:
            raise MarginomeError("component 'combined': the file holds a single model", where=where)
        return graph
    if nested:
        found = [g for name, g in nested.items() if ("wo_bias" in name) == (component == "accessibility")]
        if len(found) != 1:
            raise MarginomeError(
                f"component '{component}' cannot be told among the parts {', '.join(nested)}", where=where
            )
        return found[0]
    single = "accessibility" if any("wo_bias" in name for name in graph.outputs) else "bias"
    if single != component:
        raise MarginomeError(
            f"component '{component}' was asked for, but by its layer names the file holds the {single} model alone",
            where=where,
        )
    return graph


# ----------------------------------------------------------------------------------------------- reading
def _read(file: str, settings: Mapping[str, Any], where: str) -> Graph:
    if zipfile.is_zipfile(file):
        return _read_archive(file, settings, where)
    contents = read_foreign_hdf5(Request(file), where=where)
    attributes = contents.attributes[""]
    architecture = settings.get("architecture")
    text = attributes.get("model_config") if architecture is None else _text(architecture, where)
    _refuse_old(attributes, None, where)
    if text is None:
        raise MarginomeError(
            "the file holds weights without an architecture, or is no Keras file",
            where=where,
            remedy="Save with model.save(file.h5), or give architecture: the JSON of model.to_json().",
        )
    return graph_of(text, contents, settings, f"{where}, {architecture}" if architecture else where)


def _read_archive(file: str, settings: Mapping[str, Any], where: str) -> Graph:
    if settings.get("architecture") is not None:
        raise MarginomeError(
            "architecture is given, but a .keras archive holds its own", where=where, remedy="Leave architecture out."
        )
    with tempfile.TemporaryDirectory(prefix="marginome-") as folder:
        archive = read_archive(file, folder, where)
    attributes = archive.contents.attributes | {"": {"keras_version": archive.version}}
    contents = Contents(attributes, archive.contents.arrays, archive.contents.shapes)
    return graph_of(archive.text, contents, settings, where, weights=ArchiveWeights(contents, where))


def _text(architecture: str, where: str) -> str:
    try:
        return read_text(architecture, ARCHITECTURE)
    except MarginomeError as error:
        raise MarginomeError(error.what, where=f"{where}: {architecture}", remedy=error.remedy) from error


def graph_of(
    text: Any, contents: Contents, settings: Mapping[str, Any], where: str, *, weights: Weights | None = None
) -> Graph:
    """Build the graph of an architecture with the weights of a file.

    Parameters
    ----------
    text : str
        JSON, as ``model.to_json()`` writes it.
    contents : Contents
        Of the file of weights.
    settings : mapping
        The model's config entry: ``input_length`` and the shapes under ``arguments`` fill what the
        architecture leaves open.
    where : str
        For messages.
    weights : Weights, optional
        How the arrays are found in the file; as in a .h5 file by default.

    Raises
    ------
    MarginomeError
        For whatever cannot be read, and for layers and settings that are not known.
    """
    try:
        config = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise MarginomeError(f"the architecture is no JSON ({_one_line(error)})", where=where) from error
    try:
        _refuse_old(contents.attributes[""], config, where)
        if config.get("class_name") not in MODELS and "layers" not in config.get("config", {}):
            raise MarginomeError(
                f"the architecture is a {config.get('class_name')}; known: Sequential, Model", where=where
            )
        weights = Weights(contents, where) if weights is None else weights
        version = _version(contents.attributes[""], config)
        graph = Graph(config, weights, where, int(version.split(".")[0]) if version else None, entry=settings)
        weights.refuse_unused()
        return graph
    except MarginomeError as error:  # names and settings of a damaged file may be of any length
        raise MarginomeError(_one_line(error.what), where=error.where, remedy=error.remedy) from error
    except _DAMAGE as error:
        raise MarginomeError(
            f"the architecture is damaged, or of an unknown form ({type(error).__name__}: {_one_line(error)})",
            where=where,
            remedy="Save the model again with Keras 2 or 3.",
        ) from error


def _one_line(text: object) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= 300 else f"{line[:297]}..."


def _version(attributes: Mapping[str, Any], config: Any) -> str | None:
    """The version of Keras that wrote the architecture, e.g. "2.12.0", where it is told."""
    told = config.get("keras_version") if isinstance(config, Mapping) else None
    told = told or attributes.get("keras_version")
    return told if isinstance(told, str) and re.match(r"\d+\.", told) else None


def _refuse_old(attributes: Mapping[str, Any], config: Any, where: str) -> None:
    """Files of Keras 1 and before name layers and settings otherwise; say which Keras wrote this one."""
    version = _version(attributes, config)
    if version is None and ("nb_layers" in attributes or _has_old_settings(config)):
        version = "0 or 1"
    if version is not None and version.split(".")[0] not in ("2", "3"):
        raise MarginomeError(
            f"the file was written by Keras {version}; files of Keras 2 and 3 are read",
            where=where,
            remedy="Load it in the Keras that wrote it, put its weights into the same model in Keras 2 "
            "(model.set_weights), and save that with model.save(file.h5).",
        )


def _has_old_settings(config: Any) -> bool:
    if isinstance(config, Mapping):
        return any(key in _OLD_SETTINGS or _has_old_settings(value) for key, value in config.items())
    return isinstance(config, list) and any(_has_old_settings(value) for value in config)
