"""Files of safetensors: a header in JSON and the bytes of tensors, so that nothing in one can run."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from torch import Tensor

from marginome.bounded import check_file
from marginome.models.kinds import safetensors_names
from marginome.models.pickles import damaged_weights


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a file of safetensors, on the CPU.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict of str to torch.Tensor
        Of the types that the file tells; they take as much memory as the file.

    Raises
    ------
    MarginomeError
        When the file is damaged or cut short (the library compares every offset with the size; the format has no
        checksums), or a tensor is of a type that PyTorch does not have.
    """
    check_file(path)
    if safetensors_names(path) is None:
        raise damaged_weights(path, "it does not begin with a header of safetensors")
    try:
        return safetensors.torch.load_file(path, device="cpu")
    except MemoryError:
        raise
    except Exception as error:
        raise damaged_weights(path, error) from error
