"""What a search that found nothing had to work with, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bycatch.stages.align.plane import (
    Stars,
    View,
    are_cosmic_rays,
    are_elongated,
    are_saturated,
    have_unreliable_centres,
    pixels_of,
)
from bycatch.stages.align.relative import Group

if TYPE_CHECKING:
    from bycatch.settings import AlignSettings


def search_account(group: Group, stars: Stars, settings: AlignSettings) -> str:
    """Return what was searched, and what was left out, with numbers.

    Parameters
    ----------
    group : Group, images that are tied to one another
    stars : Stars in reach
    settings : AlignSettings
    """
    here = max(int(pixels_of(stars.xy, v, v.image.wcs)[2].sum()) for v in group.views)
    n_good = sum(int(view.starlike.sum()) for view in group.views)
    n_all = sum(len(view.rows) for view in group.views)
    text = (
        f"tried: {_stars(len(stars))} in range, {here} on the image by its header, with "
        f"{n_good} star-like detections and then all {n_all}, shifts up to "
        f"{settings.max_shift_arcsec:g} arcsec, rolls up to {settings.max_roll_deg:g} deg"
    )
    left_out = {"elongated": 0, "on the cosmic-ray mask": 0}
    left_out |= {"saturated": 0, "beside saturated stars": 0, "at edges": 0}
    for view in group.views:
        for name, n in _left_out(view, settings).items():
            left_out[name] += n
    parts = [f"{n} {name}" for name, n in left_out.items() if n]
    return f"{text}; not star-like or left out: {', '.join(parts)}" if parts else text


def _stars(n: int) -> str:
    return "1 Gaia star" if n == 1 else f"{n} Gaia stars"


def _left_out(view: View, settings: AlignSettings) -> dict[str, int]:
    """Return how many detections of an image are no star-like candidates, each for one reason."""
    image = view.image
    bad, is_saturated = have_unreliable_centres(image), are_saturated(image)
    other = np.zeros(len(bad), dtype=np.bool_)
    other[view.rows] = ~view.starlike
    ray = are_cosmic_rays(image.sources, settings)
    return {
        "on the cosmic-ray mask": int((other & ray).sum()),
        "elongated": int((other & ~ray & are_elongated(image.sources, settings)).sum()),
        "saturated": int((bad & is_saturated).sum()),
        "beside saturated stars": int((bad & ~is_saturated).sum()),
        "at edges": image.n_removed,
    }
