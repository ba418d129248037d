"""Which MR sequence is this? T1, T1 after contrast, T2 or FLAIR, with the evidence for it.

Two witnesses are heard: the physics (timing, inversion, echo, in the header since the scanner wrote them) and
the words (description, protocol and sequence name, which people type). Where both speak they must agree;
where they contradict each other, or neither says anything, the type is UNKNOWN, and a series is then chosen
by its UID, never by guessing.

Limits of timing: Bitar et al., RadioGraphics 26 (2006) 513; FLAIR: De Coene et al., AJNR 13
(1992) 1555; MPRAGE: Mugler and Brookeman, Magn. Reson. Med. 15 (1990) 152. They are wide on purpose, and what
lies between them is undecided.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.io.dicom.instance import Protocol


class SequenceType(StrEnum):
    """What a model can ask for, and what must not be taken for it."""

    T1 = "T1"
    """T1-weighted, and no contrast agent is recorded (which does not prove that none was given)."""
    T1C = "T1C"
    """T1-weighted after a contrast agent."""
    T2 = "T2"
    """T2-weighted spin echo; not T2*."""
    FLAIR = "FLAIR"
    """T2-weighted with the signal of fluid inverted away."""
    OTHER = "other"
    """Something else: diffusion, perfusion, T2*, proton density, angiography, STIR, a map."""
    UNKNOWN = "unknown"
    """The header does not say, or contradicts itself."""


SEQUENCE_NAMES: Final = {
    "T1": SequenceType.T1,
    "T1W": SequenceType.T1,
    "FLAIR": SequenceType.FLAIR,
    "T2": SequenceType.T2,
    "T2W": SequenceType.T2,
    **dict.fromkeys(("T1C", "T1CE", "T1GD", "T1POST"), SequenceType.T1C),
}
"""What packages call their inputs."""


def sequence_type_of(name: str) -> SequenceType | None:
    """The type that an input of this name takes; None where the name is no type."""
    return SEQUENCE_NAMES.get(name.upper().replace("_", "").replace("-", ""))


@dataclass(frozen=True)
class Finding:
    """A sequence type and the sentences that speak for it, which quote no free text of the header."""

    type: SequenceType
    evidence: tuple[str, ...]


_HINTS: Final = (
    (r"dwi|dti|adc|trace\w?|diff\w*|ep2d\w*|b1000|dtif?\w*", SequenceType.OTHER, "diffusion"),
    (r"perf\w*|dsc|dce|asl|pwi|cbf|cbv|mtt|ttp|bold|fmri|rest\w*", SequenceType.OTHER, "perfusion or function"),
    (r"tof\w*|mra|mrv|angio\w*|venc|pca|mip", SequenceType.OTHER, "angiography"),
    (r"swi\w*|swan|t2 ?\*|t2star|hemo|haemo", SequenceType.OTHER, "T2*"),
    (r"ciss|fiesta\w*|drive|b-?ffe|trufi\w*|stir|dir|mp2rage", SequenceType.OTHER, "another contrast"),
    (r"t1\w?[ _.-]*(?:\w+[ _.-])*flair", SequenceType.T1, "T1 FLAIR"),
    (r"flair\w*|dark[ _.-]?fluid|tirm_dark\w*", SequenceType.FLAIR, "FLAIR"),
    (r"mprage|bravo|fspgr|spgr|tfl3d\w*|t1\w*|vibe|3dt1", SequenceType.T1, "T1"),
    (r"t2\w*|3dt2", SequenceType.T2, "T2"),
    (r"pd\w?|dp|proton", SequenceType.OTHER, "proton density"),
)
"""Words, what they say, and how to say that; the first that occur decide: "t2_flair" is a FLAIR, "t2_swi" is no T2."""

_NO_CONTRAST: Final = re.compile(
    r"(?<![a-z])(?:pre|nativ\w*|(?:w/?o|without|non?|ohne|sans|sin)[ _.-]*(?:contrast|gd|gad\w*|c|km|iv))(?![a-z])"
)
_CONTRAST: Final = re.compile(
    r"(?<![a-z])(?:post(?!er)\w*|gd|gado\w*|gad|contrast|ce|km|dotarem|magnevist|prohance|c\+)(?![a-z])"
    r"|(?<![a-z])t1 ?w?(?:c|ce|gd|km)(?![a-z])"
    r"|\+ ?(?:c|gd|gad|km)(?![a-z])"
)
# AcquisitionContrast (0008,9209), PS3.3 C.8.13.3.1
_ENHANCED: Final = {
    "T1": SequenceType.T1,
    "T2": SequenceType.T2,
    "FLUID_ATTENUATED": SequenceType.FLAIR,
    **dict.fromkeys(
        ("DIFFUSION", "FLOW_ENCODED", "PERFUSION", "PROTON_DENSITY", "STIR", "TAGGING", "T2_STAR", "TOF"),
        SequenceType.OTHER,
    ),
}
_MAPS: Final = frozenset(
    {"ADC", "FA", "TRACEW", "DIFFUSION", "PERFUSION", "CBF", "CBV", "MTT", "TTP", "PHASE", "P", "SUBTRACT", "T1 MAP"}
    | {"T2 MAP", "MIP", "MINIP", "SWI", "VELOCITY"}
)


def classify(protocol: Protocol) -> Finding:
    """The type of a series and the evidence, weighing physics and words."""
    physics, words = next(chain(_declared(protocol), _timing(protocol)), None), _words(protocol.words)
    heard = [finding for finding in (physics, words) if finding is not None]
    evidence = tuple(sentence for finding in heard for sentence in finding.evidence)
    kinds = {finding.type for finding in heard}
    if not heard:
        return Finding(SequenceType.UNKNOWN, ("neither timing nor words say which sequence this is",))
    if len(kinds) > 1:
        return Finding(SequenceType.UNKNOWN, (*evidence, "timing and words contradict each other"))
    if kinds == {SequenceType.T1}:
        return _with_contrast(protocol, evidence)
    return Finding(heard[0].type, evidence)


def _with_contrast(protocol: Protocol, evidence: tuple[str, ...]) -> Finding:
    denied = bool(_NO_CONTRAST.search(protocol.words))
    said = not denied and bool(_CONTRAST.search(protocol.words))
    if protocol.contrast_agent and denied:
        contradiction = "a contrast agent is recorded (0016,0010), but the words say before or without contrast"
        return Finding(SequenceType.UNKNOWN, (*evidence, contradiction))
    if protocol.contrast_agent:
        return Finding(SequenceType.T1C, (*evidence, "a contrast agent is recorded (0016,0010)"))
    if said:
        return Finding(SequenceType.T1C, (*evidence, "the words say after contrast"))
    reason = "the words say before or without contrast" if denied else "no contrast agent is recorded"
    return Finding(SequenceType.T1, (*evidence, reason))


def _words(words: str) -> Finding | None:
    plain = re.sub(r"[_./-]+", " ", words)
    said = [
        (kind, meaning)
        for pattern, kind, meaning in _HINTS
        # descriptions join words with anything: t2_tse_tra, T1-MPRAGE, ax.flair
        if re.search(rf"(?<![a-z0-9])(?:{pattern})(?![a-z0-9])", f"{words}\n{plain}")
    ]
    if not said:
        return None
    if {kind for kind, _ in said} == {SequenceType.T1, SequenceType.T2}:
        return Finding(SequenceType.UNKNOWN, ("the words say T1 and T2",))
    kind, meaning = said[0]
    return Finding(kind, (f"the words say {meaning}",))


def _declared(protocol: Protocol) -> Iterator[Finding]:
    """What the scanner says outright."""
    found = _MAPS & {part.upper() for part in protocol.image_type}
    if found:
        yield Finding(SequenceType.OTHER, (f"the image type is {min(found)}",))
    if protocol.contrast in _ENHANCED:
        yield Finding(_ENHANCED[protocol.contrast], (f"the acquisition contrast is {protocol.contrast}",))
    if protocol.b_value:
        yield Finding(SequenceType.OTHER, (f"diffusion weighting, b = {protocol.b_value:g}",))
    if protocol.is_angiography:
        yield Finding(SequenceType.OTHER, ("the angio flag is set",))
    if "EP" in protocol.scanning_sequence:
        yield Finding(SequenceType.OTHER, ("echo planar imaging",))


def _timing(protocol: Protocol) -> Iterator[Finding]:
    echo, repetition = protocol.echo_time_ms, protocol.repetition_time_ms
    if echo is None or repetition is None:
        return
    timing = f"TR {repetition:g} ms, TE {echo:g} ms"
    if protocol.inversion_time_ms is not None:
        yield from _inversion(protocol.inversion_time_ms, echo, repetition, timing)
    elif "IR" in protocol.scanning_sequence:
        return  # inverted, but when is not said: its timing would look like T2 for a FLAIR
    elif "GR" in protocol.scanning_sequence:
        yield from _gradient_echo(protocol, echo, repetition, timing)
    elif "SE" in protocol.scanning_sequence:
        yield from _spin_echo(echo, repetition, timing)


def _inversion(inversion: float, echo: float, repetition: float, timing: str) -> Iterator[Finding]:
    words = f"inversion recovery, TI {inversion:g} ms, {timing}"
    if 1400 <= inversion <= 3200 and repetition >= 4000 and echo >= 60:
        yield Finding(SequenceType.FLAIR, (words,))
    elif 300 <= inversion <= 1300 and echo <= 40:
        yield Finding(SequenceType.T1, (words,))
    elif inversion < 300:
        yield Finding(SequenceType.OTHER, (f"{words}: fat suppressed by inversion",))


def _gradient_echo(protocol: Protocol, echo: float, repetition: float, timing: str) -> Iterator[Finding]:
    words = f"gradient echo, {timing}"
    if echo >= 12:
        yield Finding(SequenceType.OTHER, (f"{words}: T2* weighting",))
    # angiography (time of flight) is the same with a TR of 20 to 30 ms
    elif echo <= 8 and (protocol.flip_angle_deg or 0) >= 7 and repetition <= 15 and not _is_steady_state(protocol):
        yield Finding(SequenceType.T1, (f"{words}, flip angle {protocol.flip_angle_deg:g} degrees",))


def _is_steady_state(protocol: Protocol) -> bool:
    """Balanced steady state (CISS, FIESTA) weights T2/T1 and has neither spoiling nor magnetisation prepared."""
    return "SS" in protocol.variant and not protocol.variant & {"SP", "MP"}


def _spin_echo(echo: float, repetition: float, timing: str) -> Iterator[Finding]:
    words = f"spin echo, {timing}"
    if repetition <= 1100 and echo <= 35:
        yield Finding(SequenceType.T1, (words,))
    elif repetition >= 1800 and echo >= 70:
        yield Finding(SequenceType.T2, (words,))
    elif repetition >= 1800 and echo <= 45:
        yield Finding(SequenceType.OTHER, (f"{words}: proton density",))
