"""Parts of the MeshNet recipes: brainchop's steps around its networks.

Fedorov et al., "End-to-end learning of brain tissue segmentation from imperfect labeling", IJCNN 2017; brainchop
(MIT, neuroneural/brainchop) runs these networks in a browser. The head is conformed as FreeSurfer does it: 1 mm,
LIA, 256^3 with the head in the middle; intensities are clipped to their 2 % and 98 % quantiles and scaled to 0..1.

Chosen here, not stated there for these networks: of all labels together the largest component is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from brain_edge.image.contrast import Contrast
from brain_edge.image.resample import Interpolation
from brain_edge.package.manifest import Card, Licence
from brain_edge.spec import (
    Activation,
    Label,
    ModelSpec,
    Network,
    Plausible,
    PlausibleInput,
    PlausibleLabel,
    Sequence,
    Stage,
    Task,
)
from brain_edge.spec.steps import (
    Argmax,
    BeforeStep,
    CropOrPadTo,
    FitPercentile,
    LargestComponent,
    Orient,
    ResampleToSpacing,
    RescaleToUnit,
    Restore,
)
from brain_edge_conversion.recipe import GraphSource, ModelSource, WeightsFile, same_each_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from brain_edge_conversion.networks.meshnet import MeshNetConfig

LICENCE: Final = Licence(
    name="MIT",
    holder="neuroneural (brainchop)",
    notes="The repository of the .pth files states no licence; brainchop ships the same numbers under MIT.",
)

CONFORM: Final[tuple[BeforeStep, ...]] = (
    Orient(axes="LIA"),
    ResampleToSpacing(spacing_mm=(1.0, 1.0, 1.0), interpolation=Interpolation.LINEAR),
    CropOrPadTo(shape=(256, 256, 256)),
    FitPercentile(name="low", percent=2.0),
    FitPercentile(name="high", percent=98.0),
    RescaleToUnit(lower="low", upper="high"),
)


def meshnet_source(
    name: str, labels: tuple[Label, ...], weights: WeightsFile, config: str, summary: str
) -> ModelSource:
    """Return a MeshNet with its label table. The argument `config` names a constant of `networks.meshnet`."""
    stage = Stage(
        name="tissue",
        before=CONFORM,
        network=Network(graphs=("meshnet",), channels_in=1, channels_out=len(labels) + 1, activation=Activation.NONE),
        after=(Argmax(), LargestComponent(), Restore(interpolation=Interpolation.NEAREST)),
    )
    spec = ModelSpec(
        name=name,
        task=Task.TISSUE,
        inputs=(Sequence(name="image", contrasts=(Contrast.T1W,)),),
        stages=(stage,),
        labels=labels,
        plausible=Plausible(
            inputs=PlausibleInput(spacing_mm=(0.3, 4.0), extent_mm=(120.0, 400.0)),
            labels=tuple(PlausibleLabel(label=label.value, volume_ml=VOLUME_ML[label.name]) for label in labels),
        ),
    )
    card = Card(
        summary=summary,
        citation="Fedorov et al., IJCNN 2017; Masoud et al., JOSS 8 (2023) 5098 (brainchop)",
        published_figures="none for these weights",
        limits=(
            "T1w heads of about 1 mm; brainchop's own cropping and clean-up are not reproduced. Labels apart from the "
            "largest component of all labels are removed, which is our choice."
        ),
    )
    return ModelSource(spec, (GraphSource("meshnet", _builder(config), weights, (32, 32, 32)),), card, LICENCE)


def _builder(config: str) -> Callable[[Path | None], nn.Module]:
    def build(weights: Path | None) -> nn.Module:
        from brain_edge_conversion.networks import meshnet
        from brain_edge_conversion.weights.checkpoint import fit_state_dict, load_state_dict

        chosen: MeshNetConfig = getattr(meshnet, config)
        network = same_each_time(lambda: meshnet.MeshNet(chosen))
        if weights is not None:
            fit_state_dict(network, load_state_dict(weights), weights.name)
        return network.eval()

    return build


VOLUME_ML: Final = {
    "white-matter": (150.0, 1100.0),
    "grey-matter": (250.0, 1400.0),
    "Cerebral-White-Matter": (150.0, 900.0),
    "Cerebral-Cortex": (200.0, 1000.0),
    "Lateral-Ventricle": (2.0, 200.0),
    "Inferior-Lateral-Ventricle": (0.02, 20.0),
    "Cerebellum-White-Matter": (5.0, 80.0),
    "Cerebellum-Cortex": (40.0, 220.0),
    "Thalamus": (5.0, 40.0),
    "Caudate": (2.0, 20.0),
    "Putamen": (3.0, 25.0),
    "Pallidum": (1.0, 12.0),
    "3rd-Ventricle": (0.2, 10.0),
    "4th-Ventricle": (0.3, 12.0),
    "Brain-Stem": (8.0, 50.0),
    "Hippocampus": (2.0, 20.0),
    "Amygdala": (0.8, 10.0),
    "Accumbens-area": (0.3, 5.0),
    "VentralDC": (3.0, 20.0),
}
"""Wide ranges around adult volumes, both sides together. A mask outside of them is flagged, not judged."""
