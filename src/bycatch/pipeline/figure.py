"""The figure of a field's alignment, drawn by a separate process while other steps run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch.pipeline.field_image import field_image
from bycatch.pipeline.jobs import ImageJob
from bycatch.pipeline.keys import REVISIONS
from bycatch.pipeline.workbench import Workbench
from bycatch.products import FieldFolder, combined_digest
from bycatch.system.disk import atomic
from bycatch.system.words import printable

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.wcs import WCS

    from bycatch.figures.alignment import FigureImage
    from bycatch.stages.align import AlignResult, FieldImage

logger = logging.getLogger("bycatch")

FIGURE = "alignment.png"
REVISION = 1
"""Bumped when the figure looks different."""


class FieldFigure:
    """The figure of a field; without matplotlib there is none.

    Parameters
    ----------
    folder : of the field
    is_wanted : a survey has no figures
    """

    def __init__(self, folder: FieldFolder, *, is_wanted: bool = True) -> None:
        self.folder = folder
        self.can_be = is_wanted and find_spec("matplotlib") is not None
        self._drawing: Thread | None = None

    @staticmethod
    def key(job: ImageJob) -> str:
        """Return the key of the figure: that of all that the alignment was made from."""
        digest = job.settings.align.digest()
        return combined_digest(REVISION, REVISIONS["align"], digest, job.field_key, job.gaia_key)

    def is_current(self, key: str) -> bool:
        """Return whether the figure is complete and belongs to this alignment."""
        return not self.can_be or self.folder.is_current(FIGURE, key)

    def prepare(self) -> None:
        """Start the process that draws: starting takes as long as an alignment."""
        if self.can_be:
            from bycatch.figures.process import drawing_process

            drawing_process()

    def begin(self, key: str, images: Sequence[FieldImage], results: Sequence[AlignResult]) -> None:
        """Start drawing the result of an alignment."""
        pairs = [*zip(images, results, strict=True)]
        self._begin(key, lambda: [_content(i, f.wcs, f.matches, f.summary()) for i, f in pairs])

    def begin_again(self, key: str, benches: Sequence[Workbench]) -> None:
        """Start drawing images that were aligned before."""
        self._begin(key, lambda: [_shown_again(bench) for bench in benches])

    def _begin(self, key: str, images: Callable[[], list[FigureImage]]) -> None:
        if self.can_be:
            self._drawing = Thread(target=self._draw, args=(key, images))
            self._drawing.start()

    def wait(self) -> None:
        """Return when the figure is written."""
        if self._drawing is not None:
            self._drawing.join()

    def _draw(self, key: str, images: Callable[[], list[FigureImage]]) -> None:
        from bycatch.figures.process import png_beside

        name = self.folder.state.name
        path = self.folder.path / FIGURE
        try:
            picture = png_beside(printable(name), images())
            with atomic(path) as partial:
                partial.write_bytes(picture)
            self.folder.remember(path, key)
        except Exception as err:  # must not cost an image  # noqa: BLE001
            logger.warning("%s: no figure: %s: %s", name, type(err).__name__, err)


def _shown_again(bench: Workbench) -> FigureImage:
    """Return what the figure shows of an image that is aligned already."""
    frame = bench.frame
    return _content(
        field_image(bench), frame.wcs, frame.pairs, bench.record.stages["align"].summary
    )


def _content(image: FieldImage, wcs: WCS, pairs: Table, summary: dict[str, Any]) -> FigureImage:
    """Return what the figure shows of an image."""
    from bycatch.figures.alignment import FigureImage

    def number(name: str) -> float:
        return float("nan") if summary[name] is None else float(summary[name])

    ny, nx = image.shape
    corners = wcs.all_pix2world(
        [-0.5, nx - 0.5, nx - 0.5, -0.5], [-0.5, -0.5, ny - 0.5, ny - 0.5], 0
    )
    star = image.sources[np.asarray(pairs["source"])]
    ra, dec = np.empty(0), np.empty(0)
    if len(star):
        ra, dec = wcs.all_pix2world(star["x"], star["y"], 0)
    return FigureImage(
        filter=image.filter,
        grade=summary["grade"],
        reason=summary["reason"],
        n_stars=summary["n_field_matches"],
        odds=number("odds"),
        error_mas=number("astrom_err_mas"),
        corners_deg=np.column_stack(corners),
        ra_deg=ra,
        dec_deg=dec,
        dra_mas=np.asarray(pairs["dra_mas"]),
        ddec_mas=np.asarray(pairs["ddec_mas"]),
        error_pair_mas=np.asarray(np.hypot(pairs["dra_err_mas"], pairs["ddec_err_mas"]))
        / np.sqrt(2),
        weight=np.asarray(pairs["weight"]),
        mag=np.asarray(pairs["gaia_g"]),
    )
