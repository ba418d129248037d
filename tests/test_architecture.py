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
        "dask": "cluster.dask",
        "distributed": "cluster.dask",
        "filelock": "machine.file_lock",
        "fsspec": "cluster.store",
        "highdicom": "io.dicom.library",
        "isal": "io.nifti",
        "jinja2": "jobs.pictures.html cluster.slurm",
        "matplotlib": "jobs.pictures.sheet",
        "nibabel": "io.header",
        "openvino": "runtime.library",
        "packaging": "deploy.wheelhouse.wheels",
        "pathspec": "jobs.bids.dataset",
        "pyarrow": "jobs.batch.parquet",
        "psutil": "machine.process",
        "pydicom": "io.dicom.library",
        "SimpleITK": "registration.library",
        **dict.fromkeys(("torch", "nncf", "onnx", "onnxruntime", "monai"), ""),
    },
    "brain_edge_conversion": {
        "filelock": "budget.work_folder",
        "matplotlib": "quantize.explain_plot tune.plot",
        "nncf": "quantize.networks",
        "onnx": "weights.onnx_graph weights.onnx_norms",
        "onnxruntime": "weights.onnx_graph",
        "yaml": "folders.reading",
        **dict.fromkeys(("cc3d", "highdicom", "isal", "nibabel", "openvino", "pydicom"), ""),
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
        "brain_edge_conversion.mending.watching",
    ),
    *(f"brain_edge_conversion.{each}" for each in ("convert.trace", "weights.exported_program")),
    *(f"brain_edge_conversion.quantize.{each}" for each in ("loops", "statistics_order")),
}
"""The modules that ask for all of openvino: for a core to keep, its converter, or to make a model. For the others there
are the functions of `runtime/library`: an import elsewhere could be the first one, and call home."""

ONLY_MAKERS = {
    "WarmSegmenter": "brain_edge.engine.segmenter",
    # PyTorch's networks between the same steps
    "Segmenter": "brain_edge_conversion.convert.parity brain_edge_conversion.demo.published_network",
    # the parity check asks graph by graph
    "open_sessions": "brain_edge.engine.segmenter brain_edge_conversion.convert.compare",
    **dict.fromkeys(("GraphSession", "SessionPool", "CompiledGraph"), "brain_edge.runtime.session"),
    # the profiler compiles a graph again, with counters
    "GraphCompiler": "brain_edge.runtime.session brain_edge.bench.profile",
    # the probe of a cluster measures the very way of a batch
    "run_case": "brain_edge.cli.run brain_edge.jobs.batch.case brain_edge.cluster.probe",
}
"""Who calls what runs a case, or what it is made of. Everybody else calls `Segmenter.open`."""


@cache
def called(path: Path) -> frozenset[str]:
    """Names of what a file calls, as such or of a module."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    return frozenset(str(getattr(each, "id", None) or getattr(each, "attr", None)) for each in calls)


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


def calling(what: str) -> set[str]:
    """The modules of both packages that call a function or class by this name, as such or of a module."""
    return {module for root in PACKAGES.values() for module, path in modules(root).items() if what in called(path)}


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


@pytest.mark.parametrize("what", ONLY_MAKERS)
def test_there_is_no_second_way_to_run_a_case(what):
    assert calling(what) == set(ONLY_MAKERS[what].split())


DOORS = ("brain_edge.cli.", "brain_edge.verbs.")
"""Where `brain_edge` may name the build side: the commands, and the functions of the same names. Both import it when
they are called, so that `import brain_edge` and a hospital's commands never do."""


def test_the_runtime_reaches_the_build_side_from_commands_and_verbs_alone():
    users = importing("brain_edge", "brain_edge_conversion")
    assert all(user.startswith(DOORS) for user in users), users


def test_verbs_import_the_build_side_when_they_are_called():
    for module, path in modules(PACKAGES["brain_edge"]).items():
        if module.startswith("brain_edge.verbs."):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            at_once = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
            assert not [node for node in at_once if "brain_edge_conversion" in ast.unparse(node)], module


VERBS = ("convert", "quantize", "tune")
MOST_IMPORTS = 15
"""Modules of ours that the module of a verb imports: what it says in ten lines should not lie in thirty places."""


def homes(name: str, known: dict[str, Path]) -> set[str]:
    """The modules that a dotted name comes from; for one that only passes names on, those that it has them of."""
    module = name
    while module not in known:
        if not (module := module.rpartition(".")[0]):
            return set()
    body = ast.parse(known[module].read_text(encoding="utf-8")).body
    passed_on = imported(known[module], module)
    if not passed_on or not all(isinstance(node, ast.Import | ast.ImportFrom | ast.Expr | ast.Assign) for node in body):
        return {module}
    wanted = name.removeprefix(module).removeprefix(".")
    taken = [each for each in passed_on if each.rpartition(".")[2] == wanted or not wanted]
    return set().union(*(homes(each, known) for each in taken)) or {module}


