"""pydicom and highdicom, when they are needed and without a word about the patient.

Both libraries quote attribute values in warnings and log records: a name that breaks a rule of the standard
would end up in the log of a workstation. Everything that touches a patient's file runs inside `discreet`.
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
    """The module pydicom.

    Raises:
        MissingExtraError: it is not installed.
    """
    with extra_needed("reading DICOM", "pydicom", "dicom"):
        import pydicom.pixels
    return pydicom


def import_highdicom() -> Any:
    """The module highdicom.

    Raises:
        MissingExtraError: it is not installed.
    """
    with extra_needed("writing DICOM", "highdicom", "dicom"):
        import highdicom
        import highdicom.sc
        import highdicom.seg
        import highdicom.sr
    return highdicom


@contextmanager
def discreet() -> Iterator[None]:
    """Inside the block no value of a data set reaches a warning or a log record.

    pydicom's validation of values is off as well: what matters is checked by us, in our words. Levels,
    warning filters and validation are as before when the block ends; they are the process's, so blocks of
    several threads must not overlap.
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
