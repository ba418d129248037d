"""A GaNDLF model folder becomes a package; what its configuration says and has no equivalent is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from cli_program import refused, save_phantom
from doc_pages import run_page
from gandlf_folder import MODEL, Command, Table, make_folder, plan_of
from torch import nn
from torch.nn import functional

from brain_edge.errors import InputError, WeightsError
from brain_edge.image.geometry import Geometry
from brain_edge.io.nifti import read_volume
from brain_edge.spec.steps import Frame, ZScore
from brain_edge_conversion.folders.gandlf_spec import steps_before
from brain_edge_conversion.networks.gandlf_unet import GandlfUNet
from brain_edge_conversion.sources import Request, kind_of, resolve
from brain_edge_conversion.weights.checkpoint import ForeignObject, load_checkpoint

HERE = Path("config.yaml")


def spec_of(folder: Path) -> Any:
    assert kind_of(str(folder)).name == "GaNDLF model folder"
    resolved = resolve(Request(source=str(folder)))
    for graph in resolved.model.graphs:
        graph.build(resolved.weights[graph.graph])
    return resolved.model.spec


def prepared(voxels: np.ndarray, entries: dict[str, Any]) -> np.ndarray:
    frame = Frame(voxels.astype(np.float32)[np.newaxis], Geometry(voxels.shape, np.eye(4)))
    for step in steps_before(entries, HERE):
        frame = step.apply(frame)
    return frame.voxels[0]


class TestCheckpoint:
    def test_objects_beside_the_tensors_are_stand_ins_and_nothing_of_them_runs(self, tmp_path):
        touched = tmp_path / "touched"
        folder = make_folder(tmp_path, beside=Command(touched))
        content = load_checkpoint(folder / "resunet_best.pth.tar", foreign_objects=True)
        assert isinstance(content["parameters"]["training_data"], ForeignObject)
        assert isinstance(content["parameters"]["more"], ForeignObject)
        assert isinstance(content["model_state_dict"]["ins.conv0.weight"], torch.Tensor)
        assert not touched.exists()
        with pytest.raises(WeightsError, match="it asks for gandlf_folder"):
            load_checkpoint(folder / "resunet_best.pth.tar")

    def test_the_pickled_parameters_are_never_opened(self, tmp_path):
        folder = make_folder(tmp_path)
        spec_of(folder)
        assert not (folder / "parameters.pkl was opened").exists()

    def test_weights_of_another_network_are_refused_with_the_keys(self, tmp_path):
        folder = make_folder(tmp_path, model={**MODEL, "base_filters": 8})
        with pytest.raises(WeightsError, match="differently shaped"):
            spec_of(folder)

    def test_tensors_must_be_tensors(self, tmp_path):
        folder = make_folder(tmp_path)
        path = folder / "resunet_best.pth.tar"
        content = torch.load(path, weights_only=False)
        content["model_state_dict"]["ins.conv0.bias"] = Table()
        torch.save(content, path)
        with pytest.raises(WeightsError, match="expected tensors by name in model_state_dict"):
            spec_of(folder)


class TestSpec:
    def test_parameters_of_the_checkpoint_and_of_the_yaml_file_say_the_same(self, tmp_path):
        assert spec_of(make_folder(tmp_path / "a")) == spec_of(make_folder(tmp_path / "b", kept=False))

    def test_sequences_classes_patches_and_steps_are_taken_over(self, tmp_path):
        spec = spec_of(make_folder(tmp_path, channels_in=2))
        (stage,) = spec.stages
        assert [sequence.name for sequence in spec.inputs] == ["Channel_0", "Channel_1"]
        assert spec.label_names() == {1: "label_1", 2: "label_2"}
        assert stage.network.execution.shape == (16, 16, 16)
        assert [type(step).__name__ for step in stage.before] == ["Orient", "Clip", *["FitMoment"] * 2, "Normalise"]

    @pytest.mark.parametrize("overlap", [2, 6, 14])
    def test_patches_overlap_by_whole_voxels(self, tmp_path, overlap):
        inference = {"grid_aggregator_overlap": "average", "patch_overlap": overlap}
        spec = spec_of(make_folder(tmp_path, inference_mechanism=inference))
        assert spec.stages[0].network.execution.fixed_steps == (16 - overlap,) * 3

    def test_later_classes_are_painted_over_earlier_ones_from_one_half_on(self, tmp_path):
        """`reverse_one_hot`."""
        spec = spec_of(make_folder(tmp_path))
        given = np.array([[0.6, 0.1, 0.2], [0.5, 0.5, 0.4], [0.1, 0.6, 0.5]], np.float32).reshape(3, 3, 1, 1)
        got = spec.stages[0].after[0].apply(Frame(given, Geometry((3, 1, 1), np.eye(4)))).voxels
        assert got.ravel().tolist() == [1, 2, 2]

    def test_classes_of_several_values_are_numbered(self, tmp_path):
        spec = spec_of(make_folder(tmp_path, model={**MODEL, "class_list": "[0, 1||2||4, 1||4]"}))
        assert spec.label_names() == {1: "label_1_2_4", 2: "label_1_4"}


class TestSteps:
    def test_normalisations_are_those_of_torchio_and_of_gandlf(self):
        """`ZNormalization` with a mask uses its moments on every voxel, the masked one leaves 0 alone."""
        voxels = np.random.default_rng(0).normal(3, 2, (6, 7, 8)).clip(-1)
        voxels[:2] = 0
        for entry, inside, everywhere in (
            ("normalize", np.ones(voxels.shape, bool), True),
            ("normalize_positive", voxels > 0, True),
            ("normalize_nonZero", voxels != 0, True),
            ("normalize_nonZero_masked", voxels != 0, False),
        ):
            values = torch.from_numpy(voxels[inside])
            wanted = (voxels - values.mean().item()) / values.std(correction=0).item()
            wanted = wanted if everywhere else np.where(inside, wanted, 0)
            np.testing.assert_allclose(prepared(voxels, {entry: None}), wanted, atol=1e-5)

    def test_a_normalisation_comes_last_and_only_the_first_of_several_counts(self):
        steps = steps_before({"normalize": None, "clip": {"min": 1, "max": 9}, "normalize_positive": None}, HERE)
        assert [type(step).__name__ for step in steps] == ["Clip", "ZScore"]
        assert isinstance(steps[1], ZScore)
        assert steps[1].region == "all"

    def test_rescaling_clips_at_percentiles(self):
        voxels = np.random.default_rng(0).normal(3, 2, (6, 7, 8))
        low, high = np.percentile(voxels.astype(np.float32), (1, 99))
        wanted = (voxels.clip(low, high) - low) / (high - low) * 3 - 1
        entry = {"rescale": {"percentiles": [1, 99], "out_min_max": [-1, 2]}}
        np.testing.assert_allclose(prepared(voxels, entry), wanted, atol=1e-5)

    def test_where_no_bounds_are_given_a_clip_is_at_zero(self):
        voxels = np.arange(-4.0, 4.0).reshape(2, 2, 2)
        for entries in ({"clip": None}, {"clamp": {"max": 1.8e308}}, {"threshold": {"min": 0}}):
            assert np.array_equal(prepared(voxels, entries), voxels.clip(0))

    def test_what_is_done_in_training_only_is_left_out(self):
        assert steps_before({"crop_external_zero_planes": None, "histogram_matching": False}, HERE) == ()

    @pytest.mark.parametrize(
        "entries",
        [
            {"resample": {"resolution": [1, 1, 1]}},
            {"resize_image": [64, 64, 64]},
            {"centercrop": [64, 64, 64]},
            {"histogram_matching": {"target": "x.nii.gz"}},
            {"threshold": {"min": 10, "max": 90}},
            {"rescale": {"in_min_max": [0, 255]}},
            {"normalize_imagenet": None},
        ],
        ids=lambda entries: next(iter(entries)),
    )
    def test_entries_without_an_equivalent_are_refused_by_name(self, entries):
        with pytest.raises(InputError, match=f"config.yaml: data_preprocessing has {next(iter(entries))}: "):
            steps_before(entries, HERE)


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"modality": "histo"}, "expected modality rad, got histo"),
            ({"problem_type": "classification"}, "expected problem_type segmentation, got classification"),
            ({"model": {**MODEL, "architecture": "transunet"}}, "model.architecture unet or resunet or residualunet"),
            ({"model": {**MODEL, "dimension": 2}}, "expected model.dimension 3, got 2"),
            ({"model": {**MODEL, "final_layer": "tanh"}}, "model.final_layer .*, got tanh"),
            ({"model": {**MODEL, "converter_type": "acs"}}, "model.converter_type None, got acs"),
            ({"model": {**MODEL, "class_list": [1, 0]}}, "0 only in first place"),
            ({"model": {**MODEL, "class_list": "__import__('os').abort()"}}, "expected class_list"),
            ({"patch_size": [16, 16, 20]}, "three multiples of 16, at most 4096, got"),
            ({"patch_size": [16, 16, 2**60]}, "three multiples of 16, at most 4096, got"),
            ({"patch_size": 2**60}, "three multiples of 16, at most 4096, got"),
            ({"model": {**MODEL, "class_list": ["0", "1" * 5000]}}, "expected class_list"),
            ({"data_preprocessing": {"clip": {"min": 10**400}}}, "data_preprocessing has clip"),
            (
                {"data_preprocessing": {"threshold": {"max": 10**400}}},
                "data_preprocessing has threshold",
            ),
            ({"data_preprocessing": {"rescale": {"percentiles": [0, 10**400]}}}, "data_preprocessing has rescale"),
            (
                {"data_preprocessing": {"rescale": {"percentiles": [0, 200]}}},
                "expected steps within the limits of a package",
            ),
            ({"data_postprocessing": {"fill_holes": None}}, "data_postprocessing has fill_holes"),
            ({"patch_sampler": {"type": "uniform", "enable_padding": True}}, "patch_sampler has enable_padding"),
            ({"enable_padding": True}, "padding before the intensities are normalised"),
            ({"inference_mechanism": {"patch_overlap": 3}}, "an even patch_overlap"),
            ({"inference_mechanism": {"grid_aggregator_overlap": "hann"}}, "got hann and 0"),
        ],
    )
    def test_name_what_was_expected_and_what_came(self, tmp_path, changes, words):
        with pytest.raises(InputError, match=words):
            spec_of(make_folder(tmp_path, **changes))

    def test_a_network_that_cannot_be_built_is_refused(self, tmp_path):
        folder = make_folder(tmp_path, model={**MODEL, "base_filters": -4})
        with pytest.raises(InputError, match="expected the configuration of a network that can be built, got another"):
            spec_of(folder)

    def test_a_checkpoint_whose_names_are_numbers_is_none_of_gandlf(self, tmp_path):
        folder = make_folder(tmp_path)
        torch.save({1: torch.zeros(1)}, folder / "resunet_best.pth.tar")
        with pytest.raises(WeightsError, match="expected a checkpoint of GaNDLF with model_state_dict, got 1"):
            spec_of(folder)

    def test_pickled_parameters_alone_are_no_configuration(self, tmp_path):
        folder = make_folder(tmp_path, kept=False)
        (folder / "config.yaml").unlink()
        said = refused(3, "convert", folder, "-o", tmp_path / "package")
        assert "parameters.pkl is a pickle (a program) and is not opened" in said

    def test_a_folder_without_a_best_checkpoint(self, tmp_path):
        folder = make_folder(tmp_path)
        (folder / "resunet_best.pth.tar").rename(folder / "resunet_latest.pth.tar")
        assert "expected one checkpoint NAME_best.pth.tar, got none" in refused(3, "convert", folder, "-o", "package")

    def test_a_network_without_its_weights(self, tmp_path):
        (graph,) = resolve(Request(source=str(make_folder(tmp_path)))).model.graphs
        with pytest.raises(WeightsError, match="a GaNDLF folder is converted with the weights in it, got none"):
            graph.build(None)

    def test_an_option_that_would_do_nothing(self, tmp_path):
        assert "is read as data and runs nothing" in refused(
            2, "convert", make_folder(tmp_path), "--trust", "-o", tmp_path / "package"
        )


@pytest.mark.full  # a page among many
def test_the_how_to_page_is_converted_and_run(tmp_path, monkeypatch):
    """Its commands as they stand; the mask is what PyTorch says window by window."""
    monkeypatch.chdir(tmp_path)
    model = {**MODEL, "final_layer": "sigmoid"}
    folder = make_folder(tmp_path, data_preprocessing={"normalize_nonZero_masked": None}, patch_size=16, model=model)
    save_phantom(tmp_path / "head.nii.gz")
    run_page("convert-a-gandlf-folder.md")
    got = np.asarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj)
    head = read_volume(tmp_path / "head.nii.gz").voxels
    content = torch.load(folder / "resunet_best.pth.tar", weights_only=False)
    network = GandlfUNet(plan_of(model, 1))
    network.load_state_dict(content["model_state_dict"])
    wanted = _pasted(network.eval(), _normalised(torch.from_numpy(head)))
    assert (got == wanted).mean() >= 0.999
    assert len(np.unique(wanted)) > 1


def _normalised(voxels: torch.Tensor) -> torch.Tensor:
    inside = voxels != 0
    return torch.where(inside, (voxels - voxels[inside].mean()) / voxels[inside].std(), 0)


def _pasted(network: nn.Module, voxels: torch.Tensor) -> np.ndarray:
    """Patches of 16^3 beside each other, the last ones at the border over those before them."""
    sides = tuple(voxels.shape)
    short = [max(0, 16 - side) for side in sides]
    voxels = functional.pad(voxels, (0, short[2], 0, short[1], 0, short[0]))
    pasted = torch.zeros(3, *voxels.shape)
    i, j, k = (sorted({*range(0, side - 15, 16), side - 16}) for side in voxels.shape)
    with torch.no_grad():
        for x in i:
            for y in j:
                for z in k:
                    place = (slice(x, x + 16), slice(y, y + 16), slice(z, z + 16))
                    pasted[(slice(None), *place)] = network(voxels[place][None, None])[0]
    labels = np.zeros(voxels.shape, np.uint8)
    for label in (1, 2):
        labels[pasted[label].numpy() >= 0.5] = label
    return labels[: sides[0], : sides[1], : sides[2]]
