"""What is installed is complete, and asking it for help is quick."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from reinforced.columns import layer_schemas
from reinforced.pipeline import recipes
from reinforced.registry import operator_names

TOP = Path(__file__).parents[1]
HEAVY = ("torch", "ray", "duckdb", "PIL", "sklearn", "transformers", "datasets")
PARTS = ("src", "operators", "pipelines", "schemas", "pyproject.toml", "README.md", "LICENSE")

LIST = """
import json, reinforced
from reinforced.columns import layer_schemas
from reinforced.registry import find_operator, operator_names
from reinforced.pipeline import load, recipes
for name in operator_names():
    find_operator(name)
for name in recipes():
    load(name)
print(json.dumps([reinforced.__file__, operator_names(), list(recipes()), list(layer_schemas())]))
"""


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def test_asking_for_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from reinforced.cli import main; code = main(['--help']); "
        f"loaded = [name for name in {HEAVY} if name in sys.modules]; assert not loaded, loaded; sys.exit(code)"
    )
    assert "Usage" in run(sys.executable, "-c", code, cwd=tmp_path)


def test_importing_the_package_loads_nothing_heavy(tmp_path: Path) -> None:
    code = f"import sys, reinforced; print([n for n in {(*HEAVY, 'pyarrow', 'pydantic', 'typer')} if n in sys.modules])"
    assert run(sys.executable, "-c", code, cwd=tmp_path) == "[]\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as for a release: a source archive from a clean copy of the tree, the wheel out of that."""
    folder = tmp_path_factory.mktemp("release")
    clean = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in PARTS:
        if (TOP / part).is_dir():
            shutil.copytree(TOP / part, folder / part, symlinks=True, ignore=clean)
        else:
            shutil.copy(TOP / part, folder / part)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), cwd=folder)
    return next((folder / "dist").glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_package_and_nothing_outside_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    assert all(name.startswith("reinforced/") for name in inside)
    assert len(licences) == 1
    package = TOP / "src" / "reinforced"
    folders = [package, *(package / part for part in ("operators", "pipelines", "schemas"))]
    files = {
        (folder.relative_to(package.parent) / path.relative_to(folder)).as_posix()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == files


@pytest.mark.slow
def test_the_installed_wheel_lists_every_operator_recipe_and_schema(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "clean", cwd=tmp_path)
    clean = tmp_path / "clean"
    python = str(clean / "bin" / "python")
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", str(wheel), cwd=tmp_path)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    # The dependencies are those of this environment; a .pth line adds them behind the wheel, and no editable install.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    where, operators, names, schemas = json.loads(run(python, "-I", "-c", LIST, cwd=tmp_path))
    assert Path(where).is_relative_to(clean)
    assert operators == operator_names()
    assert names == list(recipes())
    assert schemas == list(layer_schemas())
    assert all(name in run(str(clean / "bin" / "reinforced"), "ops", cwd=tmp_path) for name in operators)
