"""`pip install` gives everything: the wheel is built, installed afresh, and runs a worker."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from support.patience import PATIENCE_S

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def fresh_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a new environment with the wheel in it; what it depends on comes from this one."""
    place = tmp_path_factory.mktemp("wheel")
    _run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), str(_copy(place))
    )
    [wheel] = place.glob("*.whl")
    fresh = place / "fresh"
    venv.create(fresh, with_pip=True)
    _run(str(fresh / "bin" / "pip"), "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    _borrow_dependencies(fresh)
    return fresh / "bin"


def test_a_wheel_installed_afresh_knows_its_version(fresh_bin: Path, tmp_path: Path) -> None:
    said = _run(str(fresh_bin / "watchglass"), "--version", cwd=tmp_path)
    assert said.startswith("watchglass 0.")


def test_a_wheel_installed_afresh_runs_workers(fresh_bin: Path, tmp_path: Path) -> None:
    said = _run(str(fresh_bin / "watchglass"), "demo", cwd=tmp_path)
    assert "missed 0" in said


def _copy(place: Path) -> Path:
    """The sources alone: a build must not write into the checkout."""
    left_out = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "import_root")
    return Path(shutil.copytree(ROOT, place / "source", ignore=left_out))


def _borrow_dependencies(fresh: Path) -> None:
    """Let the new environment see this one's libraries, but not this one's watchglass."""
    [site] = fresh.glob("lib/python*/site-packages")
    libraries = {str(Path(path).resolve()) for path in sys.path if path.endswith("site-packages")}
    (site / "borrowed.pth").write_text("\n".join(sorted(libraries)))


def _run(*argv: str, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=4 * PATIENCE_S, check=False)
    assert done.returncode == 0, f"{argv} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
