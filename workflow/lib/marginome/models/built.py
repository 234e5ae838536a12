"""What is made of one weights file, and one line for whatever goes wrong on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from marginome.devices import is_out_of_memory
from marginome.errors import MarginomeError, first_line
from marginome.models.arguments import Argument
from marginome.models.outputs import Output
from marginome.models.wrappers import ALPHABET, StrandedHead


@dataclass(frozen=True)
class Built:
    """What a loader made of one weights file: the module and what the file tells about it."""

    module: nn.Module
    input_length: int | None = None
    arguments: tuple[Argument, ...] = ()
    outputs: tuple[Output, ...] = ()
    alphabet: str = ALPHABET
    positions_first: bool = False
    stranded: tuple[StrandedHead, ...] = ()


@contextmanager
def one_line(what: str, where: str) -> Iterator[None]:
    """Make one MarginomeError of whatever goes wrong inside: files and entries are odd in more ways than are known."""
    try:
        yield
    except MarginomeError as error:
        if error.where:
            raise
        raise MarginomeError(error.what, where=where, remedy=error.remedy) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise no_memory(where, error) from error
        raise MarginomeError(f"{what} ({first_line(error)})", where=where) from error


def no_memory(where: str, error: BaseException) -> MarginomeError:
    """Return the error for a model that is larger than the memory."""
    return MarginomeError(
        f"the model needs more memory than there is ({first_line(error)})",
        where=where,
        remedy="Run it on a machine with more memory (resources: mem_mb), or take fewer members of the ensemble.",
    )
