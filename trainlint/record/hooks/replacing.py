"""Sets attributes of torch's classes and modules for a while."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

__all__ = ["Replace", "replace_attribute"]

Replace = Callable[[Any, str, Any], None]
"""Sets an attribute of an owner, and takes it back when recording ends."""


def replace_attribute(stack: ExitStack, owner: Any, name: str, new: Any) -> None:
    """Set an attribute of a class or module until the stack closes."""
    inherited = isinstance(owner, type) and name not in vars(owner)
    old = vars(owner)[name] if not inherited and isinstance(owner, type) else getattr(owner, name)
    setattr(owner, name, new)
    stack.callback(delattr, owner, name) if inherited else stack.callback(setattr, owner, name, old)
