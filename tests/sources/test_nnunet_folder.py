"""An nnU-Net v2 results folder becomes a package; what its plans do not say, or say of something else, is refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_program import save_phantom, succeed
from doc_pages import run_page
from nnunet_folder import ARCHITECTURE, make_folder
from present import present
from scipy.ndimage import gaussian_filter
from skimage.transform import resize as scikit_resize

from brain_edge.engine.segmenter import Segmenter
from brain_edge.engine.windows import window_weights
from brain_edge.errors import InputError, UsageError, WeightsError
from brain_edge.image.geometry import Geometry
from brain_edge.image.resample import Interpolation
from brain_edge.image.volume import Study
from brain_edge.io.nifti import read_volume
from brain_edge.machine.process import peak_rss_bytes
from brain_edge.spec import Blending
from brain_edge.spec.steps import ChannelRule, Frame, NormaliseEach, ResampleThickSlices, Scheme
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.recipe import Variant
from brain_edge_conversion.sources import Request, kind_of, resolve


def build_all(folder: Path, **options: Any) -> Any:
    assert kind_of(str(folder)).name == "nnU-Net v2 results folder"
    resolved = resolve(Request(source=str(folder), **options))
    for graph in resolved.model.graphs:
        graph.build(resolved.weights[graph.graph])
    return resolved.model.spec


class TestSpec:
    def test_all_folds_are_members_and_no_trainer_is_imported(self, tmp_path):
        spec = build_all(make_folder(tmp_path))
        assert spec.graphs == ("fold_0", "fold_1")
        assert spec.contrasts == {"T1": ("T1w",), "FLAIR": ("FLAIR",)}
        assert spec.label_names() == {1: "oedema", 2: "core"}

    def test_folds_without_a_final_checkpoint_are_left_out_and_named(self, tmp_path):
        folder = make_folder(tmp_path, folds=3)
        (folder / "fold_0" / "checkpoint_final.pth").rename(folder / "fold_0" / "checkpoint_best.pth")
        said: list[str] = []
        assert build_all(folder, report=said.append).graphs == ("fold_1", "fold_2")
        assert "warning: Folds without checkpoint_final.pth are left out: fold_0." in said
        assert build_all(folder, variant=Variant(members=1)).graphs == ("fold_1",)

    def test_the_best_checkpoint_counts_where_no_training_is_finished(self, tmp_path):
        folder = make_folder(tmp_path, folds=1)
        (folder / "fold_0" / "checkpoint_final.pth").rename(folder / "fold_0" / "checkpoint_best.pth")
        said: list[str] = []
        resolved = resolve(Request(source=str(folder), report=said.append))
        assert [present(path).name for path in resolved.weights.values()] == ["checkpoint_best.pth"]
        assert "the weights are those of checkpoint_best.pth" in resolved.model.card.limits
        assert any(line.startswith("warning: No fold has checkpoint_final.pth") for line in said)

    def test_the_first_folds_and_the_mirrorings_can_be_chosen(self, tmp_path):
        spec = build_all(make_folder(tmp_path), variant=Variant(members=1, flips=True))
        assert spec.graphs == ("fold_0",)
        assert spec.stages[0].network.flips == ((), (0,), (2,), (0, 2))

    @pytest.mark.parametrize("suffix", ["json", "pkl"])
    def test_a_post_processing_that_is_not_applied_is_told(self, tmp_path, suffix):
        folder = make_folder(tmp_path)
        said: list[str] = []
        assert "post-processing" not in resolve(Request(source=str(folder))).model.card.limits
        (folder / "crossval_results_folds_0_1").mkdir()
        (folder / f"crossval_results_folds_0_1/postprocessing.{suffix}").write_text("{}")
        found = resolve(Request(source=str(folder), report=said.append))
        assert f"(crossval_results_folds_0_1/postprocessing.{suffix}) is not applied." in found.model.card.limits
        assert any(line.startswith("warning: nnU-Net's post-processing") for line in said)

    def test_regions_are_painted_in_their_order(self, tmp_path):
        labels = {"background": 0, "whole tumor": [1, 2, 3], "core": [2, 3], "enhancing": [3]}
        dataset = {"labels": labels, "regions_class_order": [1, 2, 3]}
        spec = build_all(make_folder(tmp_path, dataset=dataset))
        assert spec.label_names() == {1: "whole_tumor", 2: "core", 3: "enhancing"}
        assert [region.label for region in spec.stages[0].after[1].regions] == [1, 2, 3]

    def test_plans_of_before_architecture_are_understood(self, tmp_path):
        old = {
            "architecture": None,
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 4,
            "unet_max_num_features": 320,
            "conv_kernel_sizes": [[3, 3, 3], [3, 3, 3]],
            "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2]],
            "n_conv_per_stage_encoder": [1, 1],
            "n_conv_per_stage_decoder": [1],
        }
        assert build_all(make_folder(tmp_path, configuration=old)).graphs == ("fold_0", "fold_1")


class TestRefusals:
    @pytest.mark.parametrize(
        ("what", "words"),
        [
            (
                {"configuration": {"architecture": ARCHITECTURE | {"network_class_name": "my.Net"}}},
                "got my.Net; convert",
            ),
            ({"configuration": {"architecture": None}}, "expected an architecture in the plans, got none"),
            ({"configuration": {"previous_stage": "3d_lowres"}}, "got a cascade's network after 3d_lowres"),
            ({"configuration": {"patch_size": [16, 16]}}, "expected a 3D configuration"),
            ({"configuration": {"resampling_fn_data": "resample_torch_fornnunet"}}, "got resample_torch_fornnunet"),
            ({"configuration": {"normalization_schemes": ["Mine", "Mine"]}}, "got Mine for channel 0"),
            ({"configuration": {"normalization_schemes": ["CTNormalization"] * 2}}, "foreground_intensity_properties"),
            ({"plans": {"image_reader_writer": "Tiff3DIO"}}, "got Tiff3DIO"),
            ({"dataset": {"channel_names": {"0": "T1"}}}, "a normalisation for each of 1 channels"),
            (
                {"dataset": {"labels": {"background": 0, "far": 7}}},
                "labels numbered from 1 to at most 255 without gaps",
            ),
            ({"dataset": {"labels": {"background": 0, "a": [1, 2], "b": 2}}}, "regions_class_order"),
        ],
    )
    def test_name_the_file_and_what_is_in_it(self, what, words, tmp_path):
        with pytest.raises(InputError, match=words):
            build_all(make_folder(tmp_path, **what))

    @pytest.mark.parametrize(
        "what",
        [
            {"plans": {"configurations": {"3d_fullres": {"inherits_from": ["base"]}}}},
            {"configuration": {"architecture": "PlainConvUNet"}},
            {"configuration": {"architecture": None, "UNet_class_name": ["PlainConvUNet"]}},
            {"configuration": {"architecture": None, "UNet_class_name": "PlainConvUNet"}},
            {"configuration": {"patch_size": [16, 16, 2**40]}},
            {"configuration": {"spacing": [1.0, 1.0, 0.0]}},
            {"configuration": {"spacing": [1.0, 1.0, -1.0]}},
            *(
                {
                    "configuration": {
                        "architecture": ARCHITECTURE | {"arch_kwargs": ARCHITECTURE["arch_kwargs"] | change}
                    }
                }
                for change in (
                    {"features_per_stage": [4, 0]},
                    {"features_per_stage": [4, 10**400]},
                    {"kernel_sizes": [[3, 3, 3], [3, 3, -3]]},
                    {"strides": [[1, 1, 1], [0, 2, 2]]},
                    {"n_conv_per_stage": [1, 2**31]},
                )
            ),
            {"dataset": {"labels": {"background": 0, "a": []}}},
        ],
        ids=str,
    )
    def test_values_that_no_plan_has_are_refused(self, what, tmp_path):
        with pytest.raises(InputError, match=r"plans\.json|dataset\.json|nnUNetPlans__3d_fullres"):
            build_all(make_folder(tmp_path, **what))

    def test_a_network_far_wider_than_its_weights_takes_no_memory(self, tmp_path):
        """It would take 28 GiB."""
        wide = ARCHITECTURE["arch_kwargs"] | {"features_per_stage": [4, 2**14]}
        folder = make_folder(tmp_path, configuration={"architecture": ARCHITECTURE | {"arch_kwargs": wide}})
        before = peak_rss_bytes()
        with pytest.raises(WeightsError, match=r"do not fit NnunetUNet: .*differently shaped"):
            build_all(folder)
        assert peak_rss_bytes() - before < 2**29

    @pytest.mark.parametrize("axes", ["x", 5, [0, 3], [0] * 40, [None]], ids=str)
    def test_axes_that_nothing_can_be_mirrored_along_are_refused(self, axes, tmp_path):
        folder = make_folder(tmp_path, folds=1)
        path = folder / "fold_0" / "checkpoint_final.pth"
        content = torch.load(path, weights_only=False)
        torch.save(content | {"inference_allowed_mirroring_axes": axes}, path)
        with pytest.raises(WeightsError, match="expected inference_allowed_mirroring_axes out of 0, 1 and 2"):
            build_all(folder, variant=Variant(flips=True))

    def test_a_fold_of_a_huge_number_is_a_fold(self, tmp_path):
        folder = make_folder(tmp_path, folds=1)
        (folder / "fold_999999999999").mkdir()
        assert build_all(folder).graphs == ("fold_0",)

    def test_plans_of_version_1_are_not_unpickled(self, tmp_path):
        (tmp_path / "plans.pkl").write_bytes(b"not even a pickle")
        with pytest.raises(InputError, match=r"got those of version 1 \(a pickle, not read\)"):
            build_all(tmp_path)

    def test_more_members_than_folds_with_a_checkpoint_are_refused_with_those_that_have_one(self, tmp_path):
        folder = make_folder(tmp_path, folds=3)
        (folder / "fold_1" / "checkpoint_final.pth").unlink()
        words = r"expected 3 or more folds with checkpoint_final\.pth, got 2 \(fold_0, fold_2\)"
        with pytest.raises(WeightsError, match=words):
            build_all(folder, variant=Variant(members=3))
        for fold in (0, 2):
            (folder / f"fold_{fold}" / "checkpoint_final.pth").unlink()
        with pytest.raises(WeightsError, match=r"expected one or more folds .*, got 0 \(none\)"):
            build_all(folder)

    def test_a_folder_above_names_the_results_folders_in_it(self, tmp_path):
        folder = make_folder(tmp_path)
        words = rf"got the folder above; name the folder itself: {re.escape(str(folder))}$"
        with pytest.raises(UsageError, match=words):
            build_all(folder.parent)

    def test_a_network_without_its_weights(self, tmp_path):
        graph, *_ = resolve(Request(source=str(make_folder(tmp_path)))).model.graphs
        with pytest.raises(WeightsError, match="an nnU-Net folder is converted with the weights in it, got none"):
            graph.build(None)

    def test_a_network_that_the_plans_do_not_describe_does_not_fit(self, tmp_path):
        arguments = ARCHITECTURE["arch_kwargs"] | {"n_conv_per_stage": [2, 1]}
        wider = {"architecture": ARCHITECTURE | {"arch_kwargs": arguments}}
        with pytest.raises(WeightsError, match="do not fit NnunetUNet: 4 missing"):
            build_all(make_folder(tmp_path, configuration=wider))

    @pytest.mark.parametrize("name", ["plans.json", "dataset.json"])
    def test_a_missing_file_is_named(self, name, tmp_path):
        folder = make_folder(tmp_path)
        (folder / name).unlink()
        with pytest.raises(InputError, match=f"{name}: there is no such file"):
            build_all(folder)


class TestHowTo:
    @pytest.mark.full  # four minutes: an ensemble of folds with all mirrorings, compared and run
    def test_its_commands_convert_and_run_the_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        make_folder(tmp_path, configuration={"patch_size": [48, 48, 48]})
        for seed, sequence in enumerate(("T1", "FLAIR")):
            save_phantom(tmp_path / f"head_{sequence}.nii.gz", seed=seed)
        run_page("convert-an-nnunet-folder.md")
        assert (tmp_path / "mask.nii.gz").is_file()


class TestSteps:
    def test_weights_are_a_filtered_point_in_half_precision(self):
        """By scipy's three-dimensional filter, as nnU-Net calls it."""
        sides = (32, 33, 20)
        point = np.zeros(sides)
        point[16, 16, 10] = 1
        wanted = gaussian_filter(point, [side / 8 for side in sides], mode="constant")
        held = (wanted / (wanted.max() / 10)).astype(np.float16)
        held[held == 0] = held[held > 0].min()
        assert np.array_equal(window_weights(sides, Blending.GAUSSIAN_CUT), held.astype(np.float32))

    def test_cubic_resampling_stays_in_range_as_in_scikit_image(self):
        voxels = np.random.default_rng(0).normal(size=(1, 20, 18, 16)).astype(np.float32)
        frame = ResampleThickSlices(spacing_mm=(1.3, 0.8, 1.1)).apply(Frame(voxels, Geometry((20, 18, 16), np.eye(4))))
        wanted = scikit_resize(voxels[0].astype(float), frame.voxels.shape[1:], 3, mode="edge", anti_aliasing=False)
        assert np.abs(frame.voxels[0] - wanted).max() < 1e-5

    def test_thick_slices_are_not_mixed(self):
        voxels = np.random.default_rng(0).normal(size=(1, 20, 18, 6)).astype(np.float32)
        start = Frame(voxels, Geometry((20, 18, 6), np.diag([1.0, 1.0, 5.0, 1.0])))
        frame = ResampleThickSlices(spacing_mm=(2.0, 2.0, 2.5)).apply(start)
        assert frame.voxels.shape == (1, 10, 9, 12)
        assert np.array_equal(frame.voxels[..., 0::2], frame.voxels[..., 1::2])
        wanted = scikit_resize(voxels[0, ..., 2].astype(float), (10, 9), 3, mode="edge", anti_aliasing=False)
        assert np.abs(frame.voxels[0, ..., 4] - wanted).max() < 1e-5
        assert frame.undone(Interpolation.LINEAR).voxels.shape == voxels.shape

    def test_the_foreground_of_all_channels_is_normalised_with_its_holes(self):
        voxels = np.zeros((2, 9, 9, 9), dtype=np.float32)
        voxels[:, 2:7, 2:7, 2:7] = np.arange(250).reshape(2, 5, 5, 5) + 1
        voxels[:, 4, 4, 4] = 0
        rules = (ChannelRule(Scheme.Z_SCORE_FOREGROUND), ChannelRule(Scheme.MIN_MAX))
        got = NormaliseEach(channels=rules).apply(Frame(voxels, Geometry((9, 9, 9), np.eye(4)))).voxels
        inside = voxels[0, 2:7, 2:7, 2:7]
        assert np.allclose(got[0, 2:7, 2:7, 2:7], (inside - inside.mean()) / inside.std(), atol=1e-5)
        assert not got[0, 0].any()
        assert (got[1].min(), got[1].max()) == (0, 1)


