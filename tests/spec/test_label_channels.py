"""Which channels make up a label, judged by the masks that the decision itself makes of one channel at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from tiny_package import SPEC

from brain_edge.image.geometry import Geometry
from brain_edge.image.resample import Interpolation
from brain_edge.spec.steps import (
    AfterStep,
    Argmax,
    AverageStages,
    Frame,
    LargestComponent,
    LookUpRegions,
    OrdinalLevels,
    PrependBackground,
    Restore,
    Threshold,
)

if TYPE_CHECKING:
    from brain_edge.spec import Stage

NATIVE = Restore(interpolation=Interpolation.LINEAR)


def decided_by(channels_out: int, *after: AfterStep) -> Stage:
    network = msgspec.structs.replace(SPEC.stages[0].network, channels_out=channels_out)
    return msgspec.structs.replace(SPEC.stages[0], network=network, after=after)


@pytest.mark.parametrize(
    ("channels_out", "after"),
    [
        (1, (NATIVE, Threshold(channel=0, above=0.5), LargestComponent())),
        (3, (NATIVE, Threshold(channel=2, above=0.5))),
        (4, (NATIVE, Argmax())),
        (4, (NATIVE, Argmax(values=(0, 1, 2, 4)))),
        (4, (NATIVE, Argmax(values=(0, 1, 1, 2)))),
        (3, (PrependBackground(), NATIVE, Argmax())),
        (3, (PrependBackground(), NATIVE, Argmax(values=(0, 2, 1, 1)))),
    ],
)
def test_a_label_is_made_where_only_its_channels_are_certain(channels_out: int, after: tuple[AfterStep, ...]):
    found = decided_by(channels_out, *after).label_channels()
    geometry = Geometry((1, 1, 1), np.eye(4))
    made: dict[int, tuple[int, ...]] = {}
    for channel in range(channels_out):
        frame = Frame(np.eye(channels_out, dtype=np.float32)[channel].reshape(-1, 1, 1, 1), geometry)
        for step in after:
            frame = step.apply(frame)
        if label := int(frame.voxels.item()):
            made[label] = (*made.get(label, ()), channel)
    assert found == made


@pytest.mark.parametrize(
    "after",
    [
        (NATIVE, LookUpRegions(above=(0.5, 0.5), labels=(0, 1, 2, 2))),
        (NATIVE, OrdinalLevels()),
        (AverageStages(stages=("first",)), NATIVE, Argmax()),
    ],
)
def test_labels_of_regions_levels_and_several_networks_have_no_probability(after: tuple[AfterStep, ...]):
    assert decided_by(2, *after).label_channels() == {}
