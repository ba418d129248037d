"""Labels with their standard codes (SNOMED CT), shared by recipes."""

from typing import Final

from brain_edge.spec import Code, Label

BRAIN: Final = Label(value=1, name="brain", code=Code(scheme="SCT", value="12738006", meaning="Brain"))
