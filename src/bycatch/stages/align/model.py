"""What the alignment takes and gives."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from bycatch.display import notebook
from bycatch.display.summary_values import WORDS
from bycatch.sky.astrometry import FrameError

if TYPE_CHECKING:
    import numpy as np
    from astropy.table import Table
    from astropy.wcs import WCS
    from numpy.typing import NDArray

    from bycatch.images.drc import DrcImage

GRADES: dict[str, str] = {
    "A": "on Gaia: 5 or more stars on all sides, frame known to 5 mas per axis",
    "B": "on Gaia: 3 or more stars, frame known to 15 mas",
    "C": "on Gaia: 2 or more stars, frame known to 50 mas",
    "D": "on Gaia by one star, or known to no better than 50 mas",
    "E": "tied to the other images of the field, but not to Gaia",
    "F": "the header's WCS, as it was",
}
"""What the grades mean; the error is the frame's, per axis, typical over the image."""
IN_DOUBT = "its WCS is in doubt"
"""What the reason of such an image says; its grade is B at best."""


@dataclass(frozen=True, eq=False)
class FieldImage:
    """What the alignment needs of one image of a field.

    Attributes
    ----------
    name : how messages name it
    filter : its filter
    sources : detections (source_columns.SOURCES) with ``on_cr_mask``, the share of each segment on
        the cosmic-ray mask; what is missing speaks for a detection
    wcs : the header's celestial WCS, in ICRS
    wcsname : the header's WCSNAME, which implies the expected pointing error
    shape : (ny, nx)
    mjd : mid-time of the exposures
    exptime_s : exposure time
    zeropoint_ab : AB magnitude of 1 e/s; NaN if unknown
    saturation_rate : e/s of a pixel at the full well of one exposure; infinite if unknown
    doubt : why the WCS may be wrong, or ''; with one the field is aligned without it
    epoch_spread_yr : rms spread of the times of its exposures
    n_removed : detections that the coverage rule took out, for messages
    """

    name: str
    filter: str
    sources: Table
    wcs: WCS
    wcsname: str
    shape: tuple[int, int]
    mjd: float
    exptime_s: float
    zeropoint_ab: float
    saturation_rate: float
    doubt: str = ""
    epoch_spread_yr: float = 0.0
    n_removed: int = 0

    @classmethod
    def of(
        cls,
        image: DrcImage,
        sources: Table,
        segmentation: NDArray[np.integer[Any]] | None = None,
        cr_mask: NDArray[np.bool_] | None = None,
    ) -> FieldImage:
        """Return what the alignment needs of an image in memory and its detections.

        Parameters
        ----------
        image : DrcImage
        sources : table of `detect`
        segmentation, cr_mask : (ny, nx), optional
            Of `detect` and `crmask` (the grown one); with both, cosmic rays are left out.
        """
        from bycatch import photcal
        from bycatch.kernels.exposures import mask_shares

        table, meta = sources.copy(), image.meta
        if segmentation is not None and cr_mask is not None:
            table["on_cr_mask"] = mask_shares(segmentation, cr_mask, table["id"])
        return cls(
            name=f"{meta.filter}/{meta.root}",
            filter=meta.filter,
            sources=table,
            wcs=image.wcs,
            wcsname=meta.wcsname,
            shape=image.shape,
            mjd=meta.mjd_mid,
            exptime_s=meta.exptime_s,
            zeropoint_ab=photcal.ab_zeropoint(meta.photflam, meta.photplam),
            saturation_rate=meta.saturation_rate,
            doubt="; ".join(image.wcs_doubts),
            epoch_spread_yr=meta.epoch_spread_yr,
        )


