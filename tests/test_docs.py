"""The documentation is true: what it generates, links, shows and runs is what the code does."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
import torch
from cli_program import save_phantom, succeed
from tiny_package import make_package

import brain_edge
from brain_edge import errors
from brain_edge.cli.main import COMMANDS, PROGRAM, program
from brain_edge.engine.segmenter import Segmenter
from brain_edge.evaluation.cohort.manifest import CaseEntry, CohortManifest, parse_manifest
from brain_edge.io.nifti import write_mask
from brain_edge.jobs.case import read_study
from brain_edge.package import Manifest
from brain_edge_conversion.convert.parity import ParityLimits, TorchSession
from brain_edge_conversion.recipes import load_recipe, recipe_names
from brain_edge_conversion.specification import spec_from_json

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
OTHERS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "calibration_data/README.md")
PAGES = sorted([*DOCS.rglob("*.md"), *(ROOT / name for name in OTHERS)])
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ABSOLUTE = re.compile(r"""(?:^|[\s"'`(=])(?:/[A-Za-z][\w.-]*|[A-Z]:\\)""", re.MULTILINE)
DIGEST = "0" * 64
INSIDE = {"add-a-step.md": {"spec.steps.frame.Frame", "spec.steps.step.IntensityStep", "spec.steps.step.Scope"}}
"""Pages whose code becomes a module of the package itself -> what it may import of it."""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return [body for _, kind, body in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def column(page: str, first: int = 0) -> list[str]:
    """The code in one column of the tables of a page, row by row."""
    rows = [line.split("|")[1:-1] for line in (DOCS / page).read_text(encoding="utf-8").splitlines() if "|" in line]
    cells = (row[first].strip() for row in rows if len(row) > first)
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def imported_from(text: str) -> Iterator[str]:
    """The names that a piece of code takes of both packages, those of `brain_edge` without its name."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            is_use = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            names = [ast.unparse(node)] if is_use else []
        for name in names:
            if name.startswith(("brain_edge.", "brain_edge_conversion.")):
                yield name.removeprefix("brain_edge.")


def headings(page: Path) -> list[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]


def anchor(heading: str) -> str:
    """What GitHub calls a heading in an address."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.fixture(scope="module")
def generate() -> Any:
    """`docs/generate.py`, which is no module of a package."""
    found = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


class TestGenerated:
    def test_what_is_committed_is_what_would_be_written(self, generate):
        for name, text in generate.pages().items():
            committed = (DOCS / "reference" / name).read_text(encoding="utf-8")
            assert committed == text, f"docs/reference/{name} is not up to date: run `make docs`"

    def test_every_command_has_its_help(self):
        found = headings(DOCS / "reference/cli.md")
        assert [title for title in found if len(title.split()) == 2] == [f"{PROGRAM} {name}" for name in COMMANDS]


class TestLinks:
    @pytest.mark.parametrize("page", PAGES, ids=name_of)
    def test_every_relative_link_leads_somewhere(self, page):
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for target in LINK.findall(text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, fragment = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            assert there.exists(), target
            if fragment and there.suffix == ".md":
                assert fragment in map(anchor, headings(there)), target

    def test_every_page_can_be_reached_from_the_readme(self):
        seen, waiting = set(), [ROOT / "README.md"]
        while waiting:
            page = waiting.pop()
            if page in seen:
                continue
            seen.add(page)
            targets = LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
            found = [(page.parent / target.partition("#")[0]).resolve() for target in targets if ":" not in target]
            waiting.extend(path for path in found if path.suffix == ".md" and path.is_file())
        decisions = set((DOCS / "decisions").glob("0*.md"))  # their folder is the index
        assert set(DOCS.rglob("*.md")) - decisions <= seen

    def test_pages_that_the_code_names_exist(self):
        sources = [*(ROOT / "brain_edge").rglob("*.py"), *(ROOT / "conversion").rglob("*.py")]
        named = {
            name for path in sources for name in re.findall(r"docs/[\w/.-]+\.(?:md|json)", path.read_text("utf-8"))
        }
        assert named
        assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []

    @pytest.mark.parametrize("page", PAGES, ids=name_of)
    def test_no_page_names_a_place_on_somebodys_machine(self, page):
        assert ABSOLUTE.findall(page.read_text(encoding="utf-8")) == []


class TestLists:
    def test_recipes(self):
        assert tuple(headings(DOCS / "reference/recipes.md")[1:]) == recipe_names()
        models = (DOCS / "models.md").read_text("utf-8")
        without = [
            name
            for name in recipe_names()
            if load_recipe(name).weights.startswith(("in no registry", "shared by the paper"))
        ]
        assert sorted(re.findall(r"^\| `([\w-]+)`", models, re.MULTILINE)) == sorted({*recipe_names()} - {*without})

    def test_exit_codes(self):
        text = (DOCS / "reference/exit-codes.md").read_text(encoding="utf-8")
        listed = {name: int(code) for code, name in re.findall(r"^\| (\d+) \|.*\| `(\w+)` \|$", text, re.MULTILINE)}
        classes = {name: value for name, value in vars(errors).items() if name.endswith("Error")}
        assert listed == {name: value.exit_code for name, value in classes.items()}

    def test_public_names(self):
        assert sorted(column("reference/python.md")) == sorted(brain_edge.__all__)

    def test_public_names_one_by_one(self):
        """Each of them, the errors by their module."""
        text = (DOCS / "reference/api.md").read_text(encoding="utf-8")
        listed = set(re.findall(r"^::: brain_edge\.([\w.]+)$", text, re.MULTILINE))
        wanted = {name for name in brain_edge.__all__ if not name.endswith("Error")} - {"__version__"}
        assert listed == wanted | {"errors", "verbs.limits.BudgetLimits"}

    @pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
    def test_examples_import_what_is_public(self, page):
        for text in blocks(page, "python"):
            assert set(imported_from(text)) <= INSIDE.get(page.name, set()) | {*dir(brain_edge)}

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("from brain_edge import read", ["read"]),
            ("from brain_edge.io.nifti import read_volume", ["io.nifti.read_volume"]),
            ("import brain_edge.io.nifti as io", ["io.nifti"]),
            ("import brain_edge\nbrain_edge.convert('deepbet')", ["convert"]),
            ("from brain_edge_conversion import recipes", ["brain_edge_conversion.recipes"]),
            ("import numpy", []),
        ],
    )
    def test_whatever_an_example_takes_of_the_packages_is_found(self, text, found):
        assert list(imported_from(text)) == found

    def test_fields_of_a_manifest(self):
        assert sorted(column("concepts/package-format.md")) == sorted(Manifest.__struct_fields__)

    def test_fields_of_a_cohort(self):
        fields = [*CohortManifest.__struct_encode_fields__, *CaseEntry.__struct_encode_fields__]
        assert sorted(column("reference/cohort-format.md")) == sorted(fields)

    def test_limits_of_parity(self):
        limits = ParityLimits()
        stated = [
            f"at least {limits.same_label_share}",
            f"at most {limits.relative_error}",
            f"at least {limits.mask_dice}",
        ]
        text = (DOCS / "concepts/parity.md").read_text(encoding="utf-8")
        assert re.findall(r"\| (at (?:least|most) [\d.]+) \|$", text, re.MULTILINE) == stated

    def test_decisions_are_numbered_without_gaps(self):
        numbers = [int(path.name[:4]) for path in sorted((DOCS / "decisions").glob("0*.md"))]
        assert numbers == list(range(1, len(numbers) + 1))


CHANGES = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
"""Of changes, in the order of Keep a Changelog."""


class TestChanges:
    @pytest.mark.parametrize("version", re.split(r"^## ", CHANGES, flags=re.MULTILINE)[1:], ids=lambda text: text[:5])
    def test_each_version_has_its_entries_under_the_kinds_of_change(self, version):
        before, *sections = re.split(r"^### ", version, flags=re.MULTILINE)
        titles = [section.partition("\n")[0] for section in sections]
        assert titles == [kind for kind in KINDS if kind in titles]
        assert not re.search(r"^- ", before, re.MULTILINE)
        assert all(re.search(r"^- ", section, re.MULTILINE) for section in sections)

    @pytest.mark.parametrize("entry", re.findall(r"^- (.*)$", CHANGES, re.MULTILINE), ids=lambda text: text[:30])
    def test_an_entry_is_one_or_two_sentences(self, entry):
        """Which end with a full stop; what is in brackets or code has none of its own."""
        plain = re.sub(r"`[^`]*`|\([^)]*\)|\[[^\]]*\]", "x", entry)
        assert 1 <= len(re.findall(r"\.(?= |$)", plain)) <= 2
        assert plain.endswith(".")


class TestExamples:
    @pytest.mark.parametrize("page", PAGES, ids=name_of)
    def test_every_command_line_is_understood(self, page):
        """Parsed by the program itself, up to the point where it would begin to work."""
        for words in _command_lines(page):
            if words[0] == PROGRAM:
                _parse(words[1:])
            if words[0] == "make":
                assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE), words

    @pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "json")], ids=name_of)
    def test_every_specification_is_read(self, page):
        for text in blocks(page, "json"):
            spec_from_json(text, name_of(page))

    @pytest.mark.parametrize(
        "page", [page for page in PAGES if DOCS in page.parents and blocks(page, "toml")], ids=name_of
    )
    def test_every_cohort_manifest_is_read(self, page):
        for text in blocks(page, "toml"):
            parse_manifest(text, name_of(page))

    @pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
    def test_every_python_example_runs(self, page, tmp_path, monkeypatch):
        """Beside a head, a DICOM series and a package of the names that the pages use."""
        if page.name == "dicom.md":
            pytest.importorskip("highdicom", reason="needs the extra dicom")
            from dicom_series import Series

            Series().write(tmp_path / "study")
        save_phantom(tmp_path / "head.nii.gz")
        make_package(tmp_path / "deepbet-int8")
        monkeypatch.chdir(tmp_path)
        for text in blocks(page, "python"):
            exec(compile(text, name_of(page), "exec", dont_inherit=True), {"__name__": "example"})  # noqa: S102 - our own pages

    def test_the_network_of_the_how_to_is_converted_and_run(self, tmp_path, monkeypatch):
        """Its commands as they stand, beside the two files of the page, weights and a head of two sequences."""
        page = DOCS / "how-to/convert-your-own-network.md"
        monkeypatch.delitem(sys.modules, "mynet", raising=False)
        monkeypatch.chdir(tmp_path)
        (code,), (spec,) = blocks(page, "python"), blocks(page, "json")
        (tmp_path / "mynet.py").write_text(code, encoding="utf-8")
        network = _save_random_weights(code, tmp_path / "mynet.pt")
        for seed, sequence in enumerate(("T1", "FLAIR")):
            save_phantom(tmp_path / f"head_{sequence}.nii.gz", seed=seed)
        study = read_study({name: Path(f"head_{name}.nii.gz") for name in ("T1", "FLAIR")})
        own = Segmenter(spec_from_json(spec, "mynet"), {"mynet": TorchSession(network.eval())})(study)
        write_mask(own.mask, study.volumes["T1"], "mine.nii.gz")
        for words in _command_lines(page):
            if words[0] == PROGRAM and "mynet.ts" not in words:  # the same package from TorchScript
                succeed(*words[1:])
            if words[1:3] == ["spec", "new"]:  # the user corrects the starter
                (tmp_path / "mynet.json").write_text(spec, encoding="utf-8")
        assert (tmp_path / "mask.nii.gz").is_file()
        sys.modules.pop("mynet", None)

    @pytest.mark.parametrize(
        "page",
        [  # torch.export takes long
            *("from-a-state-dict.md", "from-torchscript.md", "from-onnx.md"),
            pytest.param("from-torch-export.md", marks=pytest.mark.full),
        ],
    )
    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
    def test_every_source_of_the_how_tos_is_converted_and_run(self, page, tmp_path, monkeypatch):
        """The commands as they stand, beside the files that the page makes."""
        where = DOCS / "how-to" / page
        monkeypatch.chdir(tmp_path)
        (code,), (spec,) = blocks(where, "python"), blocks(where, "json")
        (tmp_path / "mynetwork.py").write_text(code, encoding="utf-8")
        (tmp_path / "net.json").write_text(spec, encoding="utf-8")
        namespace: dict[str, Any] = {"__name__": "example"}
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            exec(compile(code, page, "exec"), namespace)  # noqa: S102 - our own pages
            if "build" in namespace:
                torch.save(namespace["build"]().state_dict(), "weights.pt")
        save_phantom(tmp_path / "head.nii.gz")
        for words in _command_lines(where):
            succeed(*words[1:])
        assert (tmp_path / "mask.nii.gz").is_file()
        assert (tmp_path / "report/conversion.html").is_file()
        sys.modules.pop("mynetwork", None)


def _save_random_weights(code: str, path: Path) -> torch.nn.Module:
    namespace: dict[str, Any] = {"__name__": "mynet"}
    exec(code, namespace)  # noqa: S102 - our own page
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network: torch.nn.Module = namespace["MyNetwork"]()
    torch.save(network.state_dict(), path)
    return network


def _command_lines(page: Path) -> Iterator[list[str]]:
    """The lines of the shell examples of a page, as words."""
    for text in blocks(page, "sh"):
        for line in text.replace("\\\n", " ").replace("$DIGEST", DIGEST).splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


def _parse(words: list[str]) -> None:
    command: click.Command = program
    context = program.make_context(PROGRAM, words[:0], resilient_parsing=True)
    while isinstance(command, click.Group):
        below = command.get_command(context, words[0])
        assert below is not None, words
        name, words = words[0], words[1:]
        context = click.Context(below, info_name=name, parent=context)
        command = below
    command.make_context(str(context.info_name), list(words), parent=context.parent)
