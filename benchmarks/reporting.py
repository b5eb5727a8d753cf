"""What every benchmark tells beside its figures, and where in RESULTS.md they go."""  # noqa: INP001 - a script's part, not a module of a package

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")


def circumstances(
    command: str, packages: Sequence[str], load: tuple[float, float, float]
) -> list[str]:
    """Say what was run, with what, on what, and how busy the machine was; `load` is from before."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text("utf-8").splitlines() if "model name" in line]
        model = names[0].partition(":")[2].strip() if names else model
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    before, after = ("/".join(f"{each:.2f}" for each in of) for of in (load, os.getloadavg()))
    first = "" if os.sched_getscheduler(0) == os.SCHED_OTHER else "chrt -r 20 "
    return [
        f"- command: `{first}python benchmarks/{command}`",
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, {versions}",
        f"- {model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        f"- load average before {before}, after {after}",
    ]


def put_into_results(heading: str, text: str) -> None:
    """Put `text` into RESULTS.md under its heading, in the place of what stands there."""
    results = RESULTS.read_text("utf-8")
    section = f"## {heading}\n\n{text.strip()}\n\n"
    old = re.compile(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    if old.search(results):
        results = old.sub(lambda _: section, results)
    else:
        results = f"{results.rstrip()}\n\n{section}"
    RESULTS.write_text(results.rstrip() + "\n", "utf-8")
