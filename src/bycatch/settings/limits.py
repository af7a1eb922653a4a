"""Limits of settings: beyond them a number is a typing error.

The work would not end, or not fit into memory.
"""

MOST_BOX_PX = 10_000
"""Side of a box: more than a mosaic of two ACS fields."""
MOST_AREA_PX = 10_000_000
"""Pixels of a source: half of a full frame."""
MOST_KERNEL_PX = 99
"""Width of a PSF or of a kernel, some 40 times that of ACS."""
MOST_RADIUS_PX = 500
"""Radius of an aperture or annulus: 25 arcsec. The time goes with its square, times all sources."""
MOST_SIGMA = 1000
LEAST_CLIP_SIGMA = 1.5
"""A narrower clipping leaves no pixel for a level."""
MOST_MAS = 10_000
"""Errors, motions and matching radii: the fastest star moves 10 arcsec in a year."""
MOST_MAG = 50
MOST_STARS = 100_000
MOST_S = 1e8
"""An exposure of three years."""
MOST_EXPOSURES = 10_000
MOST_MJD = 100_000
"""The year 2132."""
MOST_ANGSTROM = 100_000
MOST_WAIT_S = 86_400
"""A service that has not answered within a day will not."""
MOST_PER_ARCMIN2 = 100_000
"""A star for every 4 x 4 pixels of 0.05 arcsec."""
MOST_DITHER_PX = 2000
"""Half of a detector: images with no area in common are no dither."""
MOST_SEED = 2**63 - 1
MOST_LETTERS = 4096
"""The longest path of a file system."""
MOST_TOML_BYTES = 1_000_000
"""A file of all settings, with comments, has 20,000."""
