"""The report formats that come with trainlint, one module each, found through the entry-point group ``trainlint.reports``."""

from __future__ import annotations

from trainlint.registry import PageMaker
from trainlint.renderers import Renderer

from .github import GithubRenderer
from .html import HtmlRenderer
from .html_pages import HtmlPages
from .json_report import JsonRenderer
from .junit import JunitRenderer
from .markdown import MarkdownRenderer
from .markdown_pages import MarkdownPages
from .sarif import SarifRenderer
from .text import TextRenderer

__all__ = ["PAGES", "RENDERERS"]

RENDERERS: tuple[type[Renderer], ...] = (
    TextRenderer,
    JsonRenderer,
    HtmlRenderer,
    SarifRenderer,
    JunitRenderer,
    GithubRenderer,
    MarkdownRenderer,
)

PAGES: tuple[type[PageMaker], ...] = (HtmlPages, MarkdownPages)
