"""The base of what follows a model's operations one by one, as they are run."""

from __future__ import annotations

import sys
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class Following(TorchDispatchMode):
    """A mode that is kept from PyTorch's compiler where that is there.

    PyTorch keeps it from what modes do, and imports it for that at the first operation: 2 s of every job that predicts
    or attributes.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        plain = cls.__torch_dispatch__
        super().__init_subclass__(**kwargs)
        kept = cls.__torch_dispatch__

        def dispatch(self: Any, *args: Any, **kwargs: Any) -> Any:
            return (kept if "torch._dynamo" in sys.modules else plain)(self, *args, **kwargs)

        cls.__torch_dispatch__ = dispatch
