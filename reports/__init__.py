"""The report formats that come with trainlint, one module each, found through the entry-point group ``trainlint.reports``."""

from __future__ import annotations

from trainlint.registry import Renderer

from .html import HtmlRenderer
from .json_report import JsonRenderer
from .text import TextRenderer

__all__ = ["RENDERERS"]

RENDERERS: tuple[type[Renderer], ...] = (TextRenderer, JsonRenderer, HtmlRenderer)
