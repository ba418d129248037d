"""Configuration of a GaNDLF model, read strictly where it matters: from the checkpoint, or from a YAML file.

GaNDLF itself reads `parameters.pkl`. That file is a pickle, which is a program, and is never opened here. Since 0.0.14
a checkpoint carries the same parameters as data, in the order in which they were written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from brain_edge.errors import InputError
from brain_edge_conversion.folders.reading import as_type, read_yaml
from brain_edge_conversion.networks.gandlf_unet import GandlfPlan, Norm, OutputActivation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MADE_BY: Final = "GaNDLF"
RESIDUAL: Final = {"unet": False, "resunet": True, "residualunet": True}
"""Name of a known architecture -> whether its blocks are residual."""
FINAL_LAYERS: Final = {
    "sigmoid": OutputActivation.SIGMOID,
    "sig": OutputActivation.SIGMOID,
    "softmax": OutputActivation.SOFTMAX,
    "soft": OutputActivation.SOFTMAX,
    "none": OutputActivation.NONE,
    "logits": OutputActivation.NONE,
}
ELSEWHERE: Final = "convert the network as module:attribute with --spec"
MOST_SIDE: Final = 4096
"""Largest side of a patch in voxels."""
EITHER: Final = "||"
"""Separator between the values of a class that stands for several."""


class Model(msgspec.Struct, frozen=True):
    """`model`."""

    architecture: str
    class_list: list[int | str] | str
    final_layer: str | None = None
    dimension: int = 3
    norm_type: str = "batch"
    base_filters: int = 32
    type: str = "torch"
    converter_type: str | None = None
    sigmoid_input_multiplier: float = 1.0


class Inference(msgspec.Struct, frozen=True):
    """`inference_mechanism`."""

    grid_aggregator_overlap: str = "crop"
    patch_overlap: int = 0


class GandlfConfiguration(msgspec.Struct, frozen=True):
    """Parts of a configuration that are needed to run its model."""

    model: Model
    patch_size: list[int] | int
    modality: str = "rad"
    problem_type: str = "segmentation"
    data_preprocessing: dict[str, Any] | None = None
    data_postprocessing: dict[str, Any] | None = None
    data_postprocessing_after_reverse_one_hot_encoding: dict[str, Any] | None = None
    inference_mechanism: Inference = Inference()
    grid_aggregator_overlap: str | None = None
    patch_sampler: dict[str, Any] | str | None = None
    enable_padding: bool = False

    @property
    def pads_subjects(self) -> bool:
        """True if every subject is padded by half a patch before its transforms, at inference too.

        Older versions have this entry at the top level.
        """
        sampler = self.patch_sampler if isinstance(self.patch_sampler, dict) else {}
        return self.enable_padding or bool(sampler.get("enable_padding"))

    @property
    def overlap_mode(self) -> str:
        """Mode of combining patches; older versions have this entry at the top level."""
        return self.grid_aggregator_overlap or self.inference_mechanism.grid_aggregator_overlap


def read_configuration(folder: Path, checkpoint: Path, kept: Any) -> tuple[GandlfConfiguration, Path]:
    """Read the configuration of a model; return it with its file.

    Args:
        folder: folder of the model.
        checkpoint: file of the checkpoint.
        kept: `parameters` of the checkpoint, or None.

    Raises:
        InputError: there is no configuration, or it has an entry that is not understood.
    """
    if isinstance(kept, dict):
        return as_type(kept, GandlfConfiguration, checkpoint, MADE_BY), checkpoint
    found = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    if len(found) != 1:
        pickled = "; parameters.pkl is a pickle (a program) and is not opened"
        raise InputError(
            f"{folder}: expected a checkpoint with its parameters, or one YAML file of the configuration beside it, "
            f"got {', '.join(path.name for path in found) or 'neither'}"
            f"{pickled if (folder / 'parameters.pkl').exists() else ''}; copy the configuration of the training"
        )
    return as_type(read_yaml(found[0], MADE_BY), GandlfConfiguration, found[0], MADE_BY), found[0]


def require_segmentation(configuration: GandlfConfiguration, path: Path) -> None:
    """Refuse a model that does not segment volumes, or whose network is unknown.

    Raises:
        InputError: the model does something else; the message says what.
    """
    model, known = configuration.model, ", ".join(RESIDUAL)
    for what, wanted, got in (
        ("modality", ("rad",), configuration.modality.lower()),
        ("problem_type", ("segmentation",), configuration.problem_type),
        ("model.type", ("torch",), model.type),
        ("model.dimension", (3,), model.dimension),
        ("model.architecture", tuple(RESIDUAL), model.architecture.lower()),
        ("model.norm_type", tuple(Norm), model.norm_type.lower()),
        ("model.final_layer", tuple(FINAL_LAYERS), str(model.final_layer).lower()),
        ("model.converter_type", (None,), model.converter_type),
    ):
        if got not in wanted:
            raise InputError(
                f"{path}: expected {what} {' or '.join(map(str, wanted))}, got {got}. Only 3D networks of the types "
                f"{known} have an equivalent here; {ELSEWHERE}"
            )


def network_plan(model: Model, channels_in: int) -> GandlfPlan:
    """Return the network plan of a model that passed `require_segmentation`."""
    return GandlfPlan(
        residual=RESIDUAL[model.architecture.lower()],
        norm=Norm(model.norm_type.lower()),
        width=model.base_filters,
        channels_in=channels_in,
        channels_out=len(classes(model)),
        final=FINAL_LAYERS[str(model.final_layer).lower()],
        sigmoid_multiplier=model.sigmoid_input_multiplier,
    )


def classes(model: Model) -> list[str]:
    """Return `class_list` in channel order; a list written as text is split, not evaluated."""
    listed = model.class_list
    return [str(entry).strip() for entry in (listed.strip("[] ").split(",") if isinstance(listed, str) else listed)]


def patch_sides(configuration: GandlfConfiguration, path: Path) -> tuple[int, int, int]:
    """Return the sides of a patch, voxels.

    Raises:
        InputError: the sides are not three multiples of 16.
    """
    given = configuration.patch_size
    sides = [given] * 3 if isinstance(given, int) else given * 3 if len(given) == 1 else given
    if len(sides) != 3 or any(not 16 <= side <= MOST_SIDE or side % 16 for side in sides):
        raise InputError(
            f"{path}: expected patch_size of three multiples of 16, at most {MOST_SIDE}, got {given}; the network "
            "halves each side 4 times"
        )
    return sides[0], sides[1], sides[2]


def entries(configuration: GandlfConfiguration) -> Mapping[str, Any]:
    """Return `data_preprocessing` in its order."""
    return configuration.data_preprocessing or {}
