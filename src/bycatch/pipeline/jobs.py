"""The description of a task: of a field, and of one of its images."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bycatch.errors import SettingsError
from bycatch.products import STAGES, ImagePaths, ImageRecord, LastRun
from bycatch.settings import Settings
from bycatch.stages.sort import Placement
from bycatch.system.disk import checksum

logger = logging.getLogger("bycatch")


@dataclass(frozen=True)
class Inputs:
    """The user's files other than images."""

    gaia: Path | None = None
    sources: Path | None = None
    exclude: Path | None = None
    wht: Path | None = None
    sources_image: str | None = None
    """Root of the image whose pixels ``sources`` holds, where images are of different grids."""

    def __post_init__(self) -> None:
        for name in ("gaia", "sources", "exclude", "wht"):
            value = getattr(self, name)
            if isinstance(value, str):  # as in a notebook
                object.__setattr__(self, name, Path(value))

    def check(self) -> Inputs:
        """Read all of them once, so that a mistake stops the run before any data are read."""
        from bycatch.pipeline import lists
        from bycatch.sky import gaia

        for name in ("gaia", "sources", "exclude", "wht"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise SettingsError(
                    f"--{name} {path}: there is no such file", hint="check the path"
                )
        notes: list[str] = []
        if self.gaia:
            notes += [f"--gaia {note}" for note in gaia.read_local(self.gaia).notes]
        if self.sources:
            notes += filter(None, [lists.read_positions(self.sources).note])
        elif self.sources_image:
            raise SettingsError("--sources-image needs a list", hint="give --sources FILE too")
        if self.exclude:
            shapes = lists.read_regions(self.exclude).passed_over
            notes += [f"--exclude {self.exclude}: skipped: {shape}" for shape in shapes]
        for note in notes:
            logger.warning("%s", note)
        return self

    def with_those_of(self, last: LastRun) -> Inputs:
        """Return them with the lists of the last run: a step on its own keeps those."""
        last_inputs = last.inputs
        lists_of_last = {
            name: Path(last_inputs[name])
            for name in ("sources", "exclude")
            if last_inputs.get(name) and getattr(self, name) is None
        }
        image = self.sources_image
        if "sources" in lists_of_last:
            image = image or last_inputs.get("sources_image") or None
        return replace(self, **lists_of_last, sources_image=image)

    def image_of_list(self, records: Iterable[ImageRecord], out: Path) -> ImageRecord | None:
        """Return the image whose pixels ``sources`` has; None where it is of the sky, or none.

        Raises
        ------
        SettingsError
            It is not clear which image is meant.
        """
        if self.sources is None:
            return None
        from bycatch.pipeline import lists

        return lists.image_of_list(self.sources, self.sources_image, list(records), out)


def check_kinds(settings: Any, inputs: Any) -> None:
    """Refuse a preset or a file where settings or inputs are wanted, as a notebook may give it.

    Raises
    ------
    SettingsError
        One of them is neither None nor what it should be.
    """
    if not isinstance(settings, Settings | None):
        raise SettingsError(
            f"settings: {settings!r:.60} is not a bycatch.Settings",
            hint="such as bycatch.Settings.load(preset='deep')",
        )
    if not isinstance(inputs, Inputs | None):
        raise SettingsError(
            f"inputs: {inputs!r:.60} is not a bycatch.Inputs",
            hint="such as bycatch.Inputs(gaia='gaia.ecsv')",
        )


@dataclass(frozen=True)
class UserFile:
    """A file of the user's, and the checksum of its content, computed once per run."""

    path: Path
    checksum: str

    @classmethod
    def of(cls, path: Path | None) -> UserFile | None:
        """Return the file of a path; None without one."""
        return None if path is None else cls(path.absolute(), checksum(path))


@dataclass(frozen=True)
class UserFiles:
    """The user's files that a field needs."""

    gaia: UserFile | None = None
    exclude: UserFile | None = None

    @classmethod
    def of(cls, inputs: Inputs) -> UserFiles:
        """Return the files, with their checksums."""
        paths = (inputs.gaia, inputs.exclude)
        return cls(*(UserFile.of(path) for path in paths))


@dataclass(frozen=True)
class NewImage:
    """An image that a run brings to a field: where it goes, and what its headers said.

    Attributes
    ----------
    placement : its place
    input : the user's statements about the file
    facts, facts_key : as in `ImageRecord`
    wht : its weight, where the user gives it apart
    """

    placement: Placement
    input: dict[str, Any]
    facts: dict[str, Any]
    facts_key: str
    wht: Path | None = None


@dataclass(frozen=True)
class FieldJob:
    """All that a worker needs to know of a field: paths and settings, a few kB when pickled.

    Attributes
    ----------
    out : output folder
    name : of the field
    settings : of all steps
    images : those that a run brings; None for all that the field has already
    stages : steps to do
    forced : do them again even if they are up to date
    files : of the user's
    with_page : write what the page of a large run shows of the field
    waits : wait for another process that has the field, instead of passing it over
    """

    out: Path
    name: str
    settings: Settings
    images: tuple[NewImage, ...] | None = None
    stages: tuple[str, ...] = STAGES
    forced: bool = False
    files: UserFiles = UserFiles()
    with_page: bool = False
    waits: bool = False

    @property
    def folder(self) -> Path:
        """Where the field lies."""
        return self.out / self.name

    @property
    def title(self) -> str:
        """The field in messages."""
        return self.name


@dataclass(frozen=True)
class ImageJob:
    """What is to be done on one image.

    Attributes
    ----------
    out, record, settings : of the image
    forced : do them again even if they are up to date
    field_key : stands for the detections and masks of all images of the field
    gaia_file, gaia_key : reference stars of the field
    files : of the user's
    """

    out: Path
    record: ImageRecord
    settings: Settings
    forced: bool = False
    field_key: str = ""
    gaia_file: Path | None = None
    gaia_key: str = "none"
    files: UserFiles = UserFiles()

    @property
    def paths(self) -> ImagePaths:
        """Where the products lie."""
        return self.record.paths(self.out)

    @property
    def label(self) -> str:
        """How messages name the image."""
        return self.record.label
