"""Makes matplotlib's SVG part of a page: no styles of its own, colours from the page, hover titles, no clashing ids.

Style attributes become presentation attributes because the page's security policy forbids inline styles.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from markupsafe import Markup

__all__ = ["inline"]

_LONG_DECIMAL = re.compile(r"-?\d+\.\d{2,}")
_REFERENCE = re.compile(r"#([\w.-]+)")


def inline(svg: str, *, top: float, summary: str, prefix: str, colours: Mapping[str, str], titles: Mapping[str, Sequence[str]]) -> Markup:
    """``svg`` as an element of an HTML page.

    ``top`` is the height to cut off above, ``summary`` what a screen reader says; ``prefix`` makes ids unique
    in the page, ``colours`` maps placeholders to CSS values, and ``titles`` gives the hover texts of the marks in each
    group (by its gid), in drawing order.
    """
    root = ElementTree.fromstring(svg)
    _strip_namespaces(root)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in ("metadata", "style"):
                parent.remove(child)
    for group in root.iter("g"):
        if texts := titles.get(group.get("id", "")):
            _hang_titles(group, texts)
    used = {match for element in root.iter() for value in element.attrib.values() for match in _REFERENCE.findall(value)}
    for element in root.iter():
        element.attrib = _attributes(element, prefix, colours, used)
        element.text = (element.text or "").strip("\n ") or None
        element.tail = None
    width, height = (float(length) for length in root.get("viewBox", "").split()[2:])
    root.attrib = {"viewBox": f"0 {top:g} {width:g} {height - top:g}", "role": "img", "aria-label": summary}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _strip_namespaces(root: ElementTree.Element) -> None:
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}


def _hang_titles(group: ElementTree.Element, texts: Sequence[str]) -> None:
    """Wrap each mark of the group together with its title; browsers show it on hover."""
    marks = [(parent, mark) for parent in group.iter() if parent.tag != "defs" for mark in parent if mark.tag in ("use", "path")]
    for (parent, mark), text in zip(marks, texts, strict=False):
        wrapper = ElementTree.Element("g", {"class": "mark"})
        ElementTree.SubElement(wrapper, "title").text = text
        parent[list(parent).index(mark)] = wrapper
        wrapper.append(mark)


def _attributes(element: ElementTree.Element, prefix: str, colours: Mapping[str, str], used: set[str]) -> dict[str, str]:
    style = element.attrib.pop("style", "")
    declared = dict(part.strip().split(": ", 1) for part in style.split(";") if ": " in part)
    pairs = {**element.attrib, **{key: value for key, value in declared.items() if not key.startswith("font")}}
    if pairs.get("id", "") not in used:
        pairs.pop("id", None)
    if "id" in pairs:
        pairs["id"] = f"{prefix}-{pairs['id']}"
    if pairs.get("transform", "").startswith("rotate(-0 "):
        del pairs["transform"]
    return {key: _value(value, prefix, colours, used) for key, value in pairs.items()}


def _value(value: str, prefix: str, colours: Mapping[str, str], used: set[str]) -> str:
    if value in colours:
        return colours[value]
    value = _REFERENCE.sub(lambda m: f"#{prefix}-{m[1]}" if m[1] in used else m[0], value)
    return _LONG_DECIMAL.sub(lambda m: f"{float(m[0]):.1f}".removesuffix(".0"), value.replace("\n", ""))
