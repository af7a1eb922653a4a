"""What tests and benchmarks share: small images with known stars, slow twins, and comparisons.

`scene` makes images and tables of stars without the simulator, `reference_detect` detects by calls
of photutils, and `same_products` compares output folders.  The rest of the package needs
none of it.
"""
