"""The shape of the house, kept by machine: names, sizes, floors, reasons, import contracts."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.faults.breakages import BREAKAGES

TOP = Path(__file__).resolve().parents[2]
MODULES = sorted((TOP / "etl").rglob("*.py"))
TESTS = sorted((TOP / "tests").rglob("*.py"))
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]
SERVICE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = [
    Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines
]

# Older releases have a known weakness that matters here; docs/dependencies.md names it.
SECURITY_FLOORS = {
    "cryptography": "50.0",
    "idna": "3.7",
    "jinja2": "3.1.6",
    "lxml": "6.1",
    "paramiko": "5.0",
    "requests": "2.33",
    "urllib3": "2.7",
    "watchdog": "7.0",
    "zeep": "4.3.3",
}


def tracked() -> list[Path]:
    """Every file that is, or would be, in the repository."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=TOP, capture_output=True, check=True, text=True).stdout
    return [path for name in listed.split("\0") if name and (path := TOP / name).is_file()]


def floor(requirement: Requirement) -> Version:
    """The version behind `>=`."""
    (found,) = [item.version for item in requirement.specifier if item.operator == ">="]
    return Version(found)


def test_no_module_has_a_name_that_says_nothing():
    """A module is named for what it does."""
    empty = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "base", "misc"}
    named = {part for path in MODULES for part in path.relative_to(TOP).with_suffix("").parts}
    assert len(named) > 10
    assert not named & empty


def test_modules_are_short():
    """A module has 300 lines at most, so that it can be read at once."""
    long = {
        str(path.relative_to(TOP)): lines
        for path in MODULES
        if (lines := len(path.read_text("utf-8").splitlines())) > 300
    }
    assert not long


def test_every_test_says_what_is_true():
    """A test's first sentence is the promise it keeps."""
    mute = [
        f"{path.relative_to(TOP)}:{node.lineno}"
        for path in TESTS
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not mute


def test_no_test_bends_the_code_it_tests():
    """A double is an implementation of a port: nothing is patched from outside."""
    bent = re.compile(
        r"monkeypatch\.setattr|mock\.patch|mocker\.|import mock\b" + r"|unittest\.mock"
    )
    found = [
        f"{path.relative_to(TOP)}:{number}"
        for path in TESTS
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if bent.search(line)
    ]
    assert not found


@pytest.mark.parametrize("requirement", SERVICE + EXTRAS, ids=lambda item: item.name)
def test_what_is_installed_is_new_enough(requirement: Requirement):
    """Every dependency has a floor, and the installed release is not below it."""
    assert Version(version(requirement.name)) >= floor(requirement)


@pytest.mark.parametrize("name", sorted(SECURITY_FLOORS))
def test_a_floor_is_not_lowered_below_a_known_weakness(name: str):
    """pyproject.toml cannot allow a release with a known weakness."""
    (requirement,) = [item for item in SERVICE if item.name == name]
    assert floor(requirement) >= Version(SECURITY_FLOORS[name])


def test_every_dependency_has_its_reason():
    """docs/dependencies.md names every dependency in a row with its reason, and no other."""
    page = (TOP / "docs/dependencies.md").read_text("utf-8").partition("## Not taken")[0]
    rows = dict(re.findall(r"^\| ([a-z0-9-]+) \| (.{10,}) \|$", page, re.MULTILINE))
    assert set(rows) - {"package"} == {item.name for item in SERVICE + EXTRAS}
    for item in SERVICE:
        assert rows[item.name].rsplit("|", 1)[1].strip().startswith(str(floor(item)))


def test_no_workplace_and_no_registry_in_any_file():
    """The repository names neither a folder of whoever built it nor a package registry's host."""
    # In two parts each, so that this file does not find itself.
    words = [
        "/wo" + "rk/", "/tmp/ho" + "use", "/ro" + "ot/", "py" + "pi.org", "python" + "hosted",
        "npm" + "js.org", "deb.deb" + "ian.org", "crates" + ".io",
    ]  # fmt: skip
    forbidden = re.compile("|".join(rf"(?<![\w.]){re.escape(word)}" for word in words).encode())
    files = tracked()
    assert TOP / "pyproject.toml" in files
    found = [str(path.relative_to(TOP)) for path in files if forbidden.search(path.read_bytes())]
    assert not found


def test_no_lock_file():
    """What is installed follows from the floors alone."""
    locks = {"poetry.lock", "uv.lock", "pdm.lock", "Pipfile.lock", "pylock.toml"}
    assert not locks & {path.name for path in tracked()}


# --- import contracts ------------------------------------------------------------------------


def lint_imports(folder: Path) -> tuple[bool, str]:
    """Whether the contracts hold for the package in `folder`, and what was printed."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its contracts, to be broken."""
    shutil.copytree(TOP / "etl", tmp_path / "etl", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TOP / ".importlinter", tmp_path)
    return tmp_path


def test_the_contracts_hold(copy: Path):
    """The package as it is keeps every import contract."""
    held, printed = lint_imports(copy)
    assert held, printed


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("cli", "from etl.wire import sftp"),
        ("daemon", "from etl import sandbox"),
        ("pipeline", "from etl import cli"),
        ("extract/inbox", "from etl import load"),
        ("load/receipts", "from etl.extract import inbox"),
        ("load/receipts", "from etl import config"),
        ("load/receipts", "import paramiko"),
        ("transform/decode", "from etl import errors"),
        ("transform/decode", "import os"),
        ("transform/decode", "import structlog"),
        ("wire/sftp", "from etl import journal"),
        ("sandbox/sftp", "from etl import ports"),
        ("journal/database", "from etl import transform"),
        ("reasons", "from etl import errors"),
        ("newcomer", "import re"),
    ],
)
def test_a_wrong_import_is_seen(copy: Path, module: str, line: str):
    """Each wall of the house is real: an import through it breaks a contract."""
    path = copy / "etl" / f"{module}.py"
    assert path.exists() or module == "newcomer"
    with path.open("a") as file:
        file.write(f"\n{line}\n")
    held, printed = lint_imports(copy)
    assert not held
    assert f"etl.{module.replace('/', '.')}" in printed


def test_every_proof_that_is_named_is_there():
    """docs/reliability.md names tests and files that exist, and every breakage with its catcher."""
    page = (TOP / "docs" / "reliability.md").read_text("utf-8")
    code = "\n".join(path.read_text("utf-8") for path in TESTS)
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 60
    assert [name for name in sorted(named) if f"def {name}(" not in code] == []
    assert [f for f in re.findall(r"`(tests/[\w/.]+)`", page) if not (TOP / f).exists()] == []
    assert [each.name for each in BREAKAGES if f"| {each.name} |" not in page] == []
