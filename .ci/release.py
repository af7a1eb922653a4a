"""Try a release without publishing it: build, check, install from a local index, run a demo.

    python .ci/release.py [--keep FOLDER]

1. ``python -m build`` makes the source archive and, from it, the wheel.
2. ``twine check --strict`` checks both, and the wheel's version is that of the source tree.
3. A local index (PEP 503) serves both; all other packages come from pip's usual index.
4. Wheel and source archive are installed into bare environments of their own, and must install the
   same files; ``bycatch --version`` runs in both, and a demo with a small simulated visit and its
   page in the wheel's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DIST = REPOSITORY / "dist"
SMALL = [
    word
    for setting in ("filters=['F775W']", "n_exposures=[2]", "n_columns=400", "n_rows=220")
    for word in ("--set", f"simulate.{setting}")
]


def run(*words: object, cwd: Path = REPOSITORY) -> str:
    """Run a command, show it, and return what it prints; end where it fails."""
    print("$", *words, flush=True)
    # What is checked is what was installed, not the tree beside it.
    variables = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=variables | {"BYCATCH_CACHE": "off"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{done.stdout}\n{words[0]} ended with {done.returncode}")
    return done.stdout


def build(version: str) -> tuple[Path, Path]:
    """Build and check the archives; return source archive and wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", DIST)
    sdist, wheel = DIST / f"bycatch-{version}.tar.gz", DIST / f"bycatch-{version}-py3-none-any.whl"
    missing = [path.name for path in (sdist, wheel) if not path.exists()]
    if missing:
        sys.exit(f"{', '.join(missing)} not built: there is {[p.name for p in DIST.iterdir()]}")
    print(run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel))
    return sdist, wheel


def index(folder: Path, *archives: Path) -> str:
    """Make a local index of the archives and return its address."""
    place = folder / "simple" / "bycatch"
    place.mkdir(parents=True)
    for archive in archives:
        shutil.copy(archive, place)
    links = "".join(f'<a href="{a.name}">{a.name}</a>\n' for a in archives)
    (place / "index.html").write_text(f"<!DOCTYPE html>\n<html><body>\n{links}</body></html>\n")
    return (folder / "simple").as_uri()


def installed(folder: Path, address: str, version: str, *options: str) -> Path:
    """Install bycatch from the index into a bare environment; return the environment's programs."""
    venv.create(folder, with_pip=True)
    programs = folder / "bin"
    run(
        programs / "python", "-m", "pip", "install", "--quiet", "--extra-index-url", address,
        *options, f"bycatch[report,simulate]=={version}", cwd=folder,
    )  # fmt: skip
    run(programs / "python", "-m", "pip", "check", cwd=folder)
    said = run(programs / "bycatch", "--version", cwd=folder).split()
    if said != ["bycatch", version]:
        sys.exit(f"bycatch --version says {said}")
    return programs


def files(programs: Path) -> set[str]:
    """Return the files of the installed package."""
    code = (
        "from importlib.metadata import files\n"
        "print(*(f for f in files('bycatch') if f.parts[0] == 'bycatch'"
        " and '__pycache__' not in f.parts), sep='\\n')"
    )
    return set(run(programs / "python", "-c", code, cwd=programs).splitlines())


def demo(programs: Path, folder: Path) -> None:
    """Simulate a small visit and take it through the chain; the page must be there."""
    bycatch = programs / "bycatch"
    run(bycatch, "simulate", "visit", *SMALL, cwd=folder)
    print(run(bycatch, "run", "visit/raw", "-o", "out", "--gaia", "visit/gaia.ecsv", cwd=folder))
    for name in ("report.html", "summary.json"):
        if not (folder / "out" / name).exists():
            sys.exit(f"the demo wrote no {name}")


def main() -> None:
    """Build, check, install, run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--keep", type=Path, help="folder to work in, which stays")
    given = parser.parse_args()
    code = "import runpy; print(runpy.run_path('src/bycatch/version.py')['__version__'])"
    version = run(sys.executable, "-c", code).strip()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.keep or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        sdist, wheel = build(version)
        address = index(folder, sdist, wheel)
        of_wheel = installed(folder / "wheel", address, version, "--only-binary", "bycatch")
        of_sdist = installed(folder / "sdist", address, version, "--no-binary", "bycatch")
        if differ := files(of_wheel) ^ files(of_sdist):
            sys.exit(f"wheel and source archive install other files: {sorted(differ)}")
        demo(of_wheel, folder)
    print(f"bycatch {version} can be released: {sdist.name}, {wheel.name}")


if __name__ == "__main__":
    main()
