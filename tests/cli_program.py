"""The real program, called in this process or as a child, and packages and heads for it to work on."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from tiny_package import PHANTOM, SPEC, STAGE, make_package, tiny_manifest, tiny_weights

from brain_edge.cli import main
from brain_edge.engine.segmenter import Segmenter
from brain_edge.image.contrast import Contrast
from brain_edge.image.phantom import make_study, make_volume
from brain_edge.image.volume import Volume
from brain_edge.io.nifti import write_image, write_mask
from brain_edge.package import ModelPackage, graph_path
from brain_edge.spec import Sequence
from brain_edge_conversion.sealing.graph import save_graph
from brain_edge_conversion.sealing.writer import seal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

WITHOUT_BUILD_SIDE = ("torch", "nncf", "onnx", "safetensors")


@dataclass(frozen=True)
class Ended:
    """How a run of the program ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What was printed, parsed."""
        return json.loads(self.out)


def brain_edge(*arguments: object) -> Ended:
    """Run `main` in this process as the installed script does."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["brain-edge", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert isinstance(ended.value.code, int)
    return Ended(ended.value.code, out.getvalue(), err.getvalue())


def succeed(*arguments: object) -> Ended:
    """A run that must end with 0."""
    done = brain_edge(*arguments)
    assert done.code == 0, done.err
    return done


def refused(code: int, *arguments: object) -> str:
    """What a run says on stderr that must end with this code, in one line and with no result on stdout."""
    done = brain_edge(*arguments)
    assert (done.code, done.out) == (code, ""), done.err
    assert "Traceback" not in done.err
    assert "internal error" not in done.err
    return done.err


def child_command(*arguments: object, without: Iterable[str] = ()) -> list[str]:
    """The command line of a child process; `without` are modules that it cannot import."""
    if not without:
        return [sys.executable, "-m", "brain_edge", *map(str, arguments)]
    block = f"import sys; sys.modules.update(dict.fromkeys({list(without)!r}))"
    call = "sys.argv[0] = 'brain-edge'; from brain_edge.cli import main; main()"
    return [sys.executable, "-c", f"{block}; {call}", *map(str, arguments)]


def child(*arguments: object, without: Iterable[str] = (), **options: Any) -> Ended:
    """Run the program as a child process."""
    command = child_command(*arguments, without=without)
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), check=False, **options)
    return Ended(done.returncode, done.stdout, done.stderr)


def child_environment() -> dict[str, str]:
    """Of a child: one thread, because other tests run beside this one; a crash tells where it happened."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}


def save_phantom(path: Path, **changes: Any) -> Path:
    """Write the head that the tiny package finds a brain in; `changes` are fields of the phantom."""
    write_image(make_volume(msgspec.structs.replace(PHANTOM, **changes)), path)
    return path


def save_specks(path: Path) -> Path:
    """Write an image of lone bright voxels, in which the tiny package finds nothing."""
    phantom = make_volume(PHANTOM)
    voxels = np.zeros_like(phantom.voxels)
    voxels[::4, ::4, ::4] = 1000
    write_image(Volume(voxels, phantom.geometry), path)
    return path


def make_pair_package(folder: Path) -> ModelPackage:
    """A package of two sequences, T1 and T2, that looks at the first only."""
    stage = msgspec.structs.replace(STAGE, network=msgspec.structs.replace(STAGE.network, channels_in=2))
    spec = msgspec.structs.replace(
        SPEC,
        name="tiny-pair",
        inputs=(Sequence(name="T1", contrasts=(Contrast.T1W,)), Sequence(name="T2", contrasts=(Contrast.T2W,))),
        stages=(stage,),
    )
    save_graph(_pair_graph(), folder / graph_path("tiny"), spec)
    manifest = tiny_manifest(spec)
    study = make_study(PHANTOM, ["T1", "T2"])
    mask = Segmenter.open(ModelPackage(folder, manifest))(study).mask
    (folder / manifest.self_test.mask).parent.mkdir()
    write_mask(mask, study.volumes["T1"], folder / manifest.self_test.mask)
    return seal(folder, manifest)


def _pair_graph() -> Any:
    from openvino import Model, PartialShape, Type
    from openvino import opset13 as ops

    weights, bias = tiny_weights()
    image = ops.parameter(PartialShape([1, 2, -1, -1, -1]), Type.f32, name="image")
    ones = [1, 1, 1]
    kernel = np.concatenate([weights, np.zeros_like(weights)], axis=1)
    convolved = ops.convolution(image, ops.constant(kernel), ones, ones, ones, ones)
    return Model([ops.softmax(ops.add(convolved, ops.constant(bias)), axis=1)], [image], "pair")


__all__ = [
    "WITHOUT_BUILD_SIDE",
    "Ended",
    "brain_edge",
    "child",
    "child_command",
    "child_environment",
    "make_package",
    "make_pair_package",
    "refused",
    "save_phantom",
    "save_specks",
    "succeed",
]
