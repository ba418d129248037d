"""What is predicted is what is taken; what does not fit is refused before it is tried."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from cli_program import child_environment
from present import present
from strategies import voxels
from tiny_package import SPEC, STAGE, make_package

from brain_edge.engine.execution import plan_stage
from brain_edge.engine.memory import (
    Ahead,
    MemoryLimit,
    after_bytes,
    graph_memory,
    network_bytes,
    predicted_peak_bytes,
    steps_bytes,
)
from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import GeometryError, InputError, UsageError
from brain_edge.image.geometry import Geometry
from brain_edge.image.resample import Interpolation
from brain_edge.image.volume import Volume
from brain_edge.io.nifti import read_volume, write_image
from brain_edge.machine import cgroup
from brain_edge.machine.options import RuntimeOptions, parse_size
from brain_edge.machine.process import Remedy, Room, available, peak_rss_bytes, require_free, rss_bytes
from brain_edge.package import open_package
from brain_edge.runtime.session import compiled_ahead, open_sessions
from brain_edge.spec import ModelSpec, SlidingWindow, StridedWindows, WholeVolume
from brain_edge.spec.steps import (
    Argmax,
    Clip,
    CropOrPadTo,
    CropToForeground,
    FitPercentile,
    Frame,
    Orient,
    PadToMultiple,
    ResampleBetweenCentres,
    ResampleThickSlices,
    ResampleToSpacing,
    RescaleToUnit,
    ResizeTo,
    Restore,
    ZScore,
)

if TYPE_CHECKING:
    from brain_edge.spec.steps.step import GridStep

WINDOWED = msgspec.structs.replace(
    SPEC,
    name="windowed",
    stages=(
        msgspec.structs.replace(
            STAGE,
            before=(Orient(axes="RAS"), ZScore()),
            network=msgspec.structs.replace(STAGE.network, execution=SlidingWindow(shape=(48, 48, 48))),
            after=(Argmax(), Restore(interpolation=Interpolation.NEAREST)),
        ),
    ),
)
SIDES = (160, 180, 150)
ONE_MM = ResampleToSpacing(spacing_mm=(1.0, 1.0, 1.0), interpolation=Interpolation.CUBIC)


def with_steps(*steps: GridStep) -> ModelSpec:
    """The windowed model with steps before its others."""
    (stage,) = WINDOWED.stages
    return msgspec.structs.replace(WINDOWED, stages=(msgspec.structs.replace(stage, before=(*steps, *stage.before)),))


RUN = """
import json, sys
from brain_edge.io.nifti import read_volume
from brain_edge.machine.process import peak_rss_bytes
from brain_edge.machine.options import RuntimeOptions
from brain_edge.engine.segmenter import Segmenter
package, head, limit = sys.argv[1:4]
volume = read_volume(head)
segmenter = Segmenter.open(package, RuntimeOptions(threads=2, max_memory_bytes=int(limit)))
try:
    mask = segmenter(volume).mask
    print(json.dumps({"voxels": int(mask.labels.sum()), "peak": peak_rss_bytes()}))
except Exception as error:
    print(json.dumps({"refused": str(error), "peak": peak_rss_bytes()}))
"""


HIDE_PROC = """
import pathlib, sys

def hidden(method):
    def asked(path, *arguments, **options):
        if str(path).startswith("/proc"):
            raise FileNotFoundError(2, "hidden", str(path))
        return method(path, *arguments, **options)
    return asked

def watch(event, arguments):
    if event == "open" and str(arguments[0]).startswith("/proc"):
        frame = sys._getframe(1)
        while frame.f_code.co_filename.endswith(("pathlib.py", "<frozen codecs>")):
            frame = frame.f_back
        if "brain_edge" in frame.f_globals.get("__name__", ""):
            raise SystemExit(f"{frame.f_code.co_filename} opens {arguments[0]}")

pathlib.Path.stat, pathlib.Path.open = hidden(pathlib.Path.stat), hidden(pathlib.Path.open)
sys.addaudithook(watch)
"""
"""No /proc for the code of this package, as on macOS and Windows; psutil asks the system in its own way."""

HIDE_FROM_PSUTIL = "import psutil; psutil.PROCFS_PATH = '/nowhere'"


def run(package, head, limit, before="") -> dict:
    """A run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{RUN}", str(package), str(head), str(limit)],
        capture_output=True,
        text=True,
        env=child_environment(),
        check=True,
        timeout=240,
    )
    return json.loads(done.stdout)


