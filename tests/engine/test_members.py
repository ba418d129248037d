"""How well the passes of a network agree is what deciding each pass alone says, whatever the execution."""

from __future__ import annotations

import numpy as np
import pytest
from phantoms import OBLIQUE
from strategies import voxels
from test_execution import LINEAR, NEAREST, stage, three_classes

from brain_edge.engine.inference import predict
from brain_edge.engine.segmenter import Segmenter
from brain_edge.image.geometry import Geometry
from brain_edge.image.metrics import dice
from brain_edge.image.volume import Volume
from brain_edge.spec import Label, ModelSpec, Sequence, SlidingWindow, Task, WholeVolume
from brain_edge.spec.steps import Argmax, LargestComponent

NAMES = {1: "one", 2: "two"}
HEAD = Volume(voxels((9, 11, 8), 4), Geometry((9, 11, 8), OBLIQUE), "head")
SESSIONS = {"first": three_classes, "second": lambda batch: three_classes(batch)[:, [0, 2, 1]]}


def model(**parameters) -> ModelSpec:
    return ModelSpec(
        name="members",
        task=Task.TISSUE,
        inputs=(Sequence(name="T1"),),
        stages=(stage(**parameters),),
        labels=tuple(Label(value=value, name=name) for value, name in NAMES.items()),
    )


def alone(spec: ModelSpec) -> dict[str, float]:
    """Each pass as a model of its own, decided, against all together; on the network's grid, as there are no moves."""
    network = spec.stages[0].network
    together = predict(network, SESSIONS, HEAD.voxels[np.newaxis]).argmax(axis=0)
    least = dict.fromkeys(NAMES.values(), 1.0)
    for graph in network.graphs:
        for flip in network.flips:
            mirrored = np.flip(HEAD.voxels, flip) if flip else HEAD.voxels
            labels = SESSIONS[graph](np.ascontiguousarray(mirrored[np.newaxis, np.newaxis]))[0].argmax(axis=0)
            labels = np.flip(labels, flip) if flip else labels
            for value, name in NAMES.items():
                score = dice(labels == value, together == value)
                least[name] = min(least[name], 1.0 if score is None else score)
    return least


FLIPS = ((), (0,), (1, 2))
ENSEMBLE = ("first", "second")


@pytest.mark.parametrize("after", [(Argmax(), NEAREST), (Argmax(), NEAREST, LargestComponent()), (LINEAR, Argmax())])
@pytest.mark.parametrize(("graphs", "flips"), [(ENSEMBLE, ((),)), (("first",), FLIPS), (ENSEMBLE, FLIPS)])
def test_agreement_is_the_least_dice_of_a_pass_with_all_together(graphs, flips, after):
    spec = model(graphs=graphs, flips=flips, after=after)
    found = Segmenter(spec, SESSIONS)(HEAD)
    assert found.member_agreement == pytest.approx(alone(spec))
    assert min(found.member_agreement.values()) < 1


def test_windows_of_a_mirrored_volume_are_put_where_they_belong():
    """With one window the sliding window is the whole volume, but for the rounding of its weights."""
    whole = model(graphs=ENSEMBLE, flips=FLIPS, execution=WholeVolume())
    window = model(graphs=ENSEMBLE, flips=FLIPS, execution=SlidingWindow(shape=(9, 11, 8)))
    one, other = (Segmenter(spec, SESSIONS)(HEAD).member_agreement for spec in (whole, window))
    assert one == pytest.approx(other, abs=0.01)


def test_a_network_that_runs_once_agrees_with_nobody():
    assert Segmenter(model(graphs=("first",)), SESSIONS)(HEAD).member_agreement == {}


def test_members_that_say_the_same_agree_wholly():
    same = {"first": three_classes, "second": three_classes}
    assert Segmenter(model(graphs=ENSEMBLE), same)(HEAD).member_agreement == {"one": 1.0, "two": 1.0}


def test_watching_the_members_changes_no_label():
    spec = model(graphs=ENSEMBLE, flips=FLIPS)
    labels = predict(spec.stages[0].network, SESSIONS, HEAD.voxels[np.newaxis]).argmax(axis=0)
    np.testing.assert_array_equal(Segmenter(spec, SESSIONS)(HEAD).mask.labels, labels)
