"""Numbers that the pages written by hand state are those of the program."""

import re
from pathlib import Path

import numpy as np
import pytest

from bycatch.catalogs import sky_parts
from bycatch.kernels import distortion, star_hits
from bycatch.settings import PRESETS, Settings
from bycatch.settings.detect import LEAST_PX
from bycatch.sky.astrometry import CENTROID_FLOOR_PX
from bycatch.stages import exposure_light, psf
from bycatch.stages.align import GRADES, floors
from bycatch.stages.detect import centres, hits
from bycatch.stages.finalize import apcor, prior, starfit, totals
from bycatch.stages.measure import cosmics, flagging, transfer
from bycatch.stages.measure.photometry import CORE_PX
from bycatch.stages.objects import homogenised, listing
from bycatch.stages.psf import build, choice, fit, model, noise, table

DOCS = Path(__file__).resolve().parents[1] / "docs"
SETTINGS = Settings()
OTHER = starfit.OTHER_LIGHT
SCATTER, CURVE_ERROR = (
    float(prior.in_log_radius(np.array([0.1]), points)[0])
    for points in (prior.SCATTER, prior.CURVE_ERROR)
)

# A phrase of a page, in which {} stands for the value of a setting as the page writes it.
STATED = [
    ("objects.md", "one ellipse on the sky ({:g} Kron radii", 2.5 * listing.COLOUR_SHARE),
    ("objects.md", "differ in colour by more than {:g} sigma", homogenised.UNEVEN_SIGMA),
    ("objects.md", "the ellipse is of {:g} Kron radii", 2.5 * listing.BLENDED_SHARE),
    ("method.md", "a Sersic profile of index {:g} would have", totals.SERSIC_INDEX),
    ("method.md", "it counts as {:g} at least", totals.LEAST_REACH),
    ("method.md", "Profiles of index {:g} and {:g} differ", totals.SERSIC_SPREAD),
    ("method.md", "that has less than {:g}", flagging.SPIKE_FACTOR),
    ("method.md", "flagged below S/N {:g} only", flagging.SPIKE_POINT_SNR),
    ("method.md", "which at least {:.0f} % of the rows (10 or", 100 * sky_parts.NEBULOUS_SHARE),
    ("method.md", "which at least 15 % of the rows ({} or", sky_parts.LEAST_NEBULOUS),
    ("method.md", "images where {:.0f} % of the rows hide", 100 * sky_parts.MERGED_SHARE),
    ("method.md", "its `p_real` is {:g} times as high", sky_parts.REAL_SHARE),
    ("objects.md", "`p_real` is {:g} times as high", sky_parts.REAL_SHARE),
    ("method.md", "boxes of {0} x {0} px, as", SETTINGS.detect.box_px),
    ("method.md", "{:g}-sigma clipping, 3 x 3 median filter", SETTINGS.detect.clip_sigma),
    ("method.md", "3-sigma clipping, {0} x {0} median filter", SETTINGS.detect.filter_boxes),
    ("method.md", "{:g} x the noise of *unsmoothed* sky pixels", SETTINGS.detect.n_sigma),
    ("method.md", "a Gaussian of FWHM {:g} px on 3 x 3 px", SETTINGS.detect.kernel_fwhm_px),
    ("method.md", "a Gaussian of FWHM 2.5 px on {0} x {0} px", SETTINGS.detect.kernel_size_px),
    ("method.md", "at least {} connected pixels", SETTINGS.detect.n_pixels),
    ("method.md", "{} in an image of one exposure", SETTINGS.detect.n_pixels_single),
    ("method.md", "with {} px, 3 levels", SETTINGS.detect.deblend_n_pixels),
    ("method.md", "with 60 px, {} levels", SETTINGS.detect.deblend_n_levels),
    ("method.md", "keeps at least {} connected px", LEAST_PX),
    ("method.md", "contrast {:g}; the labels", SETTINGS.detect.deblend_contrast),
    ("method.md", "less than {:.0f} % of the box", 100 * SETTINGS.detect.min_coverage),
    ("method.md", "of the box of {0} x {0} px around it", SETTINGS.detect.coverage_box_px),
    ("method.md", "with a limit of {:g} sigma and a low", SETTINGS.crmask.sigclip),
    ("method.md", "contrast limit (`objlim` {:g})", SETTINGS.crmask.objlim),
    ("method.md", "below {:g} px of the detector", SETTINGS.crmask.max_track_fwhm_px),
    ("method.md", "a Gaussian of {:g} px: each pixel", SETTINGS.crmask.grow_sigma_px),
    ("method.md", "up to {:g} arcsec and 0.3 deg between", SETTINGS.align.max_shift_arcsec),
    ("method.md", "up to 3 arcsec and {:g} deg between", SETTINGS.align.max_roll_deg),
    ("method.md", "scale with {} or more stars", SETTINGS.align.min_stars_scale),
    ("method.md", "general linear map with {} or more", SETTINGS.align.min_stars_general),
    ("method.md", "accepted on its odds ({:.0e})", SETTINGS.align.max_chance),
    ("method.md", "good frame's ({:g} mas rms)", SETTINGS.align.max_rms_mas),
    (
        "method.md",
        "sizes of {:g} to {:g} mas, lengths",
        distortion.SIZES_MAS[:: len(distortion.SIZES_MAS) - 1],
    ),
    ("method.md", "give the centroid to {:g} detector px", centres.BRIGHT_PX),
    ("method.md", "get one of {:g} detector px", centres.WIDE_PX),
    ("method.md", "A pixel {:g} sigma above the profile", star_hits.HIT_SIGMA),
    ("method.md", "so is what is {:g} sigma above beside", star_hits.BESIDE_SIGMA),
    ("method.md", "charge of more than {:g} times its light", hits.MOST_CHARGE),
    ("method.md", "is {:g} detector px times the mean square", hits.ERROR_PX),
    ("method.md", "moved by more than {:g} detector px only", hits.FAR_PX),
    ("method.md", "than {:.0f} % of its light is not symmetric", 100 * hits.LEAST_ASYMMETRY),
    ("method.md", "agreement of the images counts as {:g} values", floors.PAIR_VALUES),
    ("method.md", "is measured with {:g} or more bright", floors.LEAST_STARS),
    ("method.md", "at least {:g} detector px over", floors.PHASE_PX),
    ("method.md", "such stars it is {:g} px", CENTROID_FLOOR_PX),
    ("method.md", "prior probability of a field is {:g}, that", distortion.LIKELY),
    ("method.md", "that of a step {:g}, and no", distortion.STEP),
    ("method.md", "Apertures** of {:g}, {:g}, {:g}, {:g} and {:g} px", SETTINGS.measure.radii_px),
    ("method.md", "mask more than {:g} detector px from a source", CORE_PX),
    ("method.md", "centres lie {:g} to 15 px away", SETTINGS.measure.annulus_inner_px),
    ("method.md", "centres lie 10 to {:g} px away", SETTINGS.measure.annulus_outer_px),
    ("method.md", "clipped at {:g} sigma until", SETTINGS.measure.sky_clip_sigma),
    ("method.md", "up to {:,} places without sources", SETTINGS.measure.n_blank),
    ("method.md", "fitted to the pixels within {:g} px", SETTINGS.measure.fwhm_radius_px),
    ("method.md", "mask lies within {:g} px.", SETTINGS.measure.cr_radius_px),
    ("method.md", "within {:g} mas of the star's position", SETTINGS.measure.gaia_radius_mas),
    ("method.md", "shows: {:g} % in all of them", 100 * prior.COMMON_SCATTER),
    ("method.md", "the usual one, of {:g} % at 0.1 arcsec", 100 * SCATTER),
    ("method.md", "as much as that of {:g} stars", starfit.SCATTER_STARS),
    ("method.md", "({:.0f}, {:.0f} or {:.0f} % of its own", tuple(100 * v for v in OTHER)),
    ("method.md", "is higher by {:g} in the logarithm", apcor.MIN_EVIDENCE),
    ("method.md", "{:g} % at 0.1 arcsec without stars to measure it", 100 * SCATTER),
    ("method.md", "an error of {:g} % at 0.1 arcsec and 1 %", 100 * CURVE_ERROR),
    ("method.md", "warning needs {:g} sigma", transfer.MIN_SIGMA),
    ("method.md", "4.5 sigma and {:g} %", transfer.MIN_LOSS_PERCENT),
    ("method.md", "to the power of {:g}, is a trail", transfer.EXPONENT),
    ("method.md", "also cosmic rays, of {:g} to 30,000 e", transfer.CHARGE_E[0]),
    ("method.md", "from {:g} to {:g} px above", (transfer.FIRST_PX, transfer.LAST_PX)),
    ("method.md", "Above {:g} a row is flagged", cosmics.LIKELY),
    ("howto.md", "rows with `p_cr` above {:g} and rows", cosmics.LIKELY),
    ("howto.md", "large enough for shapes ({} connected", SETTINGS.detect.n_pixels),
    ("howto.md", "inject {} sources per image", SETTINGS.inject.n_sources),
    ("accuracy_tables.md", "threshold ({} for `classic`", SETTINGS.detect.n_pixels),
    (
        "accuracy_tables.md",
        "for `classic`, {} in single exposures",
        SETTINGS.detect.n_pixels_single,
    ),
    ("accuracy_tables.md", "({} px, 9 px in single", PRESETS["deep"]["detect"]["n_pixels"]),
    ("accuracy_tables.md", "(7 px, {} px in single", PRESETS["deep"]["detect"]["n_pixels_single"]),
    (
        "accuracy_tables.md",
        "contrast {:g}) were chosen",
        PRESETS["deep"]["detect"]["deblend_contrast"],
    ),
    (
        "accuracy_tables.md",
        "deblends with {} levels",
        PRESETS["deep"]["detect"]["deblend_n_levels"],
    ),
    ("accuracy_tables.md", "lost, means p_cr > {:g}", cosmics.LIKELY),
    ("accuracy.md", "`classic` needs {} connected pixels", SETTINGS.detect.n_pixels),
    ("accuracy.md", "`deep` needs {}, in", PRESETS["deep"]["detect"]["n_pixels"]),
    ("accuracy.md", "in single exposures {}.", PRESETS["deep"]["detect"]["n_pixels_single"]),
    ("accuracy.md", "leaves out rows with p_cr > {:g}.", cosmics.LIKELY),
    ("tutorial.md", "leaves out rows with `p_cr` above {:g}", cosmics.LIKELY),
    ("tutorial.md", "default of {} sources per image", SETTINGS.inject.n_sources),
    ("tutorial.md", "(below {:g} sigma in the smallest", SETTINGS.finalize.clean_min_snr),
    ("howto.md", "rows below {:g} sigma are gone", SETTINGS.finalize.clean_min_snr),
    ("method.md", "So are rows below {:g} sigma in the", SETTINGS.finalize.clean_min_snr),
    ("method.md", "the PSF flux must have {:g} sigma", SETTINGS.psf.n_sigma),
    ("psf.md", "Where chi-square exceeds {:g} something", table.USUAL_CHI2),
    ("psf.md", "whose PSF flux is below {:g} sigma", SETTINGS.psf.n_sigma),
    ("glossary.md", "`p_cr` above {:g}. Flag", cosmics.LIKELY),
    ("glossary.md", "`p_real` of {:g} or more", SETTINGS.objects.min_p_real),
    ("psf.md", "up to {} of them from all parts", choice.MOST_STARS),
    ("psf.md", "deviations of {:.0f} % in the core", 100 * build.CORE_DEVIATION),
    ("psf.md", "15 % in the core and {:.0f} % in the wings", 100 * build.WING_DEVIATION),
    ("psf.md", "with {} stars and more a linear change", build.LINEAR_STARS),
    ("psf.md", "with fewer than {} the PSF counts as published", model.FEW_STARS),
    ("psf.md", "Pixels within {:g} native ones of a star", fit.FIT_RADIUS_PX),
    ("psf.md", "{:.0f} to {:.0f} % of the light", tuple(100 * s for s in model.ERROR_SHARES)),
    ("psf.md", "A pixel {:g} sigma off loses weight", fit.CLIP_SIGMA),
    ("psf.md", "clipped boxes of {} native pixels", noise.BOX_PX),
    ("psf.md", "separations (below {:g} FWHM)", psf.SAME_FWHM),
    ("../README.md", "large enough for shapes ({} connected pixels)", SETTINGS.detect.n_pixels),
    ("../README.md", "no likely cosmic rays (p_cr <= {:g})", cosmics.LIKELY),
    ("objects.md", "An aperture of {:g} detector pixels", exposure_light.APERTURE_PX),
    ("objects.md", "clipped median of {:g} to {:g} px", exposure_light.SKY_PX),
    ("objects.md", "with {:g} % for the phase", 100 * exposure_light.STEADY),
    ("objects.md", "above S/N {:g}; they include", exposure_light.CENTROID_SNR),
    ("objects.md", "an exposure has less than {:g} of the light", exposure_light.LEAST_SHARE),
]


def words(page):
    """A page without its line breaks."""
    return " ".join((DOCS / page).read_text(encoding="utf-8").split())


@pytest.mark.parametrize(("page", "phrase", "value"), STATED, ids=[row[1] for row in STATED])
def test_pages_state_the_defaults(page, phrase, value):
    text = phrase.format(*value) if isinstance(value, tuple) else phrase.format(value)
    assert text.replace("1e-04", "1e-4") in words(page)


def test_grades_are_explained_on_one_page():
    """Others refer to it: it is made from the registry."""
    result_of = {
        page.name: dict(
            re.findall(r"^\| ([A-F]) \| (.+?) \|$", page.read_text("utf-8"), re.MULTILINE)
        )
        for page in DOCS.glob("*.md")
    }
    assert {name: rows for name, rows in result_of.items() if rows} == {"products.md": GRADES}