def leave(monkeypatch, size_bytes: int, remedy: Remedy = Remedy.MACHINE) -> None:
    """Leave this process so much memory and no more."""
    monkeypatch.setattr("brain_edge.machine.process.free_memory", lambda: Room(size_bytes, remedy))


def least_of(refusal: str) -> int:
    return int(present(re.search(r"set --max-memory (\d+)M", refusal))[1]) * 2**20


def check_the_least_would_do(package, head, before="") -> None:
    """Refused with a number; with that number it runs, within it, and gives the mask of an unlimited run."""
    refused = run(package, head, 2**20, before)
    assert "and --max-memory allows 1 MiB" in refused["refused"]
    least = least_of(refused["refused"])
    done = run(package, head, least, before)
    assert "refused" not in done, done
    assert done["peak"] <= least
    assert least <= 1.6 * done["peak"], "a limit that is far from what is taken is not honest either"
    unlimited = run(package, head, 2**40, before)
    assert "refused" not in unlimited, unlimited
    assert abs(unlimited["voxels"] - done["voxels"]) <= 2e-4 * unlimited["voxels"], "threads share windows otherwise"


@pytest.fixture(scope="module")
def windowed(tmp_path_factory):
    return make_package(tmp_path_factory.mktemp("package") / "windowed", WINDOWED)


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    path = tmp_path_factory.mktemp("head") / "head.nii"
    write_image(Volume(voxels(SIDES, 1), Geometry(SIDES, np.eye(4))), path)
    return path


class TestTheLeastThatWouldDo:
    def test_of_windows(self, windowed, head):
        check_the_least_would_do(windowed.folder, head)

    @pytest.mark.full  # five processes; in CI windows and whole volumes
    def test_of_windows_where_there_is_no_proc_for_us(self, windowed, head):
        """As on Windows and macOS: the limit is kept by what psutil says."""
        check_the_least_would_do(windowed.folder, head, HIDE_PROC)

    @pytest.mark.full  # three processes; in CI the least that would do is found
    def test_is_not_promised_where_the_system_says_nothing(self, windowed, head):
        """Neither file nor library tells what the process takes: refused in a sentence, and no limit is well."""
        with pytest.raises(subprocess.CalledProcessError) as failed:
            run(windowed.folder, head, 2**40, HIDE_FROM_PSUTIL)
        assert "UsageError: --max-memory needs a system that reports the memory of a process" in failed.value.stderr
        unlimited = RUN.replace("max_memory_bytes=int(limit)", "max_memory_bytes=None")
        command = [sys.executable, "-c", f"{HIDE_FROM_PSUTIL}\n{unlimited}", windowed.folder, head, "0"]
        assert (
            "voxels"
            in subprocess.run(
                command, capture_output=True, text=True, env=child_environment(), check=True, timeout=240
            ).stdout
        )

    @pytest.mark.full  # five processes; in CI windows and whole volumes
    def test_of_windows_that_keep_their_core(self, tmp_path, head):
        network = msgspec.structs.replace(
            WINDOWED.stages[0].network,
            execution=StridedWindows(shape=(48, 48, 48), stride=(20, 20, 20), core=(40, 40, 40)),
        )
        stage = msgspec.structs.replace(WINDOWED.stages[0], network=network)
        package = make_package(tmp_path / "strided", msgspec.structs.replace(WINDOWED, stages=(stage,)))
        check_the_least_would_do(package.folder, head)

    @pytest.mark.full  # five processes; in CI windows and whole volumes
    def test_of_thick_slices_that_a_step_makes_thin(self, tmp_path):
        """The steps before the network take more than it does: 24 slices of 12 mm become 144 of 2 mm."""
        sides = (160, 180, 24)
        volume = Volume(voxels(sides, 1), Geometry(sides, np.diag([2.0, 2.0, 12.0, 1.0])))
        write_image(volume, tmp_path / "thick.nii")
        thin = ResampleToSpacing(spacing_mm=(2.0, 2.0, 2.0), interpolation=Interpolation.CUBIC)
        package = make_package(tmp_path / "thin", with_steps(thin, PadToMultiple(multiple_of=32)))
        check_the_least_would_do(package.folder, tmp_path / "thick.nii")

    @pytest.mark.full  # six seconds; windows and a real process stay
    def test_of_a_whole_volume(self, tmp_path, head):
        stage = msgspec.structs.replace(WINDOWED.stages[0], network=STAGE.network)
        package = make_package(tmp_path / "whole", msgspec.structs.replace(WINDOWED, stages=(stage,)))
        check_the_least_would_do(package.folder, head)

    @pytest.mark.data
    def test_of_deepbet_on_a_real_head(self, mri):
        package = os.environ.get("BRAIN_EDGE_DEEPBET_INT8")
        if package is None or not Path(package).is_dir():
            pytest.skip("needs the INT8 package of deepbet: set BRAIN_EDGE_DEEPBET_INT8 to its folder")
        check_the_least_would_do(package, mri("brainchop_t1/t1_crop.nii.gz"))

    @pytest.mark.parametrize(("needed_mib", "advised"), [(200, "240M"), (205.7, "240M"), (209.9, "250M")])
    def test_is_enough_for_a_start_that_takes_a_little_more(self, monkeypatch, needed_mib, advised):
        needed = int(needed_mib * 2**20)
        monkeypatch.setattr("brain_edge.engine.memory.predicted_peak_bytes", lambda *_arguments: needed)
        with pytest.raises(InputError, match=f"set --max-memory {advised} or more"):
            MemoryLimit(2**20).require([], SIDES, {})


