"""Search for the rigid transform between two images of a head, from coarse to fine, from several starts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np

from brain_edge.registration.library import Level, align, import_simpleitk
from brain_edge.registration.rigid import Rigid
from brain_edge.registration.working import Pair, centre_mm

if TYPE_CHECKING:
    from brain_edge.image.volume import Mask, Volume
    from brain_edge.registration.rigid import Points

COARSE: Final = Level(spacing_mm=4.0, points=200_000)
"""Where every start is tried: a whole head at 4 mm has about 80,000 points."""
MIDDLE: Final = Level(spacing_mm=2.0, points=100_000)
FINE: Final = Level(spacing_mm=1.0, points=400_000)


def register(
    moving: Volume, fixed: Volume, *, threads: int, fixed_mask: Mask | None = None, moving_mask: Mask | None = None
) -> Rigid:
    """Return the rigid transform from the world of `fixed` to the world of `moving`.

    The search maximises the mutual information of both images. The starts are the positions that both headers state,
    and centre on centre. The same input gives the same transform, whatever the number of threads.

    Args:
        moving: image to be moved.
        fixed: image that stays.
        threads: number of starts that are searched at once.
        fixed_mask: region of `fixed` that counts; None counts all voxels. A mask without a rim hides the outline.
        moving_mask: region of `moving` that counts; None counts all voxels.

    Raises:
        MissingExtraError: the extra `register` is not installed.
    """
    import_simpleitk()
    finest = Pair(fixed, moving, fixed_mask, moving_mask).at(FINE.spacing_mm)
    middle = finest.at(MIDDLE.spacing_mm)
    centre = centre_mm(finest.fixed, finest.fixed_mask)
    transform = _best_start(middle.at(COARSE.spacing_mm), centre, threads)
    transform, _ = align(middle, transform, centre, MIDDLE)
    return align(finest, transform, centre, FINE)[0]


def _best_start(coarse: Pair, centre: Points, threads: int) -> Rigid:
    """Return the best coarse transform of all starts."""
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda start: align(coarse, start, centre, COARSE), _starts(coarse, centre)))
    return max(found, key=lambda each: each[1])[0]


def _starts(pair: Pair, centre: Points) -> list[Rigid]:
    """Return the starts: centre on centre, and the positions of the headers where the images overlap there."""
    onto = np.eye(4)
    onto[:3, 3] = centre_mm(pair.moving, pair.moving_mask) - centre
    index = np.linalg.inv(pair.moving.geometry.affine) @ [*centre, 1.0]
    inside = (index[:3] >= 0).all() and (index[:3] <= np.array(pair.moving.geometry.shape) - 1).all()
    # SimpleITK fails where no point of the fixed image lies in the moving one
    return [Rigid(onto), Rigid.identity()] if inside else [Rigid(onto)]
