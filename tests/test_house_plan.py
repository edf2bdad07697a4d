"""The house plan holds: what may import what, no circles, and the names that users rely on."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import trainlint

ROOT = Path(__file__).parent.parent
#: Folders of the checkout and the names that they are installed under.
PACKAGES = {"trainlint": "trainlint", "rules": "trainlint_rules", "reports": "trainlint_reports"}
PUBLIC = """
    Cost Finding FindingsError Fix InputError Location Outcome Proof Report Rule ScanError Settings Severity Stage Subject TrainlintError
    UsageError Verdict Watch __version__ check classify failed not_run passed scan watch
"""
#: Rooms in the order in which data moves; a room imports from those before it, and from the core's plain modules.
ORDER = ("measurements", "record", "probes", "proof")
#: Rooms of the probes, each standing on those before it; the session asks all of them.
PROBES = ("source", "data", "step", "run", "training", "labels")


@cache
def modules() -> dict[str, Path]:
    found = {}
    for folder, package in PACKAGES.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(module: str, *, late: bool = True, types: bool = True) -> frozenset[str]:
    """Modules of this project that one imports; ``late`` ones within functions among them, and those for ``types`` only."""
    path = modules()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text("utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if (not late and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)) or (not types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        for inner in ast.walk(node)
    }  # fmt: skip
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])]) if node.level else str(node.module)
            found.update(f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules() else base for alias in node.names)
    return frozenset(name for name in found if name in modules()) - {module}


def test_the_core_imports_no_rule_and_no_report() -> None:
    for module in modules():
        if module.partition(".")[0] == "trainlint":
            assert not [name for name in imports(module) if name.startswith(("trainlint_rules", "trainlint_reports"))], module


@pytest.mark.parametrize("package", ["trainlint_rules", "trainlint_reports"])
def test_rules_and_reports_stand_on_the_core_alone(package: str) -> None:
    live = ("trainlint.record", "trainlint.probes", "trainlint.proof", "trainlint.watching", "trainlint.commands", "trainlint.edits")
    for module in modules():
        if module.startswith(package):
            foreign = {name for name in imports(module) if not name.startswith(package)}
            assert all(name.startswith("trainlint.") or name == "trainlint" for name in foreign), module
            assert not [name for name in foreign if name.startswith(live)], module


def test_data_moves_one_way() -> None:
    for module in modules():
        room = next((r for r in ORDER if module.startswith(f"trainlint.{r}")), None)
        if room is None:
            continue
        later = tuple(f"trainlint.{r}" for r in ORDER[ORDER.index(room) + 1 :])
        found = [name for name in imports(module, late=False, types=False) if name.startswith(later)] if later else []
        assert not found or module in ("trainlint.record.script", "trainlint.record.objects", "trainlint.probes.session"), (module, found)


def test_each_room_of_the_probes_stands_on_those_before_it() -> None:
    for module in modules():
        if module.startswith("trainlint.probes.") and module.count(".") > 2:
            room = module.split(".")[2]
            later = tuple(f"trainlint.probes.{r}." for r in PROBES[PROBES.index(room) + 1 :])
            assert not [name for name in imports(module) if later and name.startswith(later)], module


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {module: set(imports(module)) for module in modules()}
    for package, path in modules().items():
        if path.name == "__init__.py":  # a package waits for what it hands on; its modules do not wait for it
            for module in graph:
                if module.startswith(f"{package}."):
                    graph[module] -= {package}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"{' -> '.join(error.args[1])}")


def test_no_module_is_too_long_to_be_read_in_one_go() -> None:
    for module, path in modules().items():
        text = path.read_text("utf-8")
        page = len((ast.get_docstring(ast.parse(text)) or "").splitlines()) if module.startswith("trainlint_rules") else 0
        assert len(text.splitlines()) - page <= 300, module


def test_what_begins_with_an_underscore_stays_in_its_room() -> None:
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trainlint"):
                assert not [a.name for a in node.names if a.name.startswith("_") and a.name != "__version__"], module


def test_the_public_names_are_these() -> None:
    assert sorted(trainlint.__all__) == sorted(PUBLIC.split())
    assert all(hasattr(trainlint, name) for name in trainlint.__all__)