@pytest.fixture(scope="module")
def nnunet_python() -> str:
    """An interpreter that has nnU-Net: this one, or that of $BRAIN_EDGE_NNUNET_PYTHON."""
    named = os.environ.get("BRAIN_EDGE_NNUNET_PYTHON")
    if named is None and find_spec("nnunetv2") is None:
        pytest.skip("needs nnU-Net: name the python of an environment with nnunetv2 in $BRAIN_EDGE_NNUNET_PYTHON")
    return named or sys.executable


def peer(python: str, *arguments: object) -> str:
    """What nnU-Net answers, run beside us."""
    script = Path(__file__).parents[1] / "nnunet_peer.py"
    ended = subprocess.run([python, script, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout.rpartition("RESULT ")[2].strip()


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("meaning", "network"), [("labels", "plain"), ("regions", "residual")])
def test_the_mask_is_that_of_nnunet(meaning, network, nnunet_python, tmp_path):
    """Planned, trained for four short epochs and predicted by nnU-Net itself: two folds, no mirroring.

    No voxel differs where nnU-Net sums its windows in single precision; its own half precision decides a few ties.
    """
    import nibabel
    from nnunet_peer import make_case

    folder = peer(nnunet_python, "train", tmp_path / "nnunet", meaning, network)
    resolved = resolve(Request(source=folder))
    for name, spacing_mm in (("finer", (0.8, 0.7, 1.1)), ("thick", (0.9, 1.0, 5.0))):
        files = [tmp_path / f"{name}_{channel:04d}.nii.gz" for channel in (0, 1)]
        for path, voxels in zip(files, make_case(11)[0], strict=True):
            nibabel.save(nibabel.Nifti1Image(voxels, np.diag([*spacing_mm, 1.0])), path)
        sequences = [sequence.name for sequence in resolved.model.spec.inputs]
        study = Study(dict(zip(sequences, map(read_volume, files), strict=True)), sequences[0])
        package = convert(resolved.model, resolved.weights, study, tmp_path / f"{name}-fp32", ConvertOptions())
        got = Segmenter.open(package)(study).mask.labels
        assert got.any()
        target = tmp_path / f"{name}.nii.gz"
        peer(nnunet_python, "predict-in-single", folder, target, *files)
        assert (np.asarray(nibabel.load(target).dataobj) == got).all()
        peer(nnunet_python, "predict", folder, target, *files)
        wanted = np.asarray(nibabel.load(target).dataobj)
        for label in (1, 2):
            either = (wanted == label).sum() + (got == label).sum()
            assert either == 0 or 2 * ((wanted == label) & (got == label)).sum() / either >= 0.999
    check_one_unfinished_fold(nnunet_python, Path(folder), tmp_path)


def check_one_unfinished_fold(python: str, folder: Path, work: Path) -> None:
    """From the folder to the mask by the commands, where all but the best checkpoint of fold 1 is gone."""
    import nibabel

    shutil.rmtree(folder / "fold_0")
    (folder / "fold_1/checkpoint_final.pth").replace(folder / "fold_1/checkpoint_best.pth")
    files = sorted(work.glob("finer_*.nii.gz"))
    sequences = [sequence.name for sequence in resolve(Request(source=str(folder))).model.spec.inputs]
    heads = [f"{name}={path}" for name, path in zip(sequences, files, strict=True)]
    parity = [option for head in heads for option in ("--parity-data", head)]
    succeed("convert", folder, *parity, "-o", work / "one-fold")
    succeed("run", work / "one-fold", *heads, "-o", work / "ours.nii.gz")
    peer(python, "predict-in-single", folder, work / "theirs.nii.gz", *files)
    ours, theirs = (np.asarray(nibabel.load(work / f"{name}.nii.gz").dataobj) for name in ("ours", "theirs"))
    assert theirs.any()
    assert (ours == theirs).all()
