"""What a refusal has to be, in tests of what users give."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from marginome.errors import MarginomeError


def refused(call: Callable[[], object], *words: str) -> str:
    """Assert that `call` raises one message that holds these words and says where or what to do; return the message."""
    with pytest.raises(MarginomeError) as caught:
        call()
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert caught.value.remedy or caught.value.where
    return str(caught.value)
