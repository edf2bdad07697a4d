"""What starting costs: CPU time and imported modules of light commands and imports, beside bare Python and click.

    nice -n -10 python benchmarks/startup.py [ROUNDS]

Each way is a process of its own, taken in turn with the others; the median over the rounds counts. Time is CPU time (user and system) of
the process, so that other programs on the machine disturb little.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

_COMMAND = "import sys; sys.argv = ['trainlint', *{}]; from trainlint.cli import main; main(standalone_mode=False)"
WAYS = {
    "python -c pass": "pass",
    "import click": "import click",
    "import trainlint": "import trainlint",
    "trainlint --help": _COMMAND.format(["--help"]),
    "trainlint rules": _COMMAND.format(["rules"]),
    "trainlint explain lr-range": _COMMAND.format(["explain", "lr-range"]),
    "import pytest": "import pytest",
    "import pytest, trainlint.pytest_plugin": "import pytest, trainlint.pytest_plugin",
}
#: None of these may be imported by a light command.
HEAVY = ("torch", "numpy", "jinja2", "matplotlib", "scipy", "libcst", "rich", "pytest")


def seconds(code: str) -> float:
    """CPU seconds of one process."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_utime + usage.ru_stime


def modules(code: str) -> tuple[int, list[str]]:
    """Number of modules at the end, and which heavy ones are among them."""
    report = "import atexit, sys; atexit.register(lambda: print('\\n' + ' '.join(sys.modules)))\n"
    shown = subprocess.run([sys.executable, "-c", report + code], capture_output=True, text=True, check=False).stdout
    names = shown.splitlines()[-1].split()
    return len(names), [name for name in HEAVY if name in names]


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, code in WAYS.items():
            times[way].append(seconds(code))
    middle = {way: 1000 * statistics.median(found) for way, found in times.items()}
    print(f"Python {sys.version.split()[0]}, {rounds} rounds, load {os.getloadavg()[0]:.1f}\n")
    print("| | CPU ms | over python, ms | over import click | modules | heavy ones |\n|---|---|---|---|---|---|")
    for way, code in WAYS.items():
        count, heavy = modules(code)
        more = middle[way] - middle["python -c pass"]
        ratio = middle[way] / middle["import click"]
        print(f"| {way} | {middle[way]:.0f} | {more:.0f} | {ratio:.2f} | {count} | {', '.join(heavy) or '–'} |")


if __name__ == "__main__":
    main()