@pytest.mark.parametrize("verb", VERBS)
def test_the_module_of_a_verb_imports_few_others(verb):
    known = {module: path for root in PACKAGES.values() for module, path in modules(root).items()}
    module = f"brain_edge_conversion.{verb}.{verb}"
    found = set().union(*(homes(name, known) for name in imported(known[module], module)))
    assert 1 < len(found) <= MOST_IMPORTS, sorted(found)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("top.door", {"top.one", "top.two"}),
        ("top.door.first", {"top.one"}),
        ("top.outer.second", {"top.two"}),
        ("top.one.first", {"top.one"}),
        ("elsewhere.first", set()),
    ],
)
def test_a_module_that_only_passes_names_on_hides_none(tmp_path, name, found):
    texts = {
        "one": "first = 1",
        "two": "import top.one\ndef second(): ...",
        "door": '"""A door."""\nfrom top.one import first\nfrom top.two import second\n__all__ = ["first", "second"]',
        "outer": "from top.door import second",
    }
    for module, text in texts.items():
        (tmp_path / f"{module}.py").write_text(text)
    assert homes(name, {f"top.{module}": tmp_path / f"{module}.py" for module in texts}) == found


STAGES = ("build", "probe", "rewrite", "trace", "save", "compare", "self_test", "seal")


def test_convert_reads_like_its_docstring():
    """It calls the stages in order, each of a module of its name, and hands what one returns to the next."""
    module = "brain_edge_conversion.convert.convert"
    path = modules(PACKAGES["brain_edge_conversion"])[module]
    assert {f"brain_edge_conversion.convert.{stage}.{stage}" for stage in STAGES} <= set(imported(path, module))
    (verb,) = (node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef))
    calls = [node.func for node in ast.walk(verb) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    in_order = sorted(calls, key=lambda called: called.lineno)
    assert tuple(called.id for called in in_order if called.id in STAGES) == STAGES
    says = (ast.get_docstring(verb) or "").partition(":")[0].lower().replace("-", "_")
    assert tuple(says.split(", ")) == STAGES


MOST_LINES = 25_100
"""That the commands of a hospital may reach: what one of them does not need lies where it is needed.

16,994 with the rooms; since then the contrast of an image is told from its name, sidecar and header, linked folders and
slices without preamble are read, what is printed or tabulated harms no terminal and no spreadsheet, and Python has the
names of the verbs and errors and prepares a batch as the command does, what a killed process has left is removed, and
the noise of a generator has a seed. Files of macOS, rounded quaternions and protocol names of five vendors are known. A
package is found by its name, an error is followed by a hint, masks in a folder are left out, and an image that is a CT
or a head without its skull is flagged. A manifest is refused with all its faults and the nearest words, and an error of
OpenVINO with its cause. Memory is predicted for what steps make, of cgroups and limits of the process, and what unpacks
to gigabytes is refused. Then 2,400 lines with the preparation of a study: registration and its judgement, the parts
that a study lacks, and the way back of a mask to each sequence. `run` and `bids` call them for a package that states
one. A batch may be a list of 100,000 cases in a thousand shards: a case is resumed without reading its images, and a
shard writes its part of the summary. An engine is chosen by name, and its code is not reached. A run reads the fields
of a NIfTI without nibabel, whose import took longer than that of OpenVINO. Compiled graphs are kept for the user within
a size, and a strided stem in bytes is computed on the phases of its image. Sequences that are said to lie over each
other are compared. What the hunt has found in a list of cases, in the layout of a batch and in a kept study is refused,
and so are two patients in one study; OpenVINO's decoder of PyTorch is imported where openvino is. A batch that lacks a
stage 0 is refused before its first study, what killed processes have left among kept studies is found by locks that
hold on every machine, and a record names the brains that were not compared. In f32, norms and the last layers need less
memory, and the memory of a graph is predicted by the places that the plugin gives its results. Two graphs are compiled
at a time. A network copies the planes of thick slices itself, and norms that a limit of the instruction set would end
are written out. A graph whose input the image decides is compiled beside the steps, and an image is resampled without
SciPy.
"""


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


ABOUT_THE_WHOLE = {
    *("test_architecture", "test_docs", "test_figures", "test_hunt", "test_imports", "test_language", "test_mutants"),
    *("test_no_network", "test_recorded", "test_site"),
}
"""Tests that belong to no room."""


def test_tests_lie_in_the_room_of_what_they_test():
    tests = ROOT / "tests"
    rooms = {room for name in PACKAGES for room in order_of(name)} | {"benchmarks", "wheel"}
    assert {path.parent.name for path in tests.glob("*/test_*.py")} <= rooms
    assert {path.stem for path in tests.glob("test_*.py")} == ABOUT_THE_WHOLE
