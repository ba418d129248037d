"""Valid atlases, transforms, prepared studies and masks, made by nibabel, SimpleITK and the program itself."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import msgspec
import nibabel as nib
import numpy as np

from hunt.seeds_images import affine, voxels

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.image.volume import Study
    from brain_edge.spec import ModelSpec
    from hunt.mutations import Tree

MASK: Final = "mask.npy"
BALL_MM: Final = 60.0


def make_atlases(root: Path) -> None:
    """The known atlases, as balls at the place of the head, and one of the user."""
    from brain_edge.registration.atlas import ATLASES

    for known in ATLASES:
        points = np.ogrid[tuple(slice(side) for side in known.grid.shape)]
        world = [known.grid.affine[axis, axis] * points[axis] + known.grid.affine[axis, 3] for axis in range(3)]
        distance = sum((line - middle) ** 2 for line, middle in zip(world, known.centre, strict=True))
        image = nib.Nifti1Image((np.asarray(distance) < BALL_MM**2).astype(np.uint8), known.grid.affine)
        _save(image, _folder(root, known.name) / "atlas.nii.gz")
    _save(nib.Nifti1Image(voxels(), np.diag([20.0, 20.0, 20.0, 1.0])), _folder(root, "own") / "atlas.nii.gz")
    nib.save(nib.MGHImage(voxels(np.int16), np.diag([-20.0, -20.0, 20.0, 1.0])), _folder(root, "mgh") / "atlas.mgz")


def make_transforms(root: Path) -> None:
    """Rigid transforms as SimpleITK writes them, about a centre and about none, and as the program does."""
    import SimpleITK as itk  # noqa: N813 - as its own documentation calls it

    from brain_edge.registration.itk_file import write_itk
    from brain_edge.registration.rigid import Rigid

    turn = itk.Euler3DTransform()
    turn.SetRotation(0.1, -0.2, 0.3)
    turn.SetTranslation((4.0, -6.0, 9.0))
    for name, centre in (("plain", (0.0, 0.0, 0.0)), ("centred", (10.0, -20.0, 30.0))):
        written = itk.AffineTransform(3)
        written.SetMatrix(turn.GetMatrix())
        written.SetTranslation(turn.GetTranslation())
        written.SetCenter(centre)
        itk.WriteTransform(written, str(_folder(root, name) / "moved.txt"))
    write_itk(Rigid.identity(), _folder(root, "ours") / "moved.txt")


def make_kept(root: Path) -> None:
    """A study that a run has kept, with all that the run takes, and the mask that it makes."""
    from brain_edge.engine.segmenter import Segmenter
    from brain_edge.io.nifti import read_volume
    from brain_edge.machine.options import RuntimeOptions

    folder = _with_packages(root, "study")
    _save_head(folder / "head.nii.gz")
    options = RuntimeOptions(threads=1, stage_zero=folder / "zero", prepared=folder / "kept", resident_graphs=2)
    made = Segmenter.open(folder / "package", options)(read_volume(folder / "head.nii.gz"))
    np.save(folder / MASK, made.mask.labels)


def make_prepared(root: Path) -> None:
    """A prepared study; its record tells of a registration and a flag, as that of several sequences does."""
    from brain_edge.jobs.preparing.one import StudyRecord
    from brain_edge.machine.json import decode_json
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.spec.plausibility import Flag, FlagKind
    from brain_edge.verbs.prepare import prepare

    folder = _with_packages(root, "study")
    (folder / "studies" / "one").mkdir(parents=True)
    _save_head(folder / "studies" / "one" / "T1.nii.gz")
    options = RuntimeOptions(threads=1, stage_zero=folder / "zero")
    prepare(folder / "studies", folder / "out", like=folder / "package", picture=False, runtime=options)
    path = folder / "out" / "one" / "one_preparation.json"
    record = decode_json(path.read_bytes(), StudyRecord)
    figures = {"similarity": 0.4, "overlap": 0.97, "displacement_mm": 4.2, "angle_deg": 3.1}
    told = msgspec.structs.replace(
        record.preparation,
        judgements={"T2": figures},
        flags=(Flag(FlagKind.REGISTRATION, "T2 on T1: doubtful.", 4.2, 0.0, 3.0),),
    )
    path.write_bytes(msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(record, preparation=told))))


def make_expected_masks(root: Path) -> None:
    """Masks of one label: as 1 and as 255, of another type, and in another order of the axes."""
    brain, scan = voxels() > 100, nib.Nifti1Image(voxels(), affine())
    for name, labels in (("one", brain.astype(np.uint8)), ("bright", np.where(brain, 255.0, 0.0).astype(np.float32))):
        _save(nib.Nifti1Image(labels, affine()), _folder(root, name) / "mask.nii.gz")
    turned = nib.Nifti1Image(brain.astype(np.uint8), scan.affine).as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
    _save(turned, _folder(root, "turned") / "mask.nii")
    nib.save(nib.MGHImage(brain.astype(np.int16), affine()), _folder(root, "mgh") / "mask.mgz")


def small_study() -> Study:
    """The head of those masks."""
    from brain_edge.image.geometry import Geometry
    from brain_edge.image.volume import Study, Volume

    return Study.of(T1=Volume(voxels(), Geometry(voxels().shape, affine())))


def digest_again(tree: Tree) -> Tree:
    """The kept study with the digest of what is in it now."""
    found = dict(tree)
    for entry in {name.rpartition("/")[0] for name in tree if name.startswith("kept/")}:
        held = {name.rpartition("/")[2]: tree[name] for name in sorted(tree) if name.startswith(f"{entry}/")}
        held.pop("digest", None)
        hashes = [[name, hashlib.sha256(content).hexdigest()] for name, content in held.items()]
        text = json.dumps(hashes, separators=(",", ":"))
        found[f"{entry}/digest"] = hashlib.sha256(text.encode()).hexdigest().encode()
    return found


def _with_packages(root: Path, name: str) -> Path:
    """A folder with a package whose preparation makes a new grid and removes the skull, and with its stage 0."""
    from tiny_package import make_package

    folder = _folder(root, name)
    make_package(folder / "zero")
    make_package(folder / "package", _of_brains())
    return folder


def _of_brains() -> ModelSpec:
    from tiny_package import SPEC, STAGE

    from brain_edge.spec import Label, Plausible, Preparation, Skull, Task

    return msgspec.structs.replace(
        SPEC,
        name="of-brains",
        task=Task.LESION,
        stages=(msgspec.structs.replace(STAGE, name="finding"),),
        labels=(Label(value=1, name="finding"),),
        plausible=Plausible(),
        preparation=Preparation(references=("T1",), spacing_mm=4.0, skull=Skull.REMOVED_AFTER),
    )


def _save_head(path: Path) -> None:
    """A phantom in slices of 6 mm."""
    from cli_program import save_phantom

    save_phantom(path)
    found: Any = nib.load(path)
    thick = nib.Nifti1Image(np.asanyarray(found.dataobj)[:, :, ::2], found.affine @ np.diag([1.0, 1.0, 2.0, 1.0]))
    _save(thick, path)


def _save(image: Any, path: Path) -> None:
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def _folder(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
