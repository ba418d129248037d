"""Contrast of an MR image, found from the evidence of its header, its sidecar and its file name.

There are two kinds of evidence: the physics (timing, inversion, echo, written by the scanner) and the words
(description, protocol and sequence name, typed by people). If both are present, they must agree. If they contradict
each other, or both are missing, the contrast is unknown: a series is then chosen by its UID, never by guessing. The
evidence of a NIfTI file is the JSON sidecar of its converter, and its name.

Limits of timing: Bitar et al., RadioGraphics 26 (2006) 513; FLAIR: De Coene et al., AJNR 13
(1992) 1555; MPRAGE: Mugler and Brookeman, Magn. Reson. Med. 15 (1990) 152. The limits are wide on purpose, and values
between them are undecided.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec

from brain_edge.errors import InputError
from brain_edge.image.contrast import Contrast, Finding
from brain_edge.io.contrast_words import in_file_name, in_words, says_agent
from brain_edge.io.inputs import image_name
from brain_edge.machine.json import decode_json
from brain_edge.machine.paths import read_small

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Acquisition parameters in the header, as evidence for the contrast.

    Times are in ms, the flip angle in degrees. A parameter that the header does not state is None.
    """

    scanning_sequence: frozenset[str] = frozenset()
    variant: frozenset[str] = frozenset()
    contrast: str = ""
    image_type: tuple[str, ...] = ()
    repetition_time_ms: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None
    b_value: float | None = None
    is_angiography: bool = False
    contrast_agent: bool = False
    words: str = ""


# AcquisitionContrast (0008,9209), PS3.3 C.8.13.3.1
_ENHANCED: Final = {
    "T1": Contrast.T1W,
    "T2": Contrast.T2W,
    "FLUID_ATTENUATED": Contrast.FLAIR,
    "PROTON_DENSITY": Contrast.PDW,
    "T2_STAR": Contrast.T2STARW,
    **dict.fromkeys(("DIFFUSION", "FLOW_ENCODED", "PERFUSION", "STIR", "TAGGING", "TOF"), Contrast.OTHER),
}
_MAPS: Final = frozenset(
    {"ADC", "FA", "TRACEW", "DIFFUSION", "PERFUSION", "CBF", "CBV", "MTT", "TTP", "PHASE", "P", "SUBTRACT", "T1 MAP"}
    | {"T2 MAP", "MIP", "MINIP", "VELOCITY"}
)


def classify(protocol: Protocol) -> Finding:
    """Find the contrast of an image, with its evidence, from physics and words."""
    physics, words = next(chain(_declared(protocol), _timing(protocol)), None), in_words(protocol.words)
    heard = [finding for finding in (physics, words) if finding is not None]
    if not heard:
        return Finding(None, ("neither timing nor words say which contrast this is",))
    found = _agreed(heard, "timing and words contradict each other")
    return _with_agent(found, protocol) if found.contrast in (Contrast.T1W, Contrast.T1C) else found


def contrast_of_file(path: Path) -> Finding:
    """Find the contrast of an image file from its name and from the JSON sidecar that its converter wrote beside it.

    A sidecar that is unreadable or not a JSON object is ignored.
    """
    sidecar = path.with_name(f"{image_name(path)}.json")
    heard = [in_file_name(image_name(path))]
    fields = _fields(sidecar)
    if fields is not None:
        found = classify(_protocol(fields))
        first, *rest = found.evidence
        heard.append(Finding(found.contrast, (f"{sidecar.name}: {first}", *rest)))
    said = [finding for finding in heard if finding is not None and finding.contrast is not None]
    if not said:
        return Finding(None, ("neither its name nor a sidecar says which contrast this is",))
    return _agreed(said, "file name and sidecar contradict each other")


def _agreed(heard: Iterable[Finding], contradiction: str) -> Finding:
    """Combine the findings if they agree; T1C wins over T1w, and OTHER over PDw and T2starw."""
    evidence = tuple(sentence for finding in heard for sentence in finding.evidence)
    kinds = {finding.contrast for finding in heard}
    for less, more in (
        (Contrast.T1W, Contrast.T1C),
        (Contrast.PDW, Contrast.OTHER),
        (Contrast.T2STARW, Contrast.OTHER),
    ):
        kinds -= {less} if more in kinds else set()
    if len(kinds) > 1:
        return Finding(None, (*evidence, contradiction))
    return Finding(kinds.pop(), evidence)


def _with_agent(found: Finding, protocol: Protocol) -> Finding:
    said = says_agent(protocol.words)
    if said is False and (protocol.contrast_agent or found.contrast is Contrast.T1C):
        contradiction = "a contrast agent is recorded, but the words say before or without contrast"
        return Finding(None, (*found.evidence, contradiction))
    if protocol.contrast_agent:
        return Finding(Contrast.T1C, (*found.evidence, "a contrast agent is recorded"))
    if said or found.contrast is Contrast.T1C:
        return Finding(Contrast.T1C, (*found.evidence, "the words say after contrast"))
    reason = "no contrast agent is recorded" if said is None else "the words say before or without contrast"
    return Finding(Contrast.T1W, (*found.evidence, reason))


