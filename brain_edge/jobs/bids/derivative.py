"""What is written for a case: the name of its mask or label map, and the files that explain it.

Names: BIDS 1.11, "Derivatives: Imaging data types", templates of masks and of discrete segmentations.

- `space-orig`, because a mask lies on the grid of its image, untransformed.
- A mask cannot say which image of a session it belongs to (`mod-` is for deface masks only). Where a model takes
  several suffixes, `desc-` tells them apart, which is what it is for: `desc-brainT1w`, `desc-brainFLAIR`.
- Every other entity of the image stays: `ses-`, `acq-`, `ce-`, `run-`.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from brain_edge.image.contrast import Contrast
from brain_edge.jobs.bids.dataset import ANAT
from brain_edge.jobs.bids.name import SESSION, SUBJECT, TABLES, BidsName, in_order
from brain_edge.spec import Task

if TYPE_CHECKING:
    from brain_edge.jobs.bids.choose import BidsCase
    from brain_edge.jobs.record import RunRecord
    from brain_edge.package import ModelPackage
    from brain_edge.spec import ModelSpec

RAW: Final = "raw"
"""What BIDS URIs call the dataset that masks were made from (`DatasetLinks`)."""

BRAIN: Final = "brain"
EXTENSION: Final = ".nii.gz"

STANDARD_LABELS: Final[dict[str, tuple[int, str]]] = TABLES["standard_labels"]


def derivative_name(case: BidsCase, spec: ModelSpec) -> BidsName:
    """The name of the mask (`_mask`) or label map (`_dseg`) of a case.

    It follows from the model and the names of the images alone, so that it stays when other images join them.
    """
    is_mask = spec.task is Task.SKULL_STRIPPING
    stated = {"T1w" if kind is Contrast.T1C else kind for kinds in spec.contrasts.values() for kind in kinds}
    # a user may give a model contrasts that it does not state: then two images of a session would share a name
    tells_apart = len(case.images) == 1 and stated != {case.reference.name.suffix}
    description = (BRAIN if is_mask else "") + (case.reference.name.suffix if tells_apart else "")
    entities = {**case.entities, "space": "orig", **({"desc": description} if description else {})}
    return BidsName(in_order(entities), "mask" if is_mask else "dseg")


def brain_name(case: BidsCase) -> BidsName:
    """The name of the image inside the mask: as that of the image, and what became of it."""
    name = case.reference.name
    return BidsName(in_order({**name.entities, "space": "orig", "desc": BRAIN}), name.suffix)


def case_folder(case: BidsCase) -> PurePosixPath:
    """Where the files of a case go in a derivative dataset: `sub-01/ses-1/anat`."""
    entities = case.reference.name.entities
    return PurePosixPath(*(f"{key}-{entities[key]}" for key in (SUBJECT, SESSION) if key in entities), ANAT)


def sidecar(case: BidsCase, package: ModelPackage, record: RunRecord) -> dict[str, Any]:
    """The JSON beside a mask or label map; nothing in it changes when the case is run again.

    Fields: BIDS "Common file level metadata fields", "Masks", "Segmentations"; what BIDS has no field for is
    under `BrainEdge`. (`SkullStripped` is a field of images, not of masks; `RawSources` is deprecated.)
    """
    spec = package.spec
    is_mask = spec.task is Task.SKULL_STRIPPING
    return {
        "Description": _description(case, package, record),
        **({"Type": "Brain"} if is_mask else {}),
        "Sources": [raw_uri(image.relative) for image in case.images.values()],
        "SpatialReference": raw_uri(case.reference.relative),
        "Manual": False,
        "BrainEdge": {
            "Version": record.brain_edge,
            "Model": record.model,
            "PackageDigest": record.digest,
            "WeightsStatus": record.weights_status,
            "NumberFormat": record.number_format,
            "Precision": record.precision,
            "Threads": record.threads,
            "BorderMm": record.border_mm,
            "VolumesMl": {name: round(volume, 3) for name, volume in record.volumes_ml.items()},
            "Flags": [{"Kind": flag.kind, "Message": flag.message} for flag in record.flags],
            "IntendedUse": record.intended_use,
        },
    }


def brain_sidecar(case: BidsCase, package: ModelPackage, record: RunRecord) -> dict[str, Any]:
    """The JSON beside the image inside the mask."""
    return {
        "Description": f"{case.reference.path.name} with everything outside of the brain mask by {package.spec.name} "
        f"set to 0. {record.intended_use}",
        "SkullStripped": True,
        "Sources": [
            raw_uri(case.reference.relative),
            f"bids::{case_folder(case) / str(derivative_name(case, package.spec))}{EXTENSION}",
        ],
        "SpatialReference": raw_uri(case.reference.relative),
    }


def lookup_table(spec: ModelSpec) -> str:
    """The TSV beside a label map: what its numbers mean, and which of BIDS' own labels they are.

    An abbreviation must be the only one in the table, so structures that share one (left and right) have none.
    """
    names = {0: "background", **spec.label_names()}
    standard = {
        index: STANDARD_LABELS.get(name.lower().replace("_", "-").replace("grey", "gray"))
        for index, name in names.items()
    }
    abbreviations = [known[1] for known in standard.values() if known]
    rows = [("index", "name", "abbreviation", "mapping")]
    for index, name in sorted(names.items()):
        mapping, abbreviation = standard[index] or ("n/a", "n/a")
        unique = abbreviations.count(abbreviation) == 1
        rows.append((str(index), name, abbreviation if unique else "n/a", str(mapping)))
    return "".join("\t".join(row) + "\n" for row in rows)


def raw_uri(relative: str) -> str:
    """The BIDS URI of a file of the raw dataset."""
    return f"bids:{RAW}:{relative}"


def _description(case: BidsCase, package: ModelPackage, record: RunRecord) -> str:
    spec = package.spec
    what = "Brain mask" if spec.task is Task.SKULL_STRIPPING else f"Label map ({spec.task})"
    widened = f", widened by {record.border_mm:g} mm" if record.border_mm else ""
    images = ", ".join(image.path.name for image in case.images.values())
    grid = f", on the grid of {case.reference.path.name}" if len(case.images) > 1 else ""
    return f"{what} of {images} by {spec.name}{widened}{grid}. {record.intended_use}"
