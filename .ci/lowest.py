"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

Development tools are left out: only what users install has a lowest version worth testing.
"""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
for need in (
    *project["dependencies"],
    *(n for e in ("simulate", "parquet", "figures", "report", "dask") for n in extras[e]),
):
    if found := re.fullmatch(r"([\w-]+)>=([\d.]+)", need):
        print(f"{found[1]}=={found[2]}")