class TestSparing:
    def test_two_windows_at_a_time_become_one_where_two_do_not_fit(self, windowed):
        sessions = open_sessions(windowed, RuntimeOptions(threads=2))
        session, shape = sessions["tiny"], (1, 1, 48, 48, 48)
        two = session.memory(shape)
        assert (two.streams, two.requests) == (2, 3)
        assert session.spare()
        one = session.memory(shape)
        assert (one.streams, one.requests) == (1, 1)
        assert one.total_bytes < two.total_bytes
        assert not session.spare()

    def test_resident_graphs_go_first(self, windowed):
        session = open_sessions(windowed, RuntimeOptions(threads=2, resident_graphs=3))["tiny"]
        assert [session.spare() for _ in range(3)] == [True, True, False]

    def test_of_an_ensemble_only_what_is_small_is_compiled_before_it_is_asked_for(self, tmp_path, monkeypatch):
        members = msgspec.structs.replace(WINDOWED.stages[0].network, graphs=("tiny", "second", "third"))
        stage = msgspec.structs.replace(WINDOWED.stages[0], network=members)
        package = make_package(tmp_path / "ensemble", msgspec.structs.replace(WINDOWED, stages=(stage,)))
        assert [graph for graph, _shape in compiled_ahead(package, package.spec)] == ["tiny", "second", "third"]
        size = (package.folder / "graphs" / "tiny.bin").stat().st_size
        monkeypatch.setattr("brain_edge.runtime.session.AHEAD_BYTES", 2 * size)
        assert [graph for graph, _shape in compiled_ahead(package, package.spec)] == ["tiny", "second"]
        monkeypatch.setattr("brain_edge.runtime.session.AHEAD_BYTES", 0)
        assert [graph for graph, _shape in compiled_ahead(package, package.spec)] == ["tiny"]

    def test_a_session_that_cannot_say_is_not_judged(self):
        volume = Volume(voxels((20, 20, 20), 2), Geometry((20, 20, 20), np.eye(4)))
        spec = msgspec.structs.replace(WINDOWED, plausible=SPEC.plausible)
        plain = {"tiny": lambda batch: np.concatenate([batch, -batch], axis=1)}
        assert Segmenter(spec, plain, MemoryLimit(1))(volume).mask.labels.any()

    def test_intermediate_results_are_the_layers_that_live_together(self, windowed):
        """Convolution of 48^3 voxels to 2 channels of f32, then softmax: no more than both, no less than one."""
        memory = open_sessions(windowed, RuntimeOptions(threads=1))["tiny"].memory((1, 1, 48, 48, 48))
        channel = 48**3 * 4
        assert 2 * channel <= memory.intermediate_bytes <= 5 * channel
        assert memory.tensor_bytes == 3 * channel

    def test_memory_is_given_back_between_cases(self, windowed):
        """Ten heads of other sizes in one process: what is held in the end is what was held after the first."""
        segmenter = Segmenter.open(open_package(windowed.folder), RuntimeOptions(threads=1))
        held = []
        for side in (60, 90, 70, 80, 60, 90, 75, 85, 60, 60):
            segmenter(Volume(voxels((side, 60, 60), 3), Geometry((side, 60, 60), np.eye(4))))
            segmenter.release()
            held.append(present(rss_bytes()))
        assert max(held[2:]) < 1.05 * held[1] + 8 * 2**20


