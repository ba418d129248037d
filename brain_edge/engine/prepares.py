"""Refusal of options that only a preparation takes, and of the file of another atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.errors import UsageError
from brain_edge.machine.atomic import require_no_file

if TYPE_CHECKING:
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.spec import ModelSpec


def require_preparation(spec: ModelSpec, options: RuntimeOptions) -> None:
    """Refuse what only a preparation takes where there is none, and a wrong atlas, before any work.

    Raises:
        UsageError: an option would do nothing, or the folder of prepared studies is a file.
        InputError: the file of the atlas is another image.
    """
    given = {"--atlas": options.atlas, "--prepared": options.prepared}
    idle = [name for name, path in given.items() if path is not None]
    if idle and options.as_they_are:
        raise UsageError(
            f"expected --as-they-are or {' and '.join(idle)}, got both; remove --as-they-are to prepare the images"
        )
    if idle and not spec.preparation:
        has, it = ("has", "it") if len(idle) == 1 else ("have", "them")
        raise UsageError(f"{', '.join(idle)} {has} no effect with {spec.name}, which has no preparation; remove {it}")
    if options.prepared is not None:
        require_no_file(options.prepared)
    if options.atlas is not None and spec.preparation:
        from brain_edge.preparation.transforms import read_atlas

        read_atlas(spec.preparation, options.atlas)
