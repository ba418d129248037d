"""The one exception tree of brain_edge.

::

    BrainEdgeError                 exit code 1: something failed
    +-- UsageError                 2: the command or the call is wrong, or names an output that already exists
    +-- InputError                 3: an input is refused (image, folder, cohort)
    |   +-- GeometryError          3: an image whose affine, spacing or shape cannot be trusted
    |   +-- WeightsError           3: a weights file, checkpoint or source is refused, or a package has random weights
    +-- BudgetError                4: the accuracy budget was not met; no package was written
    +-- PackageError               5: a package is damaged, newer than this program, or not a package
    +-- BatchError                 6: some cases of a batch failed
    +-- ParityError                1: OpenVINO and PyTorch disagree, or the package and the expected mask
    +-- ImplausibleError           1: the mask is empty, or outside the plausible range under `--strict`
    +-- OutputError                1: a result could not be written; no partial file is left
    +-- MissingExtraError          1: an optional feature is not installed

A message says what was expected, what came, which file, and what to do next. An exception outside
this tree is a bug in brain_edge, never a mistake of the user.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator


class BrainEdgeError(Exception):
    """Root of every error that brain_edge raises on purpose; `exit_code` is the exit code of the command."""

    exit_code: ClassVar[int] = 1


class UsageError(BrainEdgeError):
    """A command or call is invalid or contradicts itself, or names an output that already exists."""

    exit_code = 2


class InputError(BrainEdgeError):
    """An input file, folder or cohort is refused; nothing was computed from it."""

    exit_code = 3


class GeometryError(InputError):
    """An image whose affine, spacing or shape cannot be trusted."""


class MemoryShortError(InputError):
    """A case needs more memory than there is, or than `--max-memory` allows."""


class WeightsError(InputError):
    """A weights file, a checkpoint or its source is refused, or the weights of a package are random."""


class BudgetError(BrainEdgeError):
    """The accuracy budget was not met; no package was written."""

    exit_code = 4


class PackageError(BrainEdgeError):
    """A package is damaged, of a newer format, has unknown fields, or is not a package."""

    exit_code = 5


class BatchError(BrainEdgeError):
    """Some cases of a batch failed; the others are finished and on disk."""

    exit_code = 6


class ParityError(BrainEdgeError):
    """The converted network does not reproduce PyTorch or an expected mask; no package was written."""


class ImplausibleError(BrainEdgeError):
    """The mask is empty, or it is outside the plausible range under `--strict`."""


class OutputError(BrainEdgeError):
    """A result could not be written; no partial file is left behind."""


class MissingExtraError(BrainEdgeError):
    """A feature needs a package that the thin runtime does not install."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(f"{feature} needs {package}, which is not installed here: pip install 'brain-edge[{extra}]'")
        self.feature = feature
        self.package = package
        self.extra = extra


@contextmanager
def extra_needed(feature: str, package: str, extra: str) -> Iterator[None]:
    """Turn a failed import in the block into an error that names the extra to install.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(feature, package, extra) from error
