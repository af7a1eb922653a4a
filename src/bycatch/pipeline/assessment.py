"""Comparison of the catalogs of a simulated visit with its truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from bycatch.catalogs.tables import read_table
from bycatch.errors import SettingsError
from bycatch.pipeline import saved_settings
from bycatch.products import find_records, read_image
from bycatch.settings import Settings
from bycatch.simulate.comparison import TruthComparison, compare
from bycatch.simulate.files import read_truth
from bycatch.stages.detect import sky_maps
from bycatch.system.each import of_each


@dataclass(frozen=True, eq=False)
class Assessment:
    """One image against its truth."""

    root: str
    filter: str
    n_exposures: int
    catalog: Path
    comparison: TruthComparison

    def row(self) -> dict[str, str]:
        """Return the numbers as text, for a table."""
        s = self.comparison.summary()
        bias = s.get("flux_bias_4", np.nan)
        return {
            "filter": self.filter,
            "n_exp": str(self.n_exposures),
            "found": _share(s["n_found"], s["n_detectable"]),
            "real": _share(s["n_deep_real"], s["n_deep_rows"]),
            "stars": str(s["n_good_stars"]),
            "flux bias": f"{100 * bias:+.2f} %" if np.isfinite(bias) else "-",
            "position": f"{s['position_rms_mas']:.1f} mas",
            "CRs": _share(s["n_cosmic_rays_flagged"], s["n_cosmic_rays"]),
            "false CRs": _share(s["n_single_stars_flagged"], s["n_single_stars"]),
        }


def assess_visit(out: str | Path, truth: str | Path) -> list[Assessment]:
    """Compare every image below ``out`` with the simulated visit in ``truth``.

    Raises
    ------
    SettingsError
        One of the folders holds no such thing.
    """
    out, truth = Path(out), Path(truth)
    run_settings = saved_settings(out)
    records = list(find_records(out))
    if not records:
        hint = "run 'bycatch run' first"
        if _has_truth(out) or _has_truth(out.parent):
            hint = "give the output folder of a run first, then that of the simulation"
        raise SettingsError(f"{out}: not the output folder of a run", hint=hint)
    if not _has_truth(truth):
        hint = "give the folder that 'bycatch simulate' made"
        if near := next((p for p in (truth.parent, out, out.parent) if _has_truth(p)), None):
            hint = f"{near} has one: bycatch assess OUT {near}"
        raise SettingsError(f"{truth}: no simulated visit with its truth", hint=hint)
    return list(
        of_each(
            records, lambda r: _assess(r, out, truth, run_settings), lambda record: record.label
        )
    )


def _has_truth(folder: Path) -> bool:
    return (folder / "truth").is_dir()


def _assess(record: Any, out: Path, truth: Path, settings: Settings) -> Assessment:
    paths = record.paths(out)
    image = read_image(record, out, settings)
    catalog = read_table(paths.product("cat"))
    detect = settings.detect.at(image.detector_px)
    comparison = compare(
        catalog,
        tuple(f"{r:g}" for r in settings.measure.radii_px),
        image.meta.photflam,
        read_truth(truth, record.root),
        np.asarray(fits.getdata(paths.segmentation)),
        sky_maps(image, detect)[1],
        image.valid,
        detect,
        image.meta.n_exposures,
    )
    return Assessment(
        record.root, record.filter, image.meta.n_exposures, paths.product("cat"), comparison
    )


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole}" if whole else "-"
