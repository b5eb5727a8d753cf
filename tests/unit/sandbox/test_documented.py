"""docs/simulator.md names every switch and only tests that exist."""

import ast
import re
from pathlib import Path

from etl.sandbox import switches
from etl.sandbox.exchange import CARRIED_OUT
from etl.sandbox.operations import services

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")


def _tests_there_are():
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return found


def test_every_switch_is_documented_with_its_default():
    """Each field of Switches has a row of its own that states its default and a test."""
    rows = {
        cells[0].strip("` "): [cell.strip() for cell in cells]
        for cells in (line.strip("| ").split("|") for line in PAGE.splitlines() if "|" in line)
    }
    for name, default in switches.as_json(switches.default_switches()).items():
        assert name in rows, name
        shown = " ".join(default) if isinstance(default, tuple) else str(default)
        assert rows[name][1].strip("`") == shown, name
        assert re.search(r"test_\w+", rows[name][-1]), name


def test_every_test_named_exists():
    """No test that the page names is missing."""
    named = set(re.findall(r"\btest_\w+(?!\w*\.py)\b", PAGE))
    assert named
    assert named <= _tests_there_are()


def test_every_operation_simulated_is_in_its_description():
    """Nothing is invented: each operation stands in the WSDL, with documented argument names."""
    for service, operations in CARRIED_OUT.items():
        for name in operations:
            assert name in services()[service], f"{service}.{name}"
            arguments = services()[service][name].arguments
            assert not any(re.fullmatch(r"in\d+", argument) for argument in arguments), name