class TestTheMachine:
    def test_a_header_that_promises_more_than_there_is_is_refused_before_it_is_read(self, tmp_path, monkeypatch):
        path = tmp_path / "large.nii.gz"
        write_image(Volume(voxels((60, 60, 60), 1), Geometry((60, 60, 60), np.eye(4))), path)
        leave(monkeypatch, 2**19)
        with pytest.raises(InputError, match=r"large\.nii\.gz needs 0 MiB of memory, and 0 MiB are free; close"):
            read_volume(path)

    def test_a_cubic_metre_of_voxels_is_refused_where_four_gigabytes_are_not_free(self, tmp_path, monkeypatch):
        """A real header and a file of that length: 1000^3 zeros of one byte, compressed."""
        import nibabel

        header = nibabel.Nifti1Header()
        header.set_data_shape((1000, 1000, 1000))
        header.set_data_dtype(np.uint8)
        header.set_sform(np.eye(4), code=1)
        header["vox_offset"] = 352
        path = tmp_path / "large.nii.gz"
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(header.binaryblock + b"\0\0\0\0")
            file.write(bytes(10**6))
        with path.open("ab") as file:
            file.truncate(10**6)
        leave(monkeypatch, 2**31)
        with pytest.raises(InputError, match=r"large\.nii\.gz needs 3814 MiB of memory, and 2048 MiB are free; close"):
            read_volume(path)

    @pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 2)])
    def test_a_voxel_or_two_are_done_or_refused_in_words(self, windowed, shape):
        """One voxel is the same value everywhere, which is no image; two are padded to a window like any other."""
        array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        if array.size == 1:
            with pytest.raises(InputError, match="expected an image, got 0 in every voxel"):
                Volume(array, Geometry(shape, np.eye(4)))
            return
        mask = Segmenter.open(windowed, RuntimeOptions(threads=1))(Volume(array, Geometry(shape, np.eye(4)))).mask
        assert mask.labels.shape == shape

    def test_what_fits_is_not_refused(self):
        require_free(2**20, "an image")


class TestSizes:
    @pytest.mark.parametrize(
        ("text", "size"),
        [("2G", 2**31), ("800M", 800 * 2**20), ("1.5GiB", 3 * 2**29), ("512k", 2**19), ("2000000000", 2 * 10**9)],
    )
    def test_are_read(self, text, size):
        assert parse_size(text, "--max-memory") == size

    @pytest.mark.parametrize("text", ["", "much", "-1G", "0", "2X", "G"])
    def test_others_are_refused(self, text):
        with pytest.raises(UsageError, match="--max-memory: expected a size such as 800M or 2G, got"):
            parse_size(text, "--max-memory")


class TestCgroups:
    @pytest.fixture
    def root(self, tmp_path, monkeypatch):
        monkeypatch.setattr(cgroup, "CGROUP", tmp_path / "cgroup")
        monkeypatch.setattr(cgroup, "MEMBERSHIP", tmp_path / "self")
        (tmp_path / "cgroup").mkdir()
        return tmp_path

    def test_of_version_2_are_those_of_the_process_and_around_it(self, root):
        (root / "self").write_text("0::/user.slice/job\n")
        inner = root / "cgroup" / "user.slice" / "job"
        inner.mkdir(parents=True)
        assert list(cgroup.folders("cpu")) == [inner, inner.parent, root / "cgroup"]

    def test_of_version_1_lie_below_their_controller(self, root):
        (root / "self").write_text("4:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n")
        inner = root / "cgroup" / "memory" / "docker" / "x"
        inner.mkdir(parents=True)
        assert list(cgroup.folders("memory"))[-3:] == [inner, inner.parent, root / "cgroup" / "memory"]

    def test_the_tightest_quota_holds(self, root, monkeypatch):
        from brain_edge.machine import cpu

        (root / "self").write_text("0::/slice/job\n")
        inner = root / "cgroup" / "slice" / "job"
        inner.mkdir(parents=True)
        (inner / "cpu.max").write_text("max 100000")
        (inner.parent / "cpu.max").write_text("300000 100000")
        monkeypatch.setattr(cpu, "_affinity", lambda: frozenset(range(64)))
        monkeypatch.setattr(cpu, "_physical_cores", lambda usable: len(usable))
        assert cpu.default_threads() == 3

    def test_the_least_memory_that_is_left_counts(self, root, monkeypatch):
        from brain_edge.machine import process

        (root / "self").write_text("0::/job\n")
        inner = root / "cgroup" / "job"
        inner.mkdir()
        (inner / "memory.max").write_text(str(2**30))
        (inner / "memory.current").write_text(str(2**29))
        (inner / "memory.stat").write_text("anon 5\ninactive_file 1024\n")
        monkeypatch.setattr(process.psutil, "virtual_memory", lambda: SimpleNamespace(available=2**40))
        there = available()
        assert present(there).size_bytes - present(rss_bytes()) == pytest.approx(2**29 + 1024, abs=2**22)


