"""The input of the alignment for one image."""

from __future__ import annotations

from bycatch import photcal
from bycatch.images.headers import read_headers
from bycatch.images.meta import image_meta
from bycatch.images.wcs import celestial_wcs
from bycatch.pipeline.workbench import Workbench
from bycatch.products import input_settings
from bycatch.stages.align import FieldImage
from bycatch.stages.star_rows import with_places


def field_image(bench: Workbench) -> FieldImage:
    """Return what the alignment needs of an image, without reading its pixels.

    But for PSF photometry: stars have the places of their fits.
    """
    record = bench.record
    headers = read_headers(record.image_file(bench.job.out))
    meta = image_meta(headers, input_settings(bench.job.settings, record))
    sources = bench.sources.copy(copy_data=False)
    if bench.job.settings.psf.enabled:
        sources = with_places(sources, bench.star_fits)
    sources["on_cr_mask"] = bench.cr_share
    ny, nx = headers.shapes["SCI"][-2:]
    sky = celestial_wcs(headers)
    return FieldImage(
        name=record.place,
        filter=meta.filter,
        sources=sources,
        wcs=sky.wcs,
        doubt="; ".join(sky.doubts),
        wcsname=meta.wcsname,
        shape=(ny, nx),
        mjd=meta.mjd_mid,
        # As the pixels had it, where the headers disagree.
        exptime_s=float(bench.sources.meta.get("EXPTIME", meta.exptime_s)),
        zeropoint_ab=photcal.ab_zeropoint(meta.photflam, meta.photplam),
        saturation_rate=meta.saturation_rate,
        epoch_spread_yr=meta.epoch_spread_yr,
        n_removed=record.stages["detect"].summary.get("n_removed", 0),
    )