@dataclass(frozen=True, eq=False)
class AlignResult:
    """The WCS of an image after the alignment of its field, and the evidence for it.

    Attributes
    ----------
    wcs : the aligned WCS; the header's own where nothing better was found (grade F)
    grade : 'A' to 'F', see `GRADES`
    reason : in words, why
    geometry : 'none', 'shift', 'rshift', 'rscale', 'general' or 'sip'
    n_matches : Gaia stars matched in this image
    n_field_matches : Gaia stars matched in the images that are tied to this one
    n_tied : sources that tie it to the other images of the field
    n_reference : usable Gaia stars inside the array
    rms_ra_mas, rms_dec_mas : weighted residuals of the image's own pairs; NaN without
    loo_rms_mas : rms per axis of the residuals with each star left out of the fit in turn
    odds : probability that a match this good is chance; NaN without a match
    shift_ra_mas, shift_dec_mas : what was added at the image's centre
    roll_deg : what was added to the position angle of y (north through east)
    scale_ppm : change of the pixel scale
    astrom_err_mas : error of the frame per axis, typical over the image
    frame_error : the same at any position
    distortion_mas, distortion_arcsec : rms size per axis and correlation length of what linear
        frames leave; 0 and NaN if not measured
    release, epoch : of the reference stars ('' without); epoch of the image, Julian year
    matches : one row per Gaia star: ``source`` (row of the detections), ``source_id``, ``gaia_g``,
        ``dra_mas``, ``ddec_mas`` (detection minus star), ``dra_loo_mas``, ``ddec_loo_mas`` (with
        the star left out of the fit), ``dra_err_mas``, ``ddec_err_mas`` (expected), ``weight``
    """

    wcs: WCS
    grade: str
    reason: str
    geometry: str
    n_matches: int
    n_field_matches: int
    n_tied: int
    n_reference: int
    rms_ra_mas: float
    rms_dec_mas: float
    loo_rms_mas: float
    odds: float
    shift_ra_mas: float
    shift_dec_mas: float
    roll_deg: float
    scale_ppm: float
    astrom_err_mas: float
    frame_error: FrameError
    distortion_mas: float
    distortion_arcsec: float
    release: str
    epoch: float
    matches: Table

    @property
    def aligned(self) -> bool:
        """True if the frame is Gaia's."""
        return self.grade in "ABCD"

    def summary(self) -> dict[str, Any]:
        """Return the scalars for the log, the report and the summary file."""
        left_out = {"wcs", "frame_error", "matches"}
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left_out}
        return {"aligned": self.aligned, **values}

    @notebook.safe_repr
    def _repr_html_(self) -> str:
        title = f"Alignment of an image: {self.grade}, {GRADES[self.grade]}"
        rows = notebook.first_rows(self.matches) if len(self.matches) else ""
        return notebook.card(title, self.summary(), table=rows)


@dataclass(frozen=True, eq=False)
class FieldAlignment:
    """The alignment of a field: its images in the order in which they were given."""

    images: tuple[AlignResult, ...]

    def summary(self) -> dict[str, Any]:
        """Return the scalars of the field for the log, the report and the summary file."""
        successes = [image for image in self.images if image.aligned]
        best = min(successes, key=lambda image: image.grade, default=None)
        return {
            "grade": best.grade if best else max((i.grade for i in self.images), default="F"),
            "grades": "".join(image.grade for image in self.images),
            "n_images": len(self.images),
            "n_aligned": len(successes),
            "n_stars": max((image.n_field_matches for image in self.images), default=0),
            "odds": best.odds if best else None,
            "astrom_err_mas": best.astrom_err_mas if best else None,
            "release": best.release if best else "",
        }

    @notebook.safe_repr
    def _repr_html_(self) -> str:
        columns = ("grade", "reason", "n_matches", "n_tied", "astrom_err_mas")
        names = [(name, WORDS[name]) for name in columns]
        rows = [
            {word: notebook.in_words(getattr(image, name), unit) for name, (word, unit) in names}
            for image in self.images
        ]
        table = notebook.rows_table(rows)
        return notebook.card("Alignment of a field", self.summary(), table=table)
