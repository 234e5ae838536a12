"""A job over a batch of models, one after another, in which a model that fails costs only itself."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Mapping, Sequence

import h5py

from marginome.batch_files import ERROR, part_name
from marginome.devices import is_out_of_memory
from marginome.errors import MarginomeError, first_line

log = logging.getLogger("marginome")


def each_model(
    models: Sequence[str], compute: Callable[[str], None], *, output: str | os.PathLike, failed: Mapping[str, str]
) -> dict[str, str]:
    """Compute something for every model of a batch and return why some have no result.

    Parameters
    ----------
    models : sequence of str
        Names.
    compute : function
        Called with a name.
    output : path
        What the job makes: the reason names it, since the model is tried again when it is deleted.
    failed : mapping of str to str
        Models that failed in an earlier job, with the reason: passed over.

    Returns
    -------
    dict of str to str
        The reason by model, of `failed` too.

    Raises
    ------
    Exception
        What `compute` raises, where it is no fault of the model (memory ran out, a file cannot be written or read), and
        whatever it is in a batch of one, which has nothing else to go on with.
    """
    failed = {name: failed[name] for name in models if name in failed}
    for name in models:
        if name in failed:
            log.warning("model %s failed before: %s", name, failed[name])
            continue
        try:
            compute(name)
        except Exception as error:
            if len(models) == 1 or isinstance(error, OSError) or is_out_of_memory(error):
                raise
            if not isinstance(error, MarginomeError):
                log.error("%s", traceback.format_exc())
            reason = str(error) if isinstance(error, MarginomeError) else first_line(error)
            failed[name] = f"{reason} ({output})"
            log.error("model %s failed, the others go on: %s", name, failed[name])
    return failed


def each_part(
    handle: h5py.File,
    models: Sequence[str],
    compute: Callable[[str, h5py.Group], None],
    *,
    output: str | os.PathLike,
    failed: Mapping[str, str] | None = None,
) -> None:
    """Compute a group of an open file for every model of a batch; a failed model's holds the reason alone.

    Parameters
    ----------
    handle : h5py.File
        Open for writing.
    models, output, failed
        See `each_model`.
    compute : function
        Called with a name and its group.
    """

    def into_group(name: str) -> None:
        compute(name, handle.create_group(part_name(name)))

    for name, reason in each_model(models, into_group, output=output, failed=failed or {}).items():
        if part_name(name) in handle:
            del handle[part_name(name)]  # what it had computed before it failed
        handle.create_group(part_name(name)).attrs.update({"model": name, ERROR: reason})
