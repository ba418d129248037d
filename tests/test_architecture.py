"""The rooms of both packages: their one direction, no circles, and who may import a heavy library.

The order stands in `docs/concepts/architecture.md`, lowest room first; the imports are read from the code, those for
types alone and those inside of functions included.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.reachable import reachable

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "concepts" / "architecture.md"
PACKAGES = {
    "brain_edge": ROOT / "brain_edge",
    "brain_edge_conversion": ROOT / "conversion" / "brain_edge_conversion",
}
FACE = {"__init__", "__main__"}
"""What is no room: the public names and the program may look into every room."""

HEAVY = {
    "brain_edge": {
        "cc3d": "image.components",
        "filelock": "jobs.batch.lock",
        "fill_voids": "image.components",
        "highdicom": "io.dicom.library",
        "isal": "io.nifti",
        "jinja2": "jobs.pictures.batch_page",
        "matplotlib": "jobs.pictures.sheet",
        "nibabel": "io.header",
        "openvino": "runtime.library",
        "packaging": "deploy.wheelhouse.wheels",
        "pathspec": "jobs.bids.dataset",
        "psutil": "machine.process",
        "pydicom": "io.dicom.library",
        **dict.fromkeys(("torch", "nncf", "onnx", "onnxruntime", "monai"), ""),
    },
    "brain_edge_conversion": {
        "filelock": "budget.work_folder",
        "matplotlib": "tune.plot",
        "nncf": "quantize.networks",
        "onnx": "weights.onnx_graph",
        "onnxruntime": "weights.onnx_graph",
        "yaml": "folders.reading",
        **dict.fromkeys(("cc3d", "fill_voids", "highdicom", "isal", "nibabel", "openvino", "pydicom"), ""),
    },
}
"""The one module of each package that imports a library which is heavy, optional or of the build side.

torch is what the build side is about, and MONAI has architectures that recipes take one by one: neither has one module
there.
"""

WHOLE_OPENVINO = {
    *(
        "brain_edge.runtime.session",
        "brain_edge.bench.operations",
        "brain_edge.bench.profile",
        "brain_edge_conversion.sealing.graph",
    ),
    *(f"brain_edge_conversion.{each}" for each in ("convert.trace", "weights.exported_program")),
    *(f"brain_edge_conversion.quantize.{each}" for each in ("loops", "statistics_order")),
}
"""The modules that ask for all of openvino: for a core to keep, its converter, or to make a model. For the others there
are the functions of `runtime/library`: an import elsewhere could be the first one, and call home."""


@cache
def imported(path: Path, module: str) -> tuple[str, ...]:
    """Every dotted name that a file imports, relative ones resolved."""
    return tuple(_imported(path, module))


def _imported(path: Path, module: str) -> Iterator[str]:
    package = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def modules(root: Path) -> dict[str, Path]:
    """The files of a package by the dotted name of their module."""
    names = {path: (root.name, *path.relative_to(root).with_suffix("").parts) for path in sorted(root.rglob("*.py"))}
    return {".".join(part for part in parts if part != "__init__"): path for path, parts in names.items()}


def upward(root: Path, order: list[str]) -> list[str]:
    """The imports from a room into itself or one below are right; the others, in words."""
    known = modules(root)
    found = []
    for module, path in known.items():
        room = module.partition(".")[2].partition(".")[0] or "__init__"
        for name in imported(path, module) if room not in FACE else ():
            top, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if top == root.name and other in order and order.index(other) > order.index(room):
                found.append(f"{module} ({room}) imports {name} ({other})")
    return found


def importing(name: str, what: str) -> set[str]:
    """The modules of a package that import a library, or a name of it."""
    return {
        module
        for module, path in modules(PACKAGES[name]).items()
        if any(f"{each}.".startswith(f"{what}.") for each in imported(path, module))
    }


def order_of(name: str) -> list[str]:
    """The rooms of a package as the page lists them, lowest first."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## `{name}`")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


@pytest.mark.parametrize("name", PACKAGES)
def test_the_page_lists_every_room_once(name):
    root = PACKAGES[name]
    rooms = {path.stem for path in root.iterdir() if path.suffix == ".py"} - FACE
    rooms |= {path.name for path in root.iterdir() if (path / "__init__.py").is_file()}
    assert sorted(order_of(name)) == sorted(rooms)


@pytest.mark.parametrize("name", PACKAGES)
def test_no_room_imports_from_one_above_it(name):
    assert upward(PACKAGES[name], order_of(name)) == []


@pytest.mark.parametrize(
    "line",
    [
        "from brain_edge.cli import main",
        "import brain_edge.cli.main",
        "from ..cli import main",
        "def late():\n    from brain_edge import cli",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from brain_edge.cli.main import program",
    ],
)
def test_a_planted_upward_import_is_found(tmp_path, line):
    root = tmp_path / "brain_edge"
    (root / "image").mkdir(parents=True)
    (root / "image" / "volume.py").write_text(line)
    assert len(upward(root, order_of("brain_edge"))) == 1


@pytest.mark.parametrize(("name", "library"), [(name, library) for name in PACKAGES for library in HEAVY[name]])
def test_a_heavy_library_is_imported_only_by_the_module_that_wraps_it(name, library):
    assert importing(name, library) == {f"{name}.{module}" for module in HEAVY[name][library].split()}


def test_few_modules_ask_for_all_of_openvino():
    door = "brain_edge.runtime.library.import_openvino"
    assert set().union(*(importing(name, door) for name in PACKAGES)) == WHOLE_OPENVINO


def test_the_runtime_reaches_the_build_side_from_the_command_line_alone():
    users = importing("brain_edge", "brain_edge_conversion")
    assert all(user.startswith("brain_edge.cli.") for user in users), users


MOST_LINES = 17_000
"""That the commands of a hospital may reach: what one of them does not need lies where it is needed."""


def test_a_hospital_reaches_no_more_lines_than_it_should():
    files = reachable()
    assert {f"brain_edge/cli/{name}.py" for name in ("main", "run", "info", "verify", "bids", "cache")} <= files.keys()
    assert not {path for path in files if path.split("/")[1] in ("bench", "deploy", "evaluation")}
    assert sum(files.values()) < MOST_LINES


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from brain_edge.image import volume", True),
        ("def late():\n    import brain_edge.image.volume", True),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from brain_edge.image.volume import Volume", True),
        ("from brain_edge_conversion.image import volume", False),
    ],
)
def test_what_is_imported_late_or_for_its_types_counts(tmp_path, line, found):
    package = tmp_path / "brain_edge"
    for place, text in (("cli/main", line), ("image/__init__", "\n"), ("image/volume", "\n\n"), ("engine", "\n")):
        path = package / f"{place}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert set(reachable(tmp_path, ())) == {
        "brain_edge/cli/main.py",
        *(("brain_edge/image/__init__.py", "brain_edge/image/volume.py") if found else ()),
    }
