"""What lies on disk: names of products, atomic writing, and the record of each image."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from dataclasses import field as member
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.errors import UnreadableFile
from bycatch.images.files import FITS_SUFFIX, opened, root_of
from bycatch.settings import InputSettings, Settings, build, read_toml

STAGES = ("detect", "crmask", "align", "measure", "finalize")
PARTIAL = ".part-"
SUMMARY = "summary.json"
SETTINGS_FILE = "settings.toml"


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; it becomes ``path`` on success, else it goes.

    Nobody ever sees a half-written product, whatever interrupts the writing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; NaN becomes null."""
    with atomic(path) as partial:
        text = json.dumps(json_ready(content), indent=1, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def last_summary(out: Path) -> dict[str, Any]:
    """Return what the last run into a folder said of itself; nothing if it left no summary."""
    try:
        content = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def saved_settings(out: Path) -> Settings:
    """Return the settings of the last run into a folder; the defaults if there are none."""
    path = out / SETTINGS_FILE
    return Settings.load(config=path) if path.exists() else Settings()


def saved_values(out: Path) -> dict[str, dict[str, Any]]:
    """Return the same as plain values, for other settings to be laid over."""
    path = out / SETTINGS_FILE
    return read_toml(path) if path.exists() else {}


def json_ready(value: Any) -> Any:
    """Return plain Python values, with None for numbers that are not finite."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, dict):
        return {str(k): json_ready(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(v) for v in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return str(value) if isinstance(value, Path) else value


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file's content, as 'sha256:...'."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def read_pixels(path: Path) -> NDArray[Any]:
    """Return the pixels of a product, the first image of a FITS file.

    Raises
    ------
    UnreadableFile
        Missing, damaged, or without an image.
    """
    with opened(path) as hdus:
        data = next((hdu.data for hdu in hdus if hdu.data is not None), None)
        if data is not None:
            return np.asarray(data, dtype=data.dtype.newbyteorder("="))
    raise UnreadableFile(f"{path}: no image in it", hint="remove it and run the step again")


def combined(*parts: Any) -> str:
    """Return a short hash of several values."""
    text = json.dumps([json_ready(p) for p in parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ImagePaths:
    """Where the products of one image lie: ``OUT/<field>/<filter>/``."""

    folder: Path
    stem: str

    @property
    def root(self) -> str:
        """The stem without _drc."""
        return root_of(self.stem)

    def product(self, kind: str, suffix: str = ".ecsv") -> Path:
        """Return ``<root>_<kind><suffix>``."""
        return self.folder / f"{self.root}_{kind}{suffix}"

    @property
    def mask(self) -> Path:
        """The cosmic-ray mask."""
        return self.folder / f"{self.stem}.mask.fits"

    @property
    def segmentation(self) -> Path:
        """The segmentation image."""
        return self.product("segm", ".fits.gz")

    @property
    def wcs(self) -> Path:
        """The aligned WCS."""
        return self.product("wcs", ".fits")

    @property
    def cr_share(self) -> Path:
        """The share of each source on the cosmic-ray mask, for the alignment."""
        return self.product("crshare")

    @property
    def coverage(self) -> Path:
        """Where the image has data, block by block, for the other images of its field."""
        return self.product("coverage", ".fits")

    @property
    def depth(self) -> Path:
        """How deep the image is, block by block."""
        return self.product("depth", ".fits")

    @property
    def aligned_image(self) -> Path:
        """The copy of the drizzled image that has the aligned WCS."""
        kind = self.stem.removeprefix(self.root)
        return self.folder / f"{self.root}_aligned{kind}.fits"

    @property
    def record(self) -> Path:
        """What is known of the image and its products."""
        return self.product("state", ".json")


@dataclass
class StageRecord:
    """A finished step: the key that tells whether it is stale, and what it gave."""

    key: str
    outputs: list[str]
    seconds: float
    summary: dict[str, Any] = member(default_factory=dict)
    settings: dict[str, Any] = member(default_factory=dict)
    """What it was done with: later steps write this down, not what holds by then."""
    peak_mb: float | None = None
    """The most memory that the process had meanwhile, where the system tells."""


@dataclass
class ImageRecord:
    """The state of one image, kept beside its products."""

    stem: str
    name: str
    field: str
    filter: str
    source: str
    wht_source: str = ""
    ctx_source: str = ""
    checksum: str = ""
    fingerprint: str = ""
    verified: str = ""
    """The checksum of the content that was found to be whole."""
    input: dict[str, Any] = member(default_factory=dict)
    """The user's statements about this file, from its sidecar."""
    exposures: list[str] = member(default_factory=list)
    """What was drizzled together, as far as the file says."""
    notes: list[str] = member(default_factory=list)
    stages: dict[str, StageRecord] = member(default_factory=dict)

    @property
    def root(self) -> str:
        """The stem without _drc."""
        return root_of(self.stem)

    @property
    def label(self) -> str:
        """How messages name the image."""
        return f"{self.field}/{self.filter} {self.root}"

    @property
    def wht_name(self) -> str:
        """File name of the weight in its place; '' if it is not apart from the image."""
        return self._name_apart("wht", self.wht_source)

    @property
    def ctx_name(self) -> str:
        """File name of the context image in its place, likewise."""
        return self._name_apart("ctx", self.ctx_source)

    def _name_apart(self, kind: str, source: str) -> str:
        stem = self.stem.removesuffix("_sci") if self.stem.endswith("_sci") else self.root
        suffix = FITS_SUFFIX.search(source)
        return f"{stem}_{kind}{suffix[0] if suffix else '.fits'}" if source else ""

    @property
    def names(self) -> list[str]:
        """File names in their place: the image, and its weight and context if they are apart."""
        return [name for name in (self.name, self.wht_name, self.ctx_name) if name]

    def apart(self, folder: Path) -> tuple[Path | None, Path | None]:
        """Return where weight and context lie, as `read_drc` takes them; None: in the image."""
        wht, ctx = self.wht_name, self.ctx_name
        return folder / wht if wht else None, folder / ctx if ctx else None

    def paths(self, out: Path) -> ImagePaths:
        """Return where its products lie."""
        return ImagePaths(out / self.field / self.filter, self.stem)

    def write(self, out: Path) -> None:
        """Write the record beside the products."""
        write_json(self.paths(out).record, asdict(self))


def read_record(path: Path) -> ImageRecord:
    """Read the record of an image.

    Raises
    ------
    UnreadableFile
        It is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stages = {name: StageRecord(**rec) for name, rec in content.pop("stages").items()}
        return ImageRecord(**content, stages=stages)
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise UnreadableFile(
            f"{path}: not a readable record ({err})", hint="remove it and run again"
        ) from err


def find_records(out: Path) -> list[ImageRecord]:
    """Return the readable records of the images below an output folder, sorted by place."""
    return _records(out)[0]


def damaged_records(out: Path) -> dict[Path, str]:
    """Return the records that can't be read, and why: they cost their images only."""
    return _records(out)[1]


def _records(out: Path) -> tuple[list[ImageRecord], dict[Path, str]]:
    records, damaged = [], {}
    for path in sorted(out.glob("*/*/*_state.json")):
        try:
            records.append(read_record(path))
        except UnreadableFile as err:
            damaged[path] = str(err)
    return records, damaged


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed run left half-written."""
    for path in folder.glob(f"{PARTIAL}*"):
        path.unlink(missing_ok=True)


def input_settings(settings: Settings, record: ImageRecord) -> InputSettings:
    """Return what the user states about an image, its sidecar included."""
    values = {**settings.input.model_dump(), **record.input}
    if record.verified and record.verified == record.checksum:
        values["verify"] = False  # once for each content
    return build(InputSettings, values, where=record.source)
