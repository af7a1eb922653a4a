"""Settings of what a run writes, of objects, and of the archive."""

from __future__ import annotations

from typing import Literal

from bycatch.settings.detect import DetectSettings
from bycatch.settings.limits import MOST_LETTERS, MOST_S, MOST_WAIT_S
from bycatch.settings.presets import PRESETS
from bycatch.settings.section import Section, setting


class OutputSettings(Section):
    """What is written, besides ECSV."""

    formats: tuple[Literal["ecsv", "fits", "csv", "parquet", "votable"], ...] = setting(
        ("ecsv",), "formats of the final catalogs", max_length=5
    )
    write_wcs: bool = setting(
        False, "write copies of the drc files with the aligned WCS (<root>_aligned_drc.fits)"
    )
    products: Literal["all", "survey"] = setting(
        "all",
        "products kept for each image: all, or what a large survey needs (catalog as Parquet, "
        "mask, segmentation, WCS)",
    )
    report: bool = setting(True, "write report.html at the end of a run or of a single step")

    @property
    def is_survey(self) -> bool:
        """True if nothing is kept between the steps."""
        return self.products == "survey"


class ObjectsSettings(Section):
    """The table of objects: all images of overlapping fields together."""

    enabled: bool = setting(True, "make the tables of objects at the end of a run")
    detection: Literal["deep", "run"] = setting(
        "deep",
        "detections that make the list: those of the preset deep, as agreement between images "
        "cleans the list (images are searched again if the run used other settings), or those of "
        "the run",
    )
    combined: bool = setting(
        True, "search the combined image of a group for sources that no single image shows"
    )
    tile_deg: float = setting(
        0.25, "larger groups are divided into tiles of this size", "deg", ge=0.06, le=10
    )
    margin_arcsec: float = setting(
        20.0, "images contribute to a tile if they come this close to it", "arcsec", ge=0, le=600
    )
    min_p_real: float = setting(0.5, "minimum p_real in the clean table", ge=0, le=1)

    def detect(self, run: DetectSettings) -> DetectSettings:
        """Return the settings of the search, for those of the run."""
        return run if self.detection == "run" else run.replace(**PRESETS["deep"]["detect"])


class FetchSettings(Section):
    """Images from the archive."""

    server: str = setting(
        "https://mast.stsci.edu", "address of the archive", max_length=MOST_LETTERS
    )
    bucket: str = setting(
        "https://stpubdata.s3.us-east-1.amazonaws.com",
        "address of the archive's public bucket, for --cloud",
        max_length=MOST_LETTERS,
    )
    downloads: int = setting(4, "number of files fetched at a time", ge=1, le=16)
    retries: int = setting(6, "retries of a file or query that brought nothing new", ge=0, le=100)
    retry_wait_s: float = setting(
        2.0, "wait before the first retry; doubled for each further one", "s", ge=0, le=3600
    )
    most_wait_s: float = setting(
        300.0,
        "maximum wait; a file for which the server demands more is given up",
        "s",
        ge=0,
        le=MOST_WAIT_S,
    )
    ahead_gb: float = setting(
        20.0,
        "number of images that may wait for the run of fetch --and-run --discard; downloads pause "
        "beyond that",
        "GB",
        ge=0,
        le=MOST_S,
    )
    timeout_s: float = setting(
        60.0, "timeout of a connection that sends nothing, or less than 1 kB", "s", gt=0, le=3600
    )
