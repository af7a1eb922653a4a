"""What is known of an image and of the steps that were done on it."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as member
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bycatch.images.files import FITS_SUFFIX, root_of
from bycatch.products.paths import ImagePaths
from bycatch.settings import InputSettings, Settings, build
from bycatch.system.disk import Proof, is_whole, proof_of

if TYPE_CHECKING:
    from bycatch.images.drc import DrcImage


@dataclass
class StageRecord:
    """A finished step: the key that shows whether it is stale, and its results."""

    key: str
    outputs: dict[str, Proof | None]
    """What it made, by name; None for the products of an earlier version, which kept no proof."""
    seconds: float
    summary: dict[str, Any] = member(default_factory=dict)
    settings: dict[str, Any] = member(default_factory=dict)
    """What it was done with: later steps write this down, not what holds by then."""
    peak_mb: float | None = None
    """The most memory that the process had meanwhile, where the system says."""


@dataclass
class ImageOutcome:
    """What became of an image in the last run that worked on it.

    Attributes
    ----------
    outcome : done, dropped, failed or lost; '' before any run
    reason, traceback : why not done
    done, kept : steps that were done, and those whose products were up to date
    seconds : time of that run for the image
    """

    outcome: str = ""
    reason: str = ""
    traceback: str = ""
    done: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass
class FolderProduct:
    """A product that is no image's own: what it was made for, and the proof that it is whole."""

    key: str
    proof: Proof


@dataclass
class ImageRecord:
    """The state of one image."""

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
    facts: dict[str, Any] = member(default_factory=dict)
    """What sorting needs of the headers, so that an unchanged file is not opened again."""
    facts_key: str = ""
    """Stands for the file and the settings that the facts were read with."""
    notes: list[str] = member(default_factory=list)
    """Of its file and its detections."""
    remark: str = ""
    """Of its place: a file of the same name, or of the same exposures."""
    stages: dict[str, StageRecord] = member(default_factory=dict)
    last: ImageOutcome = member(default_factory=ImageOutcome)

    @property
    def root(self) -> str:
        """The stem without _drc."""
        return root_of(self.stem)

    @property
    def place(self) -> str:
        """What distinguishes it from the other images of its field: ``<filter>/<root>``."""
        return f"{self.filter}/{self.root}"

    @property
    def full_place(self) -> str:
        """``<field>/<filter>/<root>``: its place in OUT, and its name in the tables of objects."""
        return f"{self.field}/{self.place}"

    @property
    def label(self) -> str:
        """How messages name the image."""
        return f"{self.field}/{self.filter} {self.root}"

    @property
    def all_notes(self) -> list[str]:
        """What is to be said about it: of its place, its file and its detections."""
        return [*filter(None, [self.remark]), *self.notes]

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

    def paths(self, out: Path) -> ImagePaths:
        """Return where its products lie."""
        return ImagePaths(out / self.field / self.filter, self.stem)

    def image_file(self, out: Path) -> Path:
        """Return the drizzled image in its place."""
        return self.paths(out).folder / self.name

    def apart(self, out: Path) -> tuple[Path | None, Path | None]:
        """Return where weight and context lie, as `read_drc` takes them; None: in the image."""
        folder, wht, ctx = self.paths(out).folder, self.wht_name, self.ctx_name
        return folder / wht if wht else None, folder / ctx if ctx else None

    def input_files(self, out: Path) -> list[Path]:
        """Return the image, and its weight and context if they are apart."""
        return [path for path in (self.image_file(out), *self.apart(out)) if path]

    def add_output(self, stage: str, path: Path) -> None:
        """Enter one more product of a finished step."""
        self.stages[stage].outputs[path.name] = proof_of(path)

    def has_whole(self, path: Path) -> bool:
        """Tell whether a product is there and, as far as is known, what a step made."""
        for stage in self.stages.values():
            proof = stage.outputs.get(path.name)
            if proof is not None:
                return is_whole(path, proof)
        return path.is_file()


def input_settings(settings: Settings, record: ImageRecord) -> InputSettings:
    """Return what the user states about an image, its sidecar included."""
    values = {**settings.input.model_dump(), **record.input}
    if record.verified and record.verified == record.checksum:
        values["verify"] = False  # once for each content
    return build(InputSettings, values, where=record.source)


def read_image(record: ImageRecord, out: Path, settings: Settings) -> DrcImage:
    """Read an image in its place; raise `UnusableData` where it can't be."""
    from bycatch.images.drc import read_drc

    own_settings = input_settings(settings, record)
    return read_drc(record.image_file(out), own_settings, *record.apart(out))
