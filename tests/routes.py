"""Routes are compiled once in a test process, not once for each of its apps: that is four fifths of what an app with
pages costs (40 of 50 ms)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.routing import Rule

Builder = Callable[..., tuple[str, str]]


@pytest.fixture(scope="session", autouse=True)
def compile_once() -> Iterator[None]:
    """A builder hangs on nothing but the rule's pieces: it takes the rule itself as its first argument."""
    compiled: dict[tuple[Any, ...], Builder] = {}
    real = Rule._compile_builder

    def compile_builder(self: Rule, append_unknown: bool = True) -> Builder:
        if self.defaults:
            return real(self, append_unknown)
        key = (tuple(self._trace), append_unknown)
        if key not in compiled:
            compiled[key] = real(self, append_unknown)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "_compile_builder", compile_builder)
        yield
