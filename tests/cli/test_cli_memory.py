"""A batch under a limit of memory: done, or refused before the network runs; never killed, never half a result.

The limits are shares of what is predicted: of `--max-memory`, of the address space (`ulimit -v`), and of a cgroup where
this machine lets a test make one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from cli_program import Ended, child_command, child_environment, make_package
from present import present
from strategies import voxels
from tiny_package import SPEC, STAGE

from brain_edge.image.geometry import Geometry
from brain_edge.image.resample import Interpolation
from brain_edge.image.volume import Volume
from brain_edge.io.nifti import write_image
from brain_edge.spec import SlidingWindow
from brain_edge.spec.steps import Argmax, PadToMultiple, ResampleToSpacing, Restore, ZScore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux keeps them")
MIB = 2**20
HEADS = 3
SIDES = (120, 120, 20)
CGROUP = Path("/sys/fs/cgroup/memory")
REFUSED = re.compile(
    r"this case needs (?:at least )?about \d+ MiB of memory, and (?:\d+ MiB are available|--max-memory allows \d+ MiB)"
    r"|the graph \w+ needs \d+ MiB of memory, and \d+ MiB are free; raise"
    r"|OpenVINO needs \d+ MiB of memory, and \d+ MiB are free; raise"
    r"|there is not enough memory"
)
"""What is said before a network has run."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thick slices become thin, are padded, and go through windows."""
    network = msgspec.structs.replace(STAGE.network, execution=SlidingWindow(shape=(64, 64, 64)))
    steps = (
        ResampleToSpacing(spacing_mm=(1.0, 1.0, 1.0), interpolation=Interpolation.CUBIC),
        PadToMultiple(multiple_of=32),
        ZScore(),
    )
    after = (Argmax(), Restore(interpolation=Interpolation.NEAREST))
    stage = msgspec.structs.replace(STAGE, before=steps, network=network, after=after)
    spec = msgspec.structs.replace(SPEC, name="thin", stages=(stage,))
    return make_package(tmp_path_factory.mktemp("package") / "thin", spec).folder


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    geometry = Geometry(SIDES, np.diag([1.0, 1.0, 6.0, 1.0]))
    for number in range(HEADS):
        write_image(Volume(voxels(SIDES, number), geometry), folder / f"head{number}.nii")
    return folder


