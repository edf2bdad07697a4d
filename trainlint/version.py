"""The version, from one source: the installed package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("trainlint")
except PackageNotFoundError:
    __version__ = "0+unknown"
