"""What lies on disk: names of products, and the records of what was made."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection
from dataclasses import asdict, dataclass
from dataclasses import field as member
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from bycatch.errors import UnreadableFile
from bycatch.images.files import FITS_SUFFIX, opened, root_of
from bycatch.settings import InputSettings, Settings, build, read_toml
from bycatch.system.disk import Proof, atomic, is_whole, proof_of

STAGES = ("detect", "crmask", "align", "measure", "finalize")
SUMMARY = "summary.json"
SETTINGS_FILE = "settings.toml"
FOLDER_FILE = "products.json"


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, unless the file says the same already; NaN becomes null."""
    text = json.dumps(json_ready(content), indent=1, allow_nan=False) + "\n"
    if not path.is_symlink() and _text_of(path) == text:
        return
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _text_of(path: Path) -> str:
    """Return the text of a file; '' where there is none."""
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _json_of(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds; nothing where it holds no object."""
    try:
        content = json.loads(_text_of(path))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def last_summary(out: Path) -> dict[str, Any]:
    """Return what the last run into a folder said of itself; nothing if it left no summary.

    What is not as a run writes it is left out.
    """
    content = _json_of(out / SUMMARY)
    parts: tuple[tuple[str, Any], ...] = (
        ("images", list[_EndedImage]),
        ("skipped", list[_EndedFile]),
        ("inputs", dict[str, str]),
        ("references", dict[str, str]),
        ("fields", dict[str, dict[str, Any]]),
    )
    for name, kind in parts:
        try:
            _schema(kind).validate_python(content.get(name))
        except ValueError:
            content.pop(name, None)
    return content


@dataclass
class _EndedImage:
    field: str
    filter: str
    root: str


@dataclass
class _EndedFile:
    path: str
    reason: str


def saved_settings(out: Path) -> Settings:
    """Return the settings of the last run into a folder; the defaults if there are none."""
    path = out / SETTINGS_FILE
    return Settings.load(config=path) if path.is_file() else Settings()


def saved_values(out: Path) -> dict[str, dict[str, Any]]:
    """Return the same as plain values, for other settings to be laid over."""
    path = out / SETTINGS_FILE
    return read_toml(path) if path.is_file() else {}


@dataclass
class FolderProduct:
    """A product that is no image's own: what it was made for, and the proof that it is whole."""

    key: str
    proof: Proof


def own_folder(path: Path) -> Path:
    """Return a folder of ours in an output folder, which no link leads elsewhere.

    Raises
    ------
    UnreadableFile
        It is a link.
    """
    if path.is_symlink():
        raise UnreadableFile(
            f"{path} is a link, and nothing is written through links",
            hint="remove it, or choose another output folder",
        )
    return path


def remember_product(path: Path, key: str = "") -> None:
    """Take note, beside it, of a product that was made for a field or for the whole folder."""
    known = folder_products(path.parent)
    known[path.name] = FolderProduct(key, proof_of(path))
    write_json(path.with_name(FOLDER_FILE), {k: asdict(v) for k, v in sorted(known.items())})


def forget_products(folder: Path, but: Collection[str] = ()) -> None:
    """Strike products from the notes of a folder, all but some."""
    path = folder / FOLDER_FILE
    kept = {k: asdict(v) for k, v in folder_products(folder).items() if k in but}
    if kept:
        write_json(path, kept)
    else:
        path.unlink(missing_ok=True)


def known_product(path: Path) -> FolderProduct | None:
    """Return what was noted of a product; None if nothing was."""
    return folder_products(path.parent).get(path.name)


def is_product_current(path: Path, key: str = "") -> bool:
    """Tell whether a product is there, whole, and made for a key."""
    known = known_product(path)
    return known is not None and known.key == key and is_whole(path, known.proof)


def folder_products(folder: Path) -> dict[str, FolderProduct]:
    """Return what was noted of a folder's products, by name."""
    try:
        found = _schema(dict[str, FolderProduct]).validate_python(_json_of(folder / FOLDER_FILE))
    except ValueError:
        return {}
    return dict(found)


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
    outputs: dict[str, Proof | None]
    """What it made, by name; None for the products of an earlier version, which kept no proof."""
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
        """Write the record beside the products, unless it is there."""
        write_json(self.paths(out).record, asdict(self))

    def add_output(self, out: Path, stage: str, path: Path) -> None:
        """Enter one more product of a finished step."""
        self.stages[stage].outputs[path.name] = proof_of(path)
        self.write(out)

    def has_whole(self, path: Path) -> bool:
        """Tell whether a product is there and, as far as is known, what a step made."""
        for stage in self.stages.values():
            proof = stage.outputs.get(path.name)
            if proof is not None:
                return is_whole(path, proof)
        return path.is_file()


def read_record(path: Path) -> ImageRecord:
    """Read the record of an image.

    Raises
    ------
    UnreadableFile
        It is damaged, or that of another image or place.
    """
    try:
        if not path.is_file():
            raise ValueError("not a file")
        content = json.loads(path.read_text(encoding="utf-8"))
        for stage in content["stages"].values():
            if isinstance(stage["outputs"], list):  # of an earlier version
                stage["outputs"] = dict.fromkeys(stage["outputs"])
        record: ImageRecord = _schema(ImageRecord).validate_python(content)
        _check_place(record, path)
    except UnreadableFile:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as err:
        reason = " ".join(str(err).split("\n")[:3])
        raise UnreadableFile(
            f"{path}: not a readable record ({reason})", hint="remove it and run again"
        ) from err
    return record


@cache
def _schema(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _check_place(record: ImageRecord, path: Path) -> None:
    """Refuse a record that would have us read, write or remove anything elsewhere."""
    out = path.parents[2]
    if record.paths(out).record != path:
        raise ValueError("it is that of another image")
    for folder in path.parents[:2]:
        own_folder(folder)
    outputs = [name for stage in record.stages.values() for name in stage.outputs]
    for name in (record.name, *outputs):
        if not is_plain_name(name):
            raise ValueError(f"{name!r} is no file beside it")


def is_plain_name(name: str) -> bool:
    """Tell whether a name is that of a file in a folder, and leads nowhere else."""
    return name not in {"", ".", ".."} and not {"/", os.sep, "\0"} & set(name)


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


def input_settings(settings: Settings, record: ImageRecord) -> InputSettings:
    """Return what the user states about an image, its sidecar included."""
    values = {**settings.input.model_dump(), **record.input}
    if record.verified and record.verified == record.checksum:
        values["verify"] = False  # once for each content
    return build(InputSettings, values, where=record.source)
