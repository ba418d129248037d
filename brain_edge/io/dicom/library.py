"""Import of pydicom and highdicom on demand, without output about the patient.

Both libraries quote attribute values in warnings and log records. A name that breaks a rule of the standard would end
up in the log of a workstation. All code that touches a patient's file runs inside `discreet`.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from brain_edge.errors import extra_needed

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOGGERS: Final = ("pydicom", "highdicom", "openjpeg")
_SILENT: Final = logging.CRITICAL + 1


def import_pydicom() -> Any:
    """Import and return pydicom.

    Raises:
        MissingExtraError: pydicom is not installed.
    """
    with extra_needed("reading DICOM", "pydicom", "dicom"):
        import pydicom.pixels
    return pydicom


def import_highdicom() -> Any:
    """Import and return highdicom.

    Raises:
        MissingExtraError: highdicom is not installed.
    """
    with extra_needed("writing DICOM", "highdicom", "dicom"):
        import highdicom
        import highdicom.sc
        import highdicom.seg
        import highdicom.sr
    return highdicom


@contextmanager
def discreet() -> Iterator[None]:
    """Keep the values of data sets out of warnings and log records inside the block.

    pydicom's validation of values is off as well: brain_edge checks the values it needs, in its own words. Log levels,
    warning filters and validation are restored when the block ends. They belong to the process, so blocks of several
    threads must not overlap.
    """
    pydicom = import_pydicom()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(_SILENT)
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
