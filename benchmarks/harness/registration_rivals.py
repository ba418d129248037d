"""Libraries of rigid registration, each called as its documentation says: two files in, one transform out.

Run as a program, it registers one file to another with one library and prints what came out, so that each library has a
process and a peak of memory of its own:

    python -m benchmarks.harness.registration_rivals greedy MOVING FIXED
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from brain_edge.io.nifti import read_volume
from brain_edge.registration.register import register
from brain_edge.registration.rigid import Rigid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CENTRES: Final = "CenterOfGravity"
LPS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
ONE_THREAD: Final = {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Environment in which ITK takes one thread, in whichever library it comes."""


class Outcome(msgspec.Struct, frozen=True):
    """What one library made of one pair.

    Attributes:
        matrix: transform from the world of the fixed image to that of the moving one, RAS+, mm, 4 x 4.
        cpu_s: processor time from two paths to the transform, without the import of the library, seconds.
        peak_rss_bytes: peak resident memory of the process.
    """

    matrix: list[list[float]]
    cpu_s: float
    peak_rss_bytes: int

    @property
    def rigid(self) -> Rigid:
        """The transform, with its rotation made exact: some libraries print six digits."""
        matrix = np.array(self.matrix)
        left, _, right = np.linalg.svd(matrix[:3, :3])
        matrix[:3, :3] = left @ right
        return Rigid(matrix)


def _ours() -> Callable[[Path, Path], np.ndarray[Any, Any]]:
    import SimpleITK  # noqa: F401 - imported before the clock starts, as for the others

    return lambda moving, fixed: register(read_volume(moving), read_volume(fixed), threads=1).matrix


def _greedy() -> Callable[[Path, Path], np.ndarray[Any, Any]]:
    """As in BrainMaGe's protocol and the program's manual: six degrees of freedom, NMI, centres first."""
    from picsl_greedy import Greedy3D

    def run(moving: Path, fixed: Path) -> np.ndarray[Any, Any]:
        program = Greedy3D()
        asked = f"-threads 1 -V 0 -a -dof 6 -m NMI -n 100x50x10 -ia-image-centers -i {fixed} {moving} -o found"
        program.execute(asked, found=None)
        return np.asarray(program["found"])

    return run


def _elastix() -> Callable[[Path, Path], np.ndarray[Any, Any]]:
    """With the rigid parameter map of the library, and centres of gravity first: else it fails on heads far apart."""
    import itk

    first = {"AutomaticTransformInitialization": ["true"], "AutomaticTransformInitializationMethod": [CENTRES]}

    def run(moving: Path, fixed: Path) -> np.ndarray[Any, Any]:
        asked = itk.ParameterObject.New()
        settings = asked.GetDefaultParameterMap("rigid")
        for name, values in first.items():
            settings[name] = values
        asked.AddParameterMap(settings)
        images = (itk.imread(str(path), itk.F) for path in (fixed, moving))
        _, found = itk.elastix_registration_method(*images, parameter_object=asked, number_of_threads=1)
        return _of_euler(found.GetParameterMap(0))

    return run


def _of_euler(found: Mapping[str, tuple[str, ...]]) -> np.ndarray[Any, Any]:
    """ITK's Euler3DTransform in its default order of axes, about a centre, LPS."""
    from scipy.spatial.transform import Rotation

    numbers = [float(each) for each in found["TransformParameters"]]
    centre = np.array([float(each) for each in found["CenterOfRotationPoint"]])
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("ZXY", [numbers[2], numbers[0], numbers[1]]).as_matrix()
    matrix[:3, 3] = np.array(numbers[3:]) + centre - matrix[:3, :3] @ centre
    return np.asarray(LPS @ matrix @ LPS)


def _ants() -> Callable[[Path, Path], np.ndarray[Any, Any]]:
    """`ants.registration` with the type Rigid, and a seed."""
    import ants

    def run(moving: Path, fixed: Path) -> np.ndarray[Any, Any]:
        images = (ants.image_read(str(path)) for path in (fixed, moving))
        with tempfile.TemporaryDirectory() as folder:
            found = ants.registration(*images, type_of_transform="Rigid", outprefix=f"{folder}/", random_seed=1)
            transform = ants.read_transform(found["fwdtransforms"][0])
        numbers, centre = np.array(transform.parameters), np.array(transform.fixed_parameters)
        matrix = np.eye(4)
        matrix[:3, :3] = numbers[:9].reshape(3, 3)
        matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
        return np.asarray(LPS @ matrix @ LPS)

    return run


LIBRARIES: Final[Mapping[str, Callable[[], Callable[[Path, Path], np.ndarray[Any, Any]]]]] = {
    "SimpleITK": _ours,
    "greedy": _greedy,
    "elastix": _elastix,
    "ants": _ants,
}
"""Each library by its name here; SimpleITK with our search."""
DISTRIBUTIONS: Final = {
    "SimpleITK": ("SimpleITK",),
    "greedy": ("picsl-greedy", "SimpleITK"),
    "elastix": ("itk-elastix", "itk-core", "itk-io", "itk-numerics", "itk-filtering", "itk-registration"),
    "ants": ("antspyx",),
}
"""Distributions of each library whose installed size counts."""


def main(name: str, moving: str, fixed: str) -> None:
    """Print the outcome of one registration as the last line."""
    run = LIBRARIES[name]()
    began = time.process_time()
    found = run(Path(moving), Path(fixed))
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.flush()
    os.write(1, b"\n" + msgspec.json.encode(Outcome(found.tolist(), seconds, peak)) + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
