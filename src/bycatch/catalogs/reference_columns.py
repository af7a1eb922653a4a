"""The columns of the reference stars (`columns.py`)."""

from __future__ import annotations

from bycatch.catalogs.columns import Column

REFERENCE: tuple[Column, ...] = (
    Column("source_id", "i8", "", "meta.id;meta.main", "Gaia source identifier"),
    Column("ra", "f8", "deg", "pos.eq.ra;meta.main", "right ascension (ICRS) at ref_epoch"),
    Column("dec", "f8", "deg", "pos.eq.dec;meta.main", "declination (ICRS) at ref_epoch"),
    Column("ra_error", "f8", "mas", "stat.error;pos.eq.ra", "error of ra, times cos(dec)"),
    Column("dec_error", "f8", "mas", "stat.error;pos.eq.dec", "error of dec"),
    Column("pmra", "f8", "mas / yr", "pos.pm;pos.eq.ra", "proper motion in ra, times cos(dec)"),
    Column("pmdec", "f8", "mas / yr", "pos.pm;pos.eq.dec", "proper motion in dec"),
    Column("pmra_error", "f8", "mas / yr", "stat.error;pos.pm;pos.eq.ra", "error of pmra"),
    Column("pmdec_error", "f8", "mas / yr", "stat.error;pos.pm;pos.eq.dec", "error of pmdec"),
    Column("parallax", "f8", "mas", "pos.parallax.trig", "parallax"),
    Column(
        "parallax_error", "f8", "mas", "stat.error;pos.parallax.trig", "error of the parallax"
    ),
    Column("ref_epoch", "f8", "yr", "time.epoch", "epoch of ra and dec (Julian year)"),
    Column("phot_g_mean_mag", "f8", "mag", "phot.mag;em.opt", "mean G magnitude (Vega)"),
    Column("ruwe", "f8", "", "stat.error", "renormalised unit weight error of the astrometry"),
    Column(
        "duplicated_source", "f8", "", "meta.code.status",
        "1: Gaia lists it twice; its data may be corrupted",
    ),
)  # fmt: skip
"""Reference stars, by the names of the Gaia archive; what is missing is NaN."""