def ended(*arguments: object, before: Callable[[], None] | None = None) -> Ended:
    done = subprocess.run(
        child_command("run", "--threads", 2, *arguments), capture_output=True, text=True, env=child_environment(),
        check=False, timeout=120, preexec_fn=before,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


def within(limit: int) -> Callable[[], None]:
    """What bounds the address space of a child."""
    import resource

    return lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def masks_of(out: Path) -> list[Path]:
    return sorted(out.glob("*.nii*")) if out.is_dir() else []


def check(done: Ended, out: Path, *, most: int = HEADS, least: int = 0) -> None:
    """Each case is done with a mask, or refused in words and without a trace of one."""
    assert done.code in (0, 1, 3, 6), f"killed or a bug: {done.code}\n{done.err}"
    assert "internal error" not in done.err, done.err
    assert "Traceback" not in done.err, done.err
    masks = masks_of(out)
    assert least <= len(masks) <= most, done.err
    assert (done.code == 0) == (len(masks) == HEADS), done.err
    if done.code:
        assert REFUSED.search(done.err), done.err
    assert [path.name for path in out.rglob(".partial*")] == []
    for path in out.glob("*_record.json"):
        record = json.loads(path.read_text())
        assert (record["status"] == "done") == (out / f"{record['case']}_mask.nii.gz").exists() or record["run"] is None


@pytest.fixture(scope="module")
def predicted_bytes(package: Path, heads: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """What a refusal says is enough."""
    done = ended(package, heads, "-o", tmp_path_factory.mktemp("out") / "out", "--max-memory", "1M")
    advised = [int(each) for each in re.findall(r"set --max-memory (\d+)M or more", done.err)]
    assert len(advised) >= HEADS, done.err
    assert max(advised) - min(advised) <= 0.1 * max(advised), "one prediction for equal heads"
    return max(advised) * MIB


@pytest.mark.parametrize(("percent", "least", "most"), [(100, HEADS, HEADS), (60, 0, HEADS), (30, 0, 0)])
def test_of_the_user(percent, least, most, package, heads, predicted_bytes, tmp_path):
    limit = predicted_bytes * percent // 100
    done = ended(package, heads, "-o", tmp_path / "out", "--max-memory", f"{limit // MIB}M")
    check(done, tmp_path / "out", least=least, most=most)
    for path in (tmp_path / "out").glob("*_record.json"):
        record = json.loads(path.read_text())
        if record["status"] == "done":
            assert record["run"]["peak_rss_bytes"] <= limit


@pytest.fixture(scope="module")
def addresses(package: Path, heads: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """The address space of an undisturbed batch, in bytes."""
    program = (
        "import re, sys\nfrom brain_edge.cli import main\n"
        "try:\n    main()\nfinally:\n    sys.stderr.write(re.search(r'VmPeak:.*', open('/proc/self/status').read())[0])"
    )
    out = tmp_path_factory.mktemp("out") / "out"
    command = [sys.executable, "-c", program, "run", str(package), str(heads), "-o", str(out), "--threads", "2"]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), check=True, timeout=120)
    return int(present(re.search(r"VmPeak:\s+(\d+) kB", done.stderr))[1]) * 1024


@pytest.mark.full  # several children, each of which loads OpenVINO
@pytest.mark.parametrize(("percent", "least", "most"), [(100, HEADS, HEADS), (60, 0, HEADS), (30, 0, 0)])
def test_of_the_address_space(percent, least, most, package, heads, addresses, tmp_path):
    limit = addresses * percent // 100 + (2**26 if percent == 100 else 0)
    done = ended(package, heads, "-o", tmp_path / "out", before=within(limit))
    check(done, tmp_path / "out", least=least, most=most)


@pytest.mark.full  # children, each of which loads OpenVINO
@pytest.mark.parametrize(("kind", "start_mib"), [("RLIMIT_AS", 300), ("RLIMIT_AS", 560), ("RLIMIT_DATA", 140)])
def test_of_a_process_is_enough_once_its_advice_is_followed(kind, start_mib, package, heads, tmp_path):
    """A process that may take more does: the advice counts what it takes beside what is missing."""
    import resource

    def run(limit: int) -> Ended:
        name = getattr(resource, kind)
        return ended(package, heads / "head0.nii", "-o", tmp_path / "mask.nii.gz", "--threads", 1,
                     before=lambda: resource.setrlimit(name, (limit, limit)))  # fmt: skip

    refused = run(start_mib * MIB)
    assert refused.code == 3, refused.err
    advised = int(present(re.search(r" by (\d+) MiB or more", refused.err))[1])
    done = run((start_mib + advised) * MIB)
    assert done.code == 0, done.err


@contextmanager
def control_group(limit: int) -> Iterator[Callable[[], None]]:
    """A cgroup of version 1 with a limit; yields what puts a child into it."""
    folder = CGROUP / f"brain-edge-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(limit))
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")

    def enter() -> None:
        (folder / "cgroup.procs").write_text(str(os.getpid()))

    try:
        yield enter
    finally:
        folder.rmdir()


@pytest.mark.full  # several children, each of which loads OpenVINO
@pytest.mark.parametrize(("percent", "least", "most"), [(100, HEADS, HEADS), (60, 0, HEADS), (30, 0, 0)])
def test_of_a_control_group(percent, least, most, package, heads, predicted_bytes, tmp_path):
    """The kernel kills whoever takes more; the interpreter alone takes most of the least share."""
    with control_group(predicted_bytes * percent // 100) as enter:
        done = ended(package, heads, "-o", tmp_path / "out", before=enter)
    check(done, tmp_path / "out", least=least, most=most)
