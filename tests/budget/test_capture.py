"""What a network is calibrated on is what it sees; it goes through the disk, and not all of it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from tiny_package import CASCADE, PHANTOM, SPEC, make_package

from brain_edge.engine.segmenter import Segmenter
from brain_edge.image.phantom import make_study
from brain_edge.runtime.session import open_sessions
from brain_edge.spec import SlidingWindow
from brain_edge_conversion.budget.capture import MAXIMUM_WINDOWS, _unread, capture_inputs, load_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brain_edge.image.volume import Study
    from brain_edge.package import ModelPackage

WINDOW = SlidingWindow(shape=(24, 24, 24), overlap=0.5)


def study(seed: int = PHANTOM.seed) -> Study:
    return make_study(msgspec.structs.replace(PHANTOM, seed=seed), ["T1"])


def windowed(folder: Path) -> ModelPackage:
    """The tiny package in windows of 24 voxels: dozens for one head."""
    stage = SPEC.stages[0]
    network = msgspec.structs.replace(stage.network, execution=WINDOW)
    stages = (msgspec.structs.replace(stage, network=network),)
    return make_package(folder, msgspec.structs.replace(SPEC, stages=stages))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


class Spy:
    """A session that remembers what it was given."""

    def __init__(self, session) -> None:
        self._session = session
        self.seen: list[np.ndarray] = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.seen.append(batch.copy())
        return self._session(batch)


def seen_by(package: ModelPackage, *studies: Study) -> dict[str, list[np.ndarray]]:
    """What the networks of a package see, in memory."""
    spies = {graph: Spy(session) for graph, session in open_sessions(package).items()}
    for each in studies:
        Segmenter(package.spec, spies)(each)
    return {graph: spy.seen for graph, spy in spies.items()}


def test_the_files_hold_what_each_network_of_a_cascade_sees(tmp_path: Path, scratch: Path):
    """After every step before it: oriented, cropped to the finding of the first stage, scaled."""
    package = make_package(tmp_path / "package", CASCADE)
    kept = capture_inputs(package, [study(1), study(2)], scratch)
    expected = seen_by(package, study(1), study(2))
    assert list(kept) == ["first", "second"]
    for graph, files in kept.items():
        assert len(files) == 2
        for got, want in zip(load_inputs(files), expected[graph], strict=True):
            np.testing.assert_array_equal(got, want)
            assert (got.dtype, got.ndim) == (np.float32, 5)


def test_of_many_windows_some_are_kept_at_equal_steps_from_the_first_to_the_last(tmp_path: Path, scratch: Path):
    package = windowed(tmp_path / "package")
    (files,) = capture_inputs(package, [study()], scratch).values()
    (expected,) = seen_by(package, study()).values()
    assert len(expected) > 2 * MAXIMUM_WINDOWS
    assert len(files) == MAXIMUM_WINDOWS
    places = [next(n for n, window in enumerate(expected) if np.array_equal(window, got)) for got in load_inputs(files)]
    assert (places[0], places[-1]) == (0, len(expected) - 1)
    steps = np.diff(places)
    assert steps.max() - steps.min() <= 1


def test_the_windows_of_one_study_are_thinned_out_before_the_next_is_read(tmp_path: Path, scratch: Path):
    """Neither the memory nor the disk holds more than one study's windows."""
    package = windowed(tmp_path / "package")
    on_disk: list[int] = []

    def studies() -> Iterator[Study]:
        for seed in range(3):
            on_disk.append(len(list(scratch.iterdir())))
            yield study(seed)

    (files,) = capture_inputs(package, studies(), scratch).values()
    assert on_disk == [0, MAXIMUM_WINDOWS, 2 * MAXIMUM_WINDOWS]
    assert sorted(files) == sorted(scratch.iterdir())
    assert len(files) == 3 * MAXIMUM_WINDOWS


def test_inputs_are_loaded_one_at_a_time(tmp_path: Path, scratch: Path):
    """A file that is not asked for is not opened."""
    package = make_package(tmp_path / "package")
    (files,) = capture_inputs(package, [study()], scratch).values()
    loaded = load_inputs([*files, scratch / "never opened.npy"])
    assert next(loaded).shape[:2] == (1, 1)
    with pytest.raises(FileNotFoundError):
        next(loaded)


def test_only_networks_whose_answers_another_one_sees_run_for_every_input(tmp_path, scratch, monkeypatch):
    """The first stage of a cascade runs for each study, the last one for one input of each shape."""
    spies: dict[str, Spy] = {}

    def spied(*given):
        made = {graph: Spy(session) for graph, session in open_sessions(*given).items()}
        spies.update(made)
        return made

    monkeypatch.setattr("brain_edge.engine.segmenter.open_sessions", spied)
    package = make_package(tmp_path / "cascade", CASCADE)
    kept = capture_inputs(package, [study(1), study(2)], scratch)
    assert len(spies["first"].seen) == 2
    shapes = [batch.shape for batch in load_inputs(kept["second"])]
    assert sorted(batch.shape for batch in spies["second"].seen) == sorted(set(shapes))

    capture_inputs(windowed(tmp_path / "windowed"), [study()], scratch)
    assert [batch.shape[2:] for batch in spies["tiny"].seen] == [WINDOW.shape]


def test_a_network_that_an_earlier_stage_has_too_is_one_whose_answers_are_read():
    """Two stages with one network: what it answers decides where the second one looks."""
    first, second = CASCADE.stages
    shared = msgspec.structs.replace(
        second, network=msgspec.structs.replace(second.network, graphs=first.network.graphs)
    )
    assert _unread(CASCADE) == {"second"}
    assert _unread(msgspec.structs.replace(CASCADE, stages=(first, shared))) == set()