def test_nothing_is_predicted_of_sessions_that_cannot_say():
    from brain_edge.engine.execution import plan_stage

    stage = WINDOWED.stages[0]
    ahead = [Ahead(stage, plan_stage(stage), (60, 60, 60))]
    assert predicted_peak_bytes(ahead, (60, 60, 60), {"tiny": lambda batch: batch}) is None


FITS = (FitPercentile(name="low", percent=1.0), FitPercentile(name="high", percent=99.0))
STEPS = [
    (ONE_MM,),
    (ResampleToSpacing(spacing_mm=(1.0, 1.0, 1.0), interpolation=Interpolation.LINEAR),),
    (ResampleToSpacing(spacing_mm=(3.0, 3.0, 3.0), interpolation=Interpolation.CUBIC),),
    (ResampleBetweenCentres(spacing_mm=(1.0, 1.0, 1.0)),),
    (ResampleThickSlices(spacing_mm=(1.0, 1.0, 1.0)),),
    (ResampleThickSlices(spacing_mm=(1.0, 1.0, 6.0)),),
    (ResizeTo(shape=(90, 90, 90), interpolation=Interpolation.NEAREST),),
    (PadToMultiple(multiple_of=64),),
    (CropOrPadTo(shape=(100, 40, 100)),),
    (CropToForeground(),),
    (Orient(axes="SPL"),),
    (Orient(axes="SPL"), ONE_MM, PadToMultiple(multiple_of=32), ZScore()),
    (*FITS, Clip(lower="low", upper="high")),
    (*FITS, RescaleToUnit(lower="low", upper="high")),
    (ZScore(),),
]


class TestTheStepsBeforeANetwork:
    @pytest.mark.parametrize("steps", STEPS, ids=lambda steps: ", ".join(type(step).__name__ for step in steps))
    def test_take_what_is_predicted_and_not_far_less(self, steps):
        """As Python's own count of what numpy takes."""
        sides = (64, 60, 20)
        array = np.asfortranarray(voxels(sides, 1))[np.newaxis]
        frame = Frame(array, Geometry(sides, np.diag([1.5, 2.0, 6.0, 1.0])))
        predicted, after = steps_bytes(steps, frame)
        run_steps(steps, frame)  # weights of an interpolation are kept
        tracemalloc.start()
        try:
            made = run_steps(steps, frame)
            measured = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert all(side <= most for side, most in zip(made.geometry.shape, after, strict=True))
        assert measured <= predicted + 2**16, (measured, predicted)
        assert predicted <= 4 * measured + 2 * array.nbytes, (measured, predicted)

    def test_are_refused_before_the_first_of_them(self, monkeypatch):
        """A head of 4 mm at half a millimetre is 512 times as many voxels, of which nothing is made."""
        monkeypatch.setattr("brain_edge.engine.memory.available", lambda: Room(2**29, Remedy.MACHINE))
        before = peak_rss_bytes()
        with pytest.raises(
            InputError, match=r"this case needs about \d+ MiB of memory, and 512 MiB are available; close"
        ):
            finer(0.5)(COARSE)
        assert peak_rss_bytes() - before < 64 * 2**20

    def test_that_make_more_voxels_than_any_image_has_are_refused(self):
        with pytest.raises(
            GeometryError, match=r"at most 1073741824 voxels, got 1760 x 2080 x 2000; resample the image"
        ):
            finer(0.1)(COARSE)

    def test_no_head_has_the_grid_of_an_image_that_python_made(self, windowed):
        volume = Volume(voxels((6, 6, 6), 1), Geometry((6, 6, 6), np.diag([50.0, 1, 1, 1])))
        with pytest.raises(GeometryError, match=r"expected a spacing of 0\.1 to 20 mm, got 50 x 1 x 1 mm"):
            Segmenter.open(windowed, RuntimeOptions(threads=1))(volume)


