"""A batch that pages are made of in tests: names that would like to be more than names, flags, failures, pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from brain_edge.jobs.outliers import LabelMeasure
from brain_edge.jobs.pictures.batch_view import BatchView, CaseView, Mark, in_viewing_order, with_outliers

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<script>document.title='run'</script>"
HOSTILE_LINK = "javascript:document.title='run'"
DIGEST = "8fb8bfd96acd4aff" * 4
VOLUMES_ML = {"head2": 1390.5, "head10": 1404.0, "head1": 1420.25, "head3": 1350.0, "head4": 990.0, HOSTILE: 1500.0}


def make_case(name: str, volume_ml: float, picture: str | None, *marks: Mark) -> CaseView:
    return CaseView(
        name=name,
        model="tiny & small",
        digest=DIGEST,
        measures={"brain": LabelMeasure(volume_ml, 1, 0.0)},
        marks=marks,
        elapsed_ms=1000.0 + volume_ml,
        peak_rss_bytes=512 * 2**20,
        picture=picture,
    )


def make_batch(folder: Path) -> BatchView:
    """Eight cases, their pictures in the folder: one failed, three flagged, two of them by the batch itself."""
    flagged = {"head3": Mark("implausible spacing", "spacing of 8 mm, expected 0.3 to 7 mm")}
    cases = [
        make_case(name, volume, make_picture(folder, name), *([flagged[name]] if name in flagged else []))
        for name, volume in VOLUMES_ML.items()
    ]
    cases.append(make_case("head5", 2900.0, make_picture(folder, HOSTILE_LINK)))
    error = f"/data/{HOSTILE}.nii.gz: the image ends early; copy it again"
    cases.append(CaseView(name="broken", model="tiny & small", digest=DIGEST, error=error))
    return BatchView(
        title=f"tiny & small {HOSTILE}: 8 cases",
        intended_use="Research use only & nothing else.",
        cases=in_viewing_order(with_outliers(cases)),
        origin={"package digest": DIGEST, "brain_edge": "0.1.0", "openvino": HOSTILE},
    )


def make_picture(folder: Path, name: str) -> str:
    """A PNG with a colour of its own, in a folder below; its path from the folder of the page."""
    # "/" cannot be in a name
    path = folder / "pictures" / f"{name.replace('/', '|')} 100%?#_picture.png"
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (360, 216), (len(name) * 5 % 256, 90, 160)).save(path)
    return path.relative_to(folder).as_posix()