def _fields(sidecar: Path) -> Mapping[str, Any] | None:
    try:
        read = decode_json(read_small(sidecar), object) if sidecar.is_file() else None
    except (OSError, InputError, msgspec.DecodeError):
        return None
    return read if isinstance(read, dict) else None


def _protocol(fields: Mapping[str, Any]) -> Protocol:
    """Return the acquisition parameters of a sidecar (BIDS, "Sequence specifics"; times in seconds)."""

    def number(key: str, scale: float = 1.0) -> float | None:
        value = fields.get(key)
        return value * scale if isinstance(value, int | float) and value else None

    def texts(key: str) -> list[str]:
        value = fields.get(key, ())
        # converters join several values by a backslash, or by "_" where a backslash is not allowed
        return re.split(r"[\\_/ ]+", value) if isinstance(value, str) else [str(each) for each in _listed(value)]

    named = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
    return Protocol(
        scanning_sequence=frozenset(texts("ScanningSequence")),
        variant=frozenset(texts("SequenceVariant")),
        image_type=tuple(texts("ImageType")),
        repetition_time_ms=number("RepetitionTime", 1000.0),
        echo_time_ms=number("EchoTime", 1000.0),
        inversion_time_ms=number("InversionTime", 1000.0),
        flip_angle_deg=number("FlipAngle"),
        contrast_agent=any(fields.get(key) for key in ("ContrastBolusIngredient", "ContrastBolusAgent")),
        words="\n".join(str(fields.get(key, "")) for key in named),
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _declared(protocol: Protocol) -> Iterator[Finding]:
    """Yield the findings that the scanner states explicitly."""
    found = _MAPS & {part.upper() for part in protocol.image_type}
    if found:
        yield Finding(Contrast.OTHER, (f"the image type is {min(found)}",))
    if protocol.contrast in _ENHANCED:
        yield Finding(_ENHANCED[protocol.contrast], (f"the acquisition contrast is {protocol.contrast}",))
    if protocol.b_value:
        yield Finding(Contrast.OTHER, (f"diffusion weighting, b = {protocol.b_value:g}",))
    if protocol.is_angiography:
        yield Finding(Contrast.OTHER, ("the angio flag is set",))
    if "EP" in protocol.scanning_sequence:
        yield Finding(Contrast.OTHER, ("echo planar imaging",))


def _timing(protocol: Protocol) -> Iterator[Finding]:
    echo, repetition = protocol.echo_time_ms, protocol.repetition_time_ms
    if echo is None or repetition is None:
        return
    timing = f"TR {repetition:g} ms, TE {echo:g} ms"
    if protocol.inversion_time_ms is not None:
        yield from _inversion(protocol.inversion_time_ms, echo, repetition, timing)
    elif "IR" in protocol.scanning_sequence:
        return  # inverted, without an inversion time: the timing of a FLAIR looks like T2
    elif "GR" in protocol.scanning_sequence:
        yield from _gradient_echo(protocol, echo, repetition, timing)
    elif "SE" in protocol.scanning_sequence:
        yield from _spin_echo(echo, repetition, timing)


def _inversion(inversion: float, echo: float, repetition: float, timing: str) -> Iterator[Finding]:
    words = f"inversion recovery, TI {inversion:g} ms, {timing}"
    if 1400 <= inversion <= 3200 and repetition >= 4000 and echo >= 60:
        yield Finding(Contrast.FLAIR, (words,))
    elif 300 <= inversion <= 1300 and echo <= 40:
        yield Finding(Contrast.T1W, (words,))
    elif inversion < 300:
        yield Finding(Contrast.OTHER, (f"{words}: fat suppressed by inversion",))


def _gradient_echo(protocol: Protocol, echo: float, repetition: float, timing: str) -> Iterator[Finding]:
    words = f"gradient echo, {timing}"
    if echo >= 12:
        yield Finding(Contrast.T2STARW, (f"{words}: T2* weighting",))
    # angiography (time of flight) has the same timing with a TR of 20 to 30 ms
    elif echo <= 8 and (protocol.flip_angle_deg or 0) >= 7 and repetition <= 15 and not _is_steady_state(protocol):
        yield Finding(Contrast.T1W, (f"{words}, flip angle {protocol.flip_angle_deg:g} degrees",))


def _is_steady_state(protocol: Protocol) -> bool:
    """Return True for balanced steady state (CISS, FIESTA): T2/T1 weighting, no spoiling, no prepared magnetisation."""
    return "SS" in protocol.variant and not protocol.variant & {"SP", "MP"}


def _spin_echo(echo: float, repetition: float, timing: str) -> Iterator[Finding]:
    words = f"spin echo, {timing}"
    if repetition <= 1100 and echo <= 35:
        yield Finding(Contrast.T1W, (words,))
    elif repetition >= 1800 and echo >= 70:
        yield Finding(Contrast.T2W, (words,))
    elif repetition >= 1800 and echo <= 45:
        yield Finding(Contrast.PDW, (f"{words}: proton density",))
