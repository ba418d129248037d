"""A step that exists only here goes everywhere by what it says of itself: no other module names a step.

The steps are in `unknown_steps.py`. They are checked, planned, cut to windows, restored in slabs and tuned as they are;
read back, and documented, in a copy of the package that has that file and one line more.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_program import child_environment
from msgspec import structs
from phantoms import OBLIQUE
from scipy import ndimage
from strategies import voxels
from tiny_package import RESTORE, SPEC
from unknown_steps import Band, Curve, Doubled, FitMiddle, Soften, Twice

import brain_edge
from brain_edge.engine.execution import Decision, execute, plan_stage
from brain_edge.engine.inference import predict
from brain_edge.image.geometry import Geometry
from brain_edge.image.resample import Interpolation
from brain_edge.spec import Activation, ModelSpec, Network, SlidingWindow, Stage, WholeVolume, canonical_json
from brain_edge.spec.plan import fixed_sides, without_activation
from brain_edge.spec.steps import Frame, ResizeTo, Restore, ZScore
from brain_edge_conversion.tune.settings import dials_of

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WINDOWS = SlidingWindow(shape=(5, 6, 4), overlap=0.5)
LINEAR = Restore(interpolation=Interpolation.LINEAR)
BEFORE = (Twice(interpolation=Interpolation.LINEAR), FitMiddle(called="halfway"), Soften(knee="halfway"))
BAND = Band(above=0.2, below=0.7)


def stage_of(*before, after=(BAND, RESTORE), **network) -> Stage:
    parameters = {"graphs": ("tiny",), "channels_in": 1, "channels_out": 2, **network}
    return Stage(name="brain", before=before, network=Network(**parameters), after=after)


def spec_of(*before, **changes) -> ModelSpec:
    return structs.replace(SPEC, stages=(stage_of(*before, **changes),))


def looks_around(batch: np.ndarray) -> np.ndarray:
    """A network whose output at a voxel depends on those beside it: (1, 1, I, J, K) -> (1, 2, I, J, K)."""
    smooth = ndimage.uniform_filter(batch[0, 0], (3, 1, 2), mode="constant") / 200
    return np.stack([1 - smooth, smooth])[np.newaxis].astype(np.float32)


def frame_of(shape=(9, 8, 7)) -> Frame:
    return Frame(voxels(shape, 1)[np.newaxis], Geometry(shape, OBLIQUE))


def one_after_the_other(stage: Stage, frame: Frame) -> Frame:
    for step in stage.before:
        frame = step.apply(frame)
    frame = frame.with_voxels(predict(stage.network, {"tiny": looks_around}, frame.voxels))
    for last in stage.after:
        frame = last.apply(frame)
    return frame


def as_planned(stage: Stage, frame: Frame) -> Frame:
    plan = plan_stage(stage)
    for step in plan.whole:
        frame = step.apply(frame)
    frame = execute(plan, stage, {"tiny": looks_around}, frame)
    for last in plan.after:
        frame = last.apply(frame)
    return frame


class TestSpecification:
    def test_a_statistic_that_an_unknown_step_fits_can_be_used_by_another(self):
        assert BEFORE[1].statistics_fitted() == BEFORE[2].statistics_used() == ("halfway",)
        assert spec_of(*BEFORE).stages[0].before == BEFORE

    @pytest.mark.parametrize("before", [(Soften(knee="nobody"),), BEFORE[::-1]], ids=["nobody", "too late"])
    def test_a_statistic_that_no_earlier_step_fits_is_refused(self, before):
        name = before[0].knee
        words = (
            f"stage 'brain' uses the statistic '{name}', which no earlier step has fitted; put the step that fits it "
            "first"
        )
        with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
            spec_of(*before)

    def test_a_label_that_it_writes_must_be_in_the_table(self):
        with pytest.raises(ValueError, match=r"writes labels that are not in the label table: \[1\]"):
            structs.replace(spec_of(), labels=())

    def test_the_safe_answer_is_given_for_what_a_step_does_not_say(self):
        stage = stage_of(ResizeTo(shape=(8, 8, 8), interpolation=Interpolation.LINEAR), *BEFORE)
        decided = structs.replace(stage, network=structs.replace(stage.network, activation=Activation.SIGMOID))
        assert without_activation(decided) is decided
        assert fixed_sides(stage.before) is None


class TestExecution:
    @pytest.mark.parametrize("curve", Curve)
    @pytest.mark.parametrize("side", ["above", "below"])
    def test_each_window_is_changed_as_the_volume_is(self, curve, side):
        soften = Soften(knee="halfway", curve=curve, side=side)
        stage = stage_of(*BEFORE[:2], ZScore(), soften, execution=WINDOWS)
        assert plan_stage(stage).in_windows == (ZScore(), soften)
        np.testing.assert_array_equal(
            as_planned(stage, frame_of()).voxels, one_after_the_other(stage, frame_of()).voxels
        )

    @pytest.mark.parametrize("execution", [WholeVolume(), WINDOWS])
    def test_labels_of_blocks_are_those_of_the_volume(self, execution):
        stage = stage_of(*BEFORE, execution=execution)
        assert plan_stage(stage).decision is Decision.IN_BLOCKS
        expected = one_after_the_other(stage, frame_of()).voxels
        assert 0 < expected.mean() < 1
        np.testing.assert_array_equal(as_planned(stage, frame_of()).voxels, expected)

    def test_labels_of_slabs_on_the_way_back_are_those_of_the_volume(self, monkeypatch):
        stage = stage_of(*BEFORE, after=(LINEAR, BAND))
        assert plan_stage(stage).decision is Decision.ON_THE_WAY_BACK
        expected = one_after_the_other(stage, frame_of()).voxels
        spans = []

        def undo_slab(self, rest, axis, span):
            spans.append((axis, span))
            return slab(self, rest, axis, span)

        slab = Doubled.undo_slab
        monkeypatch.setattr(Doubled, "undo_slab", undo_slab)
        monkeypatch.setattr("brain_edge.engine.execution.SLAB_BYTES", 4 * 2 * 8 * 7 * 4)
        np.testing.assert_array_equal(as_planned(stage, frame_of()).voxels, expected)
        assert spans == [(0, (0, 4)), (0, (4, 8)), (0, (8, 9))]


class TestTune:
    def test_what_it_says_is_cheaper_is_a_level_of_a_dial(self):
        space = dials_of(spec_of(*BEFORE, after=(LINEAR, BAND)))
        assert [dial.title for dial in space.dials] == ["padding", "crop", "way in", "way back"]
        (stage,) = space.changed((1, 0, 1, 1, 0)).stages
        assert stage.before == (Twice(interpolation=Interpolation.NEAREST, careful=False), *BEFORE[1:])
        assert stage.after == (BAND, RESTORE)

    def test_one_that_follows_the_content_is_not_cropped_again(self, monkeypatch):
        monkeypatch.setattr(Twice, "follows_content", True)
        assert "crop" not in [dial.title for dial in dials_of(spec_of(*BEFORE)).dials]


LINE = "from brain_edge.spec.steps.unknown_steps import Band, FitMiddle, Soften, Twice\n"
READ = """
import importlib.util, json, sys
from pathlib import Path
from brain_edge.errors import PackageError
from brain_edge.spec import canonical_json
from brain_edge_conversion.specification import spec_from_json
known, unknown = json.load(sys.stdin)
assert canonical_json(spec_from_json(known, "known")).decode() == known
try:
    spec_from_json(unknown, "unknown")
