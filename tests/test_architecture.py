"""The cut of the package: imports go one way, each foreign library has one home, one public component a file."""

import ast
import importlib
from pathlib import Path

import pytest

import mfstudy
from mfstudy import components

ROOT = Path(mfstudy.__file__).parent

#: Low to high; a module may import its own layer and those before it.
LAYERS = (
    ("ensemble", "checks", "streams"),
    (
        "forces",
        "velocities",
        "external",
        "kernels",
        "transport",
        "rates",
        "means",
        "tails",
        "wording",
        "gelbrich",
        "samples",
        "systematics",
    ),
    ("laws", "intervals", "exponents", "regression", "candidates", "decisive", "dictionary", "marginals"),
    ("systems", "fit", "findings"),
    ("constants",),
    ("integrate", "meanfield"),
    ("liouville",),
    ("references", "distances"),
    ("observables", "theorems"),
    ("components",),
    ("toml",),
    ("quantities",),
    ("targets",),
    ("study",),
    ("theory",),
    ("replicate", "store", "claims", "statements"),
    ("numbers",),
    ("stated",),
    ("results", "plan", "agenda", "rounds", "cluster", "admission"),
    ("worker", "window"),
    ("standing", "drive", "verify"),
    ("sweep",),
    ("plot",),
    ("report",),
    ("console",),
    ("cli", "__main__", "__init__"),
)

#: Foreign library -> the only modules that may import it.
HOMES = {
    "zarr": {"store"},
    "obstore": {"store"},
    "google_crc32c": {"store"},
    "dask": {"cluster", "window"},
    "distributed": {"cluster", "window"},
    "dask_jobqueue": {"cluster"},
    "dask_kubernetes": {"cluster"},
    "kr8s": {"cluster"},
    "asyncssh": {"cluster"},
    "tomllib": {"toml"},
    "matplotlib": {"plot"},
    "xarray": {"results"},
    "click": {"cli", "console"},
    "rich": {"console"},
    "jinja2": {"report"},
    "ot": {"transport"},
    "threadpoolctl": {"replicate"},
    "numba": {"forces", "transport"},
    "finufft": {"forces"},
}

MODULES = sorted(ROOT.rglob("*.py"))


def home(path: Path) -> str:
    """Return the top-level module or package that a file belongs to."""
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path: Path) -> set[str]:
    """Return the dotted names that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rank(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    if home(path) == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "mfstudy":
            assert rank(parts[1]) <= rank(home(path)), f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_each_foreign_library_has_one_home(path):
    for name in imports(path):
        library = name.split(".")[0]
        assert home(path) in HOMES.get(library, {home(path)}), f"{path} imports {library}"


def test_every_module_has_a_layer():
    assert {home(path) for path in MODULES} == {name for layer in LAYERS for name in layer}


@pytest.mark.parametrize(
    ("folder", "kind"), [(folder, kind) for folder in components.FOLDERS for kind in components.kinds(folder)]
)
def test_a_file_holds_one_documented_component(folder, kind):
    cls = components.component_class(importlib.import_module(f"mfstudy.{folder}.{kind}"))
    assert cls.__dataclass_params__.frozen
    assert isinstance(cls.scheme, int)
    assert len(cls.__doc__.splitlines()) >= 1
    assert cls.__name__.lower() == kind.replace("_", "")


def test_only_the_face_prints():
    for path in MODULES:
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        names = {n.func.id for n in calls if isinstance(n.func, ast.Name)}
        assert "print" not in names, path
        assert not names & {"eval", "exec"}, path


def test_nothing_unpickles():
    for path in MODULES:
        assert not {n.split(".")[0] for n in imports(path)} & {
            "pickle",
            "cloudpickle",
            "dill",
            "shelve",
            "marshal",
        }
