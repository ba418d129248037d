"""Parts of the skull-stripping recipes: the label with its standard code (SNOMED CT), and what a brain looks like."""

from typing import Final

from brain_edge.spec import Code, Label, Plausible, PlausibleInput, PlausibleLabel

BRAIN: Final = Label(value=1, name="brain", code=Code(scheme="SCT", value="12738006", meaning="Brain"))


def plausible_brain(max_components: int) -> Plausible:
    """Return wide ranges of clinical heads and of the brains of children and adults.

    A mask outside of the ranges is flagged.

    Args:
        max_components: number of components that a mask may have. It is 1 where the published program keeps only the
            largest one.
    """
    label = PlausibleLabel(
        label=BRAIN.value, volume_ml=(600.0, 2200.0), max_components=max_components, max_border_share=0.05
    )
    inputs = PlausibleInput(spacing_mm=(0.3, 7.0), extent_mm=(100.0, 400.0))
    return Plausible(inputs=inputs, labels=(label,))
