"""Files of a case: the name of its mask or label map, and the content of the files beside it.

Names: BIDS 1.11, "Derivatives: Imaging data types", templates of masks and of discrete segmentations.

- `space-orig`, because a mask lies on the grid of its image, untransformed.
- The name of a mask has no entity for the image of the session (`mod-` is for deface masks only). If a model takes
    several suffixes, `desc-` distinguishes the masks, as BIDS intends: `desc-brainT1w`, `desc-brainFLAIR`.
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
"""Name of the raw dataset in BIDS URIs (`DatasetLinks`)."""

BRAIN: Final = "brain"
EXTENSION: Final = ".nii.gz"

STANDARD_LABELS: Final[dict[str, tuple[int, str]]] = TABLES["standard_labels"]


def derivative_name(case: BidsCase, spec: ModelSpec) -> BidsName:
    """Return the name of the mask (`_mask`) or label map (`_dseg`) of a case.

    The name depends only on the model and on the names of the case's images, so later images do not change it.
    """
    is_mask = spec.task is Task.SKULL_STRIPPING
    stated = {"T1w" if kind is Contrast.T1C else kind for kinds in spec.contrasts.values() for kind in kinds}
    # with contrasts that the user gives and the model does not state, two images of a session would share a name
    tells_apart = len(case.images) == 1 and stated != {case.reference.name.suffix}
    description = (BRAIN if is_mask else "") + (case.reference.name.suffix if tells_apart else "")
    entities = {**case.entities, "space": "orig", **({"desc": description} if description else {})}
    return BidsName(in_order(entities), "mask" if is_mask else "dseg")


def brain_name(case: BidsCase) -> BidsName:
    """Return the name of the image inside the mask: the name of the image with `space-orig` and `desc-brain`."""
    name = case.reference.name
    return BidsName(in_order({**name.entities, "space": "orig", "desc": BRAIN}), name.suffix)


def case_folder(case: BidsCase) -> PurePosixPath:
    """Return the folder of a case in a derivative dataset: `sub-01/ses-1/anat`."""
    entities = case.reference.name.entities
    return PurePosixPath(*(f"{key}-{entities[key]}" for key in (SUBJECT, SESSION) if key in entities), ANAT)


def sidecar(case: BidsCase, package: ModelPackage, record: RunRecord) -> dict[str, Any]:
    """Return the JSON beside a mask or label map; a second run of the case writes the same JSON.

    Fields: BIDS "Common file level metadata fields", "Masks", "Segmentations". Facts without a BIDS field are
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
    """Return the JSON beside the image inside the mask."""
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
    """Return the TSV beside a label map: the name of each label, and the standard label of BIDS that it maps to.

    An abbreviation must be unique in the table, so structures that share one (left and right) have none.
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
    """Return the BIDS URI of a file of the raw dataset."""
    return f"bids:{RAW}:{relative}"


def _description(case: BidsCase, package: ModelPackage, record: RunRecord) -> str:
    spec = package.spec
    what = "Brain mask" if spec.task is Task.SKULL_STRIPPING else f"Label map ({spec.task})"
    widened = f", widened by {record.border_mm:g} mm" if record.border_mm else ""
    images = ", ".join(image.path.name for image in case.images.values())
    grid = f", on the grid of {case.reference.path.name}" if len(case.images) > 1 else ""
    return f"{what} of {images} by {spec.name}{widened}{grid}. {record.intended_use}"
