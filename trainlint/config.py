"""Settings from a project's trainlint.toml, or ``[tool.trainlint]`` of its pyproject.toml, under those of the command line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainlint.errors import UsageError, unknown
from trainlint.settings import FAIL_ON, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["explained", "find_config", "project_settings", "read_config", "seconds"]

_OWN_FILE = "trainlint.toml"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_KEYS = ("select", "ignore", "fail-on", "budget", "seed", "baseline", "rules")


def find_config(start: Path) -> Path | None:
    """The nearest trainlint.toml or pyproject.toml with a ``[tool.trainlint]``, from a folder upwards; the former comes first."""
    for folder in (start.resolve(), *start.resolve().parents):
        for path in (folder / _OWN_FILE, folder / "pyproject.toml"):
            if path.is_file() and _table(path) is not None:
                return path
    return None


def project_settings(start: Path) -> Settings:
    """The settings that hold in a folder: those of the nearest file, over the defaults."""
    found = find_config(start)
    return read_config(found) if found is not None else Settings()


def explained(start: Path, file: Path | None = None) -> tuple[list[tuple[str, Any, str]], Settings, Path | None]:
    """Each setting that holds in a folder as key, value and where it comes from, with the settings and their file.

    Options of rules are keyed ``rules.<name>.<option>``. What comes from a file is placed as ``file:line`` where the line can be told.
    """
    path = file or find_config(start)
    settings = read_config(path) if path is not None else Settings()
    table = (_table(path) or {}) if path is not None else {}
    held = {
        "select": list(settings.select),
        "ignore": list(settings.ignore),
        "fail-on": settings.fail_on,
        "budget": f"{settings.budget:g}s",
        "seed": settings.seed,
    }
    held |= {key: getattr(settings, key) for key in _KEYS if key not in held and key != "rules"}
    entries = [(key, value, _place_of(path, key) if path is not None and key in table else "default") for key, value in held.items()]
    for rule, own in settings.options.items():
        entries += [
            (f"rules.{rule}.{option}", value, _place_of(path, option, rule) if path is not None else "") for option, value in own.items()
        ]
    return entries, settings, path


def _place_of(path: Path, key: str, rule: str = "") -> str:
    """``file:line`` of a key, found by reading the lines; the file alone when it is written in an unusual way."""
    table = "" if path.name == _OWN_FILE else "tool.trainlint"
    wanted = ".".join(part for part in (table, *(("rules", rule) if rule else ())) if part)
    current = ""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        text = line.strip()
        if text.startswith("["):
            current = text.split("]")[0].strip("[ ").replace('"', "").replace(" ", "")
        elif current == wanted and text.split("=")[0].strip().strip('"') == key:
            return f"{path}:{number}"
    return str(path)


def read_config(path: Path, settings: Settings | None = None) -> Settings:
    """Settings with what a trainlint.toml, or the ``[tool.trainlint]`` of a pyproject.toml, says put over ``settings``.

    Keys are ``select``, ``ignore``, ``fail-on``, ``budget`` ("60s" or a number of seconds), ``seed``, ``baseline``
    (a file, relative to the pyproject.toml), and a table ``rules.<name>`` for a rule's own options.

    Raises:
        UsageError: The file cannot be read, or holds an unknown key or rule, or a value of the wrong kind.
    """
    table = _table(path) or {}
    for key in table:
        if key not in _KEYS:
            raise UsageError(f"{path}: {_no_setting(path, table, key)}")
    changes: dict[str, Any] = {}
    for key in ("select", "ignore"):
        if key in table:
            changes[key] = _names(path, key, table[key])
    if "fail-on" in table:
        if table["fail-on"] not in FAIL_ON:
            raise UsageError(f"{path}: fail-on must be one of {', '.join(FAIL_ON)}, not {table['fail-on']!r}")
        changes["fail_on"] = table["fail-on"]
    if "budget" in table:
        changes["budget"] = seconds(str(table["budget"]), f"{path}: budget")
    if "seed" in table:
        if not isinstance(table["seed"], int):
            raise UsageError(f"{path}: seed must be a whole number, not {table['seed']!r}")
        changes["seed"] = table["seed"]
    if "baseline" in table:
        if not isinstance(table["baseline"], str):
            raise UsageError(f"{path}: baseline must be the name of a file, not {table['baseline']!r}")
        changes["baseline"] = str(path.parent / table["baseline"])
    options = table.get("rules", {})
    if not isinstance(options, Mapping) or not all(isinstance(o, Mapping) for o in options.values()):
        raise UsageError(f"{path}: a rule's options are a table of its own, {_rule_table(path)}")
    changes["options"] = {name: dict(own) for name, own in options.items()}
    _check_rules(path, Settings(**changes))
    return replace(settings or Settings(), **changes)


def _check_rules(path: Path, settings: Settings) -> None:
    """Raise for a rule or an option of a rule that the file names and that does not exist."""
    if not (settings.select or settings.ignore or settings.options):
        return
    from trainlint.registry import load_catalogue

    try:
        load_catalogue().choose(settings.select, settings.ignore, settings.options)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def seconds(text: str, what: str) -> float:
    """A time such as ``60s``, ``2m`` or ``90`` in seconds."""
    number, unit = (text[:-1], _UNITS[text[-1]]) if text and text[-1] in _UNITS else (text, 1.0)
    try:
        value = float(number) * unit
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise UsageError(f"{what} {text}: give a time such as 60s or 2m")
    return value


def _table(path: Path) -> dict[str, Any] | None:
    try:
        whole = tomllib.loads(path.read_text("utf-8"))
        found = whole if path.name == _OWN_FILE else whole.get("tool", {}).get("trainlint")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if found is not None and not isinstance(found, dict):
        raise UsageError(f"{path}: [tool.trainlint] must be a table")
    return found


def _no_setting(path: Path, table: Mapping[str, Any], key: str) -> str:
    """What to write in place of a key that does not exist."""
    own = path.name == _OWN_FILE
    if own and key == "tool" and isinstance(table[key], Mapping) and "trainlint" in table[key]:
        return f"drop `tool.trainlint` from its headings: the settings of a {_OWN_FILE} stand without it, options of a rule under [rules.<name>]"
    if key == "severity":
        return f"severity belongs to a rule's own table, {_rule_table(path)}; what ends a run is fail-on"
    return f"there is no setting {unknown(key, _KEYS)}"


def _rule_table(path: Path) -> str:
    return "[rules.<name>]" if path.name == _OWN_FILE else "[tool.trainlint.rules.<name>]"


def _names(path: Path, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise UsageError(f'{path}: {key} must be a list of rule names, such as ["shuffle"]')
    return tuple(value)