except PackageError as error:
    refusal = str(error)
found = importlib.util.spec_from_file_location("generate", sys.argv[1])
generate = importlib.util.module_from_spec(found)
found.loader.exec_module(generate)
print(json.dumps([refusal, generate.pages()]))
"""


@pytest.fixture(scope="module")
def listed(tmp_path_factory) -> tuple[str, dict[str, str]]:
    """In a copy of the package with one module and one line more: a refusal of a specification, and the pages."""
    folder = tmp_path_factory.mktemp("listed")
    shutil.copytree(
        Path(brain_edge.__file__).parent, folder / "brain_edge", ignore=shutil.ignore_patterns("__pycache__")
    )
    steps = folder / "brain_edge" / "spec" / "steps"
    shutil.copy(Path(__file__).parents[1] / "unknown_steps.py", steps)
    faces = steps / "__init__.py"
    faces.write_text(faces.read_text("utf-8").replace("\nif TYPE_CHECKING:", f"{LINE}\nif TYPE_CHECKING:"), "utf-8")
    known = canonical_json(spec_of(*BEFORE)).decode()
    environment = child_environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), str(ROOT), environment.get("PYTHONPATH", "")])
    child = subprocess.run(
        [sys.executable, "-c", READ, DOCS / "generate.py"],
        input=json.dumps([known, known.replace('"called":"halfway"', '"called":"low"')]),
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


class TestListed:
    def test_it_is_read_back_and_checked(self, listed):
        assert "uses the statistic 'halfway', which no earlier step has fitted" in listed[0]

    def test_the_pages_have_its_section_and_its_choice_and_are_else_what_they_were(self, listed):
        for name, page in listed[1].items():
            before = (DOCS / "reference" / name).read_text("utf-8")
            if name not in ("steps.md", "spec-schema.json"):
                assert page == before
        before = (DOCS / "reference" / "steps.md").read_text("utf-8").splitlines()
        changes = list(difflib.ndiff(before, listed[1]["steps.md"].splitlines()))
        added = [line[2:] for line in changes if line.startswith("+ ")]
        assert not [line for line in changes if line.startswith("- ")]
        assert [line for line in added if line.startswith("###")] == [
            "### Twice",
            "### FitMiddle",
            "### Soften",
            "### Band",
            "### Curve",
        ]
        assert '| `curve` | [Curve](#curve) | `"root"` |' in added
        assert '| `side` | `"above"`, `"below"` | `"above"` |' in added
        assert '- `"flat"`: Not at all: it is the knee.' in added

    def test_the_schema_has_it(self, listed):
        schema = json.loads(listed[1]["spec-schema.json"])
        assert schema["$defs"]["Soften"]["properties"]["op"]["enum"] == ["soften"]
