"""Programs that prepare a study for the tumour networks, each as one process: raw sequences in, an atlas's grid out.

    python -m benchmarks.harness.preparation_sides brainles ATLAS OUT T1C=FILE T1=FILE T2=FILE FLAIR=FILE

OUT gets `T1C.nii.gz` and so on. The peak of memory is printed as the last line, JSON. With `STRIPPER=PACKAGE` our side
also strips the images; the other one keeps the skulls, because its skull-stripper fetches weights when it is run.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Final

from brain_edge.machine.process import peak_rss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REFERENCE: Final = "T1C"
THREADS: Final = 2


def _ours(atlas: Path, out: Path, images: Mapping[str, Path], stripper: Path | None = None) -> None:
    """`brain-edge prepare` without its picture; with a skull-stripper it refines the transforms inside of the brain."""
    import brain_edge

    runtime = brain_edge.RuntimeOptions(threads=THREADS, atlas=atlas, stage_zero=stripper)
    done = brain_edge.prepare(images, out, keep_skull=stripper is None, picture=False, runtime=runtime)
    (case,) = done.cases
    if case.record is None:
        raise SystemExit(f"expected a prepared study, got: {case.error}")
    for name, path in case.record.images.items():
        (case.folder / path).rename(out / f"{name}.nii.gz")


def _brainles(atlas: Path, out: Path, images: Mapping[str, Path]) -> None:
    """As the README of `brainles-preprocessing` shows it, with its own registration (ANTs, rigid)."""
    from brainles_preprocessing.modality import CenterModality, Modality
    from brainles_preprocessing.preprocessor import AtlasCentricPreprocessor

    of = {
        name: (CenterModality if name == REFERENCE else Modality)(
            modality_name=name, input_path=path, raw_skull_output_path=out / f"{name}.nii.gz"
        )
        for name, path in images.items()
    }
    moving = [modality for name, modality in of.items() if name != REFERENCE]
    side = AtlasCentricPreprocessor(of[REFERENCE], moving, atlas_image_path=atlas, use_gpu=False)
    side.run(log_file=out / "log.txt")


SIDES: Final[Mapping[str, Callable[..., None]]] = {"brain_edge": _ours, "brainles": _brainles}


def main(name: str, atlas: str, out: str, *given: str) -> None:
    """Prepare the study and print the peak of memory."""
    files = {word: Path(path) for word, _, path in (each.partition("=") for each in given)}
    stripper = files.pop("STRIPPER", None)
    with redirect_stdout(sys.stderr):
        SIDES[name](Path(atlas), Path(out), files, *([stripper] if stripper else []))
    print(json.dumps({"peak_rss_bytes": peak_rss_bytes()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
