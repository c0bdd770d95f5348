"""The house itself: packages are listed, imports point inward, nothing slips into a drawer."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INNER = ["protocol", "store", "runtime", "server", "client"]
MAY_IMPORT = {
    "protocol": {"protocol"},
    "store": {"protocol", "store"},
    "runtime": {"protocol", "store", "runtime"},
    "server": {"protocol", "store", "runtime", "server", "client"},
    "client": {"protocol", "client"},
}
HOST = ROOT / "runtime" / "executor" / "host"


def modules(folder: str) -> Iterator[Path]:
    yield from sorted((ROOT / folder).rglob("*.py"))


def imported(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def test_every_package_is_listed_for_the_wheel() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join(["watchglass", *init.parent.relative_to(ROOT).parts])
        for folder in INNER
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert set(listed) == found | {"watchglass"}


def test_every_folder_with_modules_is_a_package() -> None:
    bare = {
        module.parent
        for folder in INNER
        for module in modules(folder)
        if not (module.parent / "__init__.py").exists()
    }
    assert bare == set()


@pytest.mark.parametrize("folder", INNER)
def test_imports_point_inward(folder: str) -> None:
    outward = [
        f"{module.relative_to(ROOT)} imports {name}"
        for module in modules(folder)
        for name in imported(module)
        if name.startswith("watchglass.") and name.split(".")[1] not in MAY_IMPORT[folder]
    ]
    assert outward == []


def test_what_runs_outside_the_server_needs_the_standard_library_alone() -> None:
    import sys

    foreign = [
        f"{module.name} imports {name}"
        for module in HOST.glob("*.py")
        for name in imported(module)
        if name.split(".")[0] not in sys.stdlib_module_names
    ]
    assert foreign == []


def test_the_type_checkers_view_mirrors_the_house() -> None:
    view = ROOT / "tests" / "import_root" / "watchglass"
    linked = {link.name: link.resolve() for link in view.iterdir() if link.is_symlink()}
    assert linked == {name: ROOT / name for name in ["__init__.py", *INNER]}