COARSE = Volume(voxels((44, 52, 50), 1), Geometry((44, 52, 50), np.diag([4.0, 4.0, 4.0, 1.0])))


def finer(spacing_mm: float) -> Segmenter:
    """A model that resamples to this spacing, with a network that is not asked."""
    step = ResampleToSpacing(spacing_mm=(spacing_mm,) * 3, interpolation=Interpolation.LINEAR)
    return Segmenter(with_steps(step), {"tiny": lambda batch: np.concatenate([batch, -batch], axis=1)})


def run_steps(steps, frame: Frame) -> Frame:
    for step in steps:
        frame = step.apply(frame)
    return frame


class TestAdvice:
    """What a refusal advises is enough."""

    @pytest.mark.parametrize("remedy", Remedy)
    def test_of_memory_that_is_missing(self, windowed, monkeypatch, remedy):
        """Refused with two numbers; as much more as they say is enough."""
        segmenter = Segmenter.open(windowed, RuntimeOptions(threads=1))
        volume = Volume(voxels((90, 90, 90), 3), Geometry((90, 90, 90), np.eye(4)))
        segmenter(volume)
        there = present(rss_bytes()) + 2**20
        monkeypatch.setattr("brain_edge.engine.memory.available", lambda: Room(there, remedy))
        with pytest.raises(InputError) as refused:
            segmenter(volume)
        needed = int(present(re.search(r"needs about (\d+) MiB", str(refused.value)))[1]) * 2**20
        if remedy is not Remedy.MACHINE:
            more = int(present(re.search(r" by (\d+) MiB or more$", str(refused.value)))[1]) * 2**20
            assert there + more >= needed
        monkeypatch.setattr("brain_edge.engine.memory.available", lambda: Room(needed, remedy))
        assert segmenter(volume).mask.labels.any()

    def test_of_smaller_windows_or_fewer_labels(self, windowed):
        """Of one image: a whole volume, windows of 64 and of 48 voxels a side, 20 labels and 2."""

        def needed(execution, channels: int) -> int:
            (stage,) = WINDOWED.stages
            network = msgspec.structs.replace(stage.network, execution=execution, channels_out=channels)
            stage = msgspec.structs.replace(stage, network=network)
            sessions = open_sessions(windowed, RuntimeOptions(threads=1))
            plan = plan_stage(stage)
            return network_bytes(network, plan, SIDES, present(graph_memory(network, SIDES, sessions))) + after_bytes(
                stage, plan, SIDES, SIDES
            )

        whole, large, small = WholeVolume(), SlidingWindow(shape=(64, 64, 64)), SlidingWindow(shape=(48, 48, 48))
        assert needed(whole, 2) > needed(large, 2) > needed(small, 2)
        assert needed(small, 20) > needed(small, 2)

    def test_is_the_machines_where_it_has_less_than_the_user_allows(self, windowed, monkeypatch):
        """--max-memory 64G on a machine that has a few MiB left: no number after --max-memory would help."""
        segmenter = Segmenter.open(windowed, RuntimeOptions(threads=1, max_memory_bytes=2**36))
        volume = Volume(voxels((90, 90, 90), 3), Geometry((90, 90, 90), np.eye(4)))
        monkeypatch.setattr(
            "brain_edge.engine.memory.available", lambda: Room(present(rss_bytes()) + 2**20, Remedy.CGROUP)
        )
        with pytest.raises(
            InputError, match=r"are available; raise the memory limit of this container or job by \d+ MiB or more$"
        ):
            segmenter(volume)

    def test_a_peak_that_has_passed_counts_only_against_the_users_limit(self, windowed, monkeypatch):
        """A batch that once needed a gigabyte goes on with a small head where half a gigabyte is left."""
        segmenter = Segmenter.open(windowed, RuntimeOptions(threads=1))
        volume = Volume(voxels((60, 60, 60), 3), Geometry((60, 60, 60), np.eye(4)))
        segmenter(volume)
        monkeypatch.setattr("brain_edge.engine.memory.peak_rss_bytes", lambda: 2**40)
        monkeypatch.setattr(
            "brain_edge.engine.memory.available", lambda: Room(present(rss_bytes()) + 2**28, Remedy.MACHINE)
        )
        monkeypatch.setattr("brain_edge.engine.memory._fits_easily", lambda *_arguments: False)
        assert segmenter(volume).mask.labels.any()
