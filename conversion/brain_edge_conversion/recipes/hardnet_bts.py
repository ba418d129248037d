"""HarDNet-BTS: harmonic dense blocks with little memory traffic, three nested regions of a tumour.

"HarDNet-BTS: A Harmonic Shortcut Network for Brain Tumor Segmentation", BrainLes 2021.

- Method, on the network: `brain_edge_conversion.networks.hardnet_bts`, which says what the paper leaves open (growth,
  norms, the last activation).
- Pre-processing: the dark borders common to all sequences cut away; each sequence scaled by its 1 % and 99 %
  quantiles over the voxels that are not 0. Chosen: zeros up to multiples of 8 at the end.
- How a whole case is covered is not stated; chosen: the cropped volume at once.
- Training and ensemble: V1 (trained on 128^3, Dice and cross-entropy) and V2 (144 x 144 x 128, squared Dice) are the
  same network with other weights, with N = 4 channels, background included; V3 is three networks of one region each, N
  = 2. "The voxel confidence values" of all three versions are averaged: `--members all`; one, V1, is the default here.
  The weights of V3 are one file, the names of its networks prefixed with `et.`, `tc.`, `wt.`.
- Inference: `--flips` is the mean of all mirrorings. The paper has 16 copies; three axes give eight different ones, and
  each of them twice has the same mean.
- Post-processing: labels are set differences: necrosis is TC without ET, oedema WT without TC. The threshold is not
  stated; chosen: 0.5.
- Order of the four sequences: not stated; chosen: T1w, T1w after contrast, T2w, FLAIR. Storage: as BraTS stores, LPS.
"""

from __future__ import annotations

from typing import Final

from brain_edge.package.manifest import Card
from brain_edge.spec import ModelSpec, Network, Stage
from brain_edge.spec.steps import (
    CropToForeground,
    FitPercentile,
    Orient,
    PadToMultiple,
    PaintedRegion,
    PaintRegions,
    Region,
    RescaleToUnit,
)
from brain_edge_conversion.recipe import GraphSource, ModelSource, Variant
from brain_edge_conversion.recipes._tumour import (
    ALL_MIRRORINGS,
    COHORT,
    ENHANCING,
    LABELS_BACK,
    LICENCE,
    LIMITS,
    NECROSIS,
    OEDEMA,
    own_graph,
    own_network,
    tumour_spec,
    weightless,
)

VERSIONS: Final = ("v1", "v2", "v3")
WIDTH: Final = 32
REGIONS: Final = PaintRegions(
    regions=(
        PaintedRegion(channel=3, above=0.5, label=OEDEMA.value),
        PaintedRegion(channel=2, above=0.5, label=NECROSIS.value),
        PaintedRegion(channel=1, above=0.5, label=ENHANCING.value),
    )
)
"""Channels background, ET, TC, WT, painted from the outside in."""
CORRECTED: Final = "it had three channels without the background (head.weight, head.bias)"

CARD: Final = Card(
    summary="Brain tumour compartments of four sequences by a U-Net of harmonic dense blocks, 8.7 million parameters.",
    citation='"HarDNet-BTS: A Harmonic Shortcut Network for Brain Tumor Segmentation", BrainLes 2021',
    published_figures="Dice ET/TC/WT .8375/.8727/.9220 on the validation cases of BraTS 2021, V1 alone (the paper)",
    limits=f"{LIMITS} The paper does not state the growth and the norms of its blocks; those here are chosen.",
)


def model(variant: Variant) -> ModelSource:
    """Return V1, V1 and V2, or all three versions, mirrored in all eight ways with `flips`."""
    versions = VERSIONS[: variant.members or 1]
    flips = ALL_MIRRORINGS if variant.flips else ((),)
    return ModelSource(spec(versions, flips), hardnet_graphs(versions), CARD, LICENCE)


def spec(versions: tuple[str, ...] = VERSIONS[:1], flips: tuple[tuple[int, ...], ...] = ((),)) -> ModelSpec:
    """Return the steps around the given versions and mirrorings."""
    stage = Stage(
        name="tumour",
        before=(
            Orient(axes="LPS"),
            CropToForeground(),
            FitPercentile(name="low", percent=1.0, region=Region.NONZERO),
            FitPercentile(name="high", percent=99.0, region=Region.NONZERO),
            RescaleToUnit(lower="low", upper="high"),
            PadToMultiple(multiple_of=8),
        ),
        network=Network(graphs=versions, channels_in=4, channels_out=4, flips=flips),
        after=(REGIONS, LABELS_BACK),
    )
    return tumour_spec("hardnet-bts", stage)


def hardnet_graphs(versions: tuple[str, ...] = VERSIONS[:1], width: int = WIDTH) -> tuple[GraphSource, ...]:
    """Return the networks, of the width of the paper's first level unless stated."""
    names = ("HarDNetBTS", "HarDNetBTS", "HarDNetBTSOfOneRegion")
    builds = [own_network(f"hardnet_bts:{name}", width=width) for name in names]
    return tuple(
        own_graph(version, build, (32, 32, 32), seed=seed, corrected=CORRECTED)
        for seed, (version, build) in enumerate(zip(versions, builds, strict=False))
    )


RECIPE: Final = weightless(
    name="hardnet-bts",
    summary="brain tumour compartments, harmonic dense U-Net, 1 to 3 versions; bring the weights",
    model=model,
    cohort=COHORT,
    members=len(VERSIONS),
    has_flips=True,
)
