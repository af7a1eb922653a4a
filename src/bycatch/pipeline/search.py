"""The search for files that may be images: names and sizes decide, nothing is opened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bycatch.errors import SettingsError
from bycatch.images.files import FITS_SUFFIX, not_a_file, stem_of
from bycatch.images.planes import context_sibling, weight_sibling
from bycatch.stages import sort
from bycatch.stages.sort import SkippedFile
from bycatch.system.disk import PARTIAL

MARKS = ("survey.json", "wcs_error.json")
"""What marks folders that hold FITS files of ours and no images: surveys, and simulated truth."""


@dataclass
class SearchResult:
    """What lies below the paths of the user.

    Attributes
    ----------
    files : may be images, each once
    skipped : have the name of an image but are not one, or are a folder that can't be entered; why
    passed_over : number of other files, by kind
    """

    files: list[Path] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


def find_files(paths: Iterable[Path], out: Path) -> SearchResult:
    """Return the files that may be images.

    A file that is named on the command line always is; in folders the name decides.  Links to
    folders are followed, each folder is searched once, the output folder not at all unless it is
    named or holds what is named.

    Raises
    ------
    SettingsError
        A path does not exist.
    """
    search = _Search(out.resolve())
    for path in paths:
        search.look_at(path)
    return search.over()


class _Search:
    """A search on its way."""

    def __init__(self, own: Path) -> None:
        self.own = own
        self.found = SearchResult()
        self._entered: set[tuple[int, int]] = set()

    def look_at(self, path: Path) -> None:
        """Search a path of the user's."""
        if os.path.isdir(path):  # noqa: PTH112, unlike Path's it is False for a name too long
            self._walk(path)
        elif not os.path.lexists(path):
            raise SettingsError(f"{path}: there is no such file or folder", hint="check the path")
        elif problem := not_a_file(path):
            self.found.skipped.append(SkippedFile(path, problem, bad=True))
        else:
            self.found.files.append(path)

    def _walk(self, top: Path) -> None:
        # Where the user names the output folder, or what lies in it, they mean it.
        inside = top.resolve() == self.own or self.own in top.resolve().parents
        waiting = [top] if self._is_new(top) else []
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(folder) as entries:
                    members = sorted(entries, key=lambda entry: entry.name)
            except OSError as err:
                reason = f"the folder can't be entered ({err.strerror or err})"
                self.found.skipped.append(SkippedFile(folder, reason))
                continue
            inner = []
            for member in members:
                path = folder / member.name
                if not _is_folder(member):
                    self._note(path)
                elif self._is_searched(path, is_link=member.is_symlink(), inside=inside):
                    inner.append(path)
            waiting += reversed(inner)

    def _note(self, path: Path) -> None:
        """Take note of a file in a folder."""
        if path.name.startswith("."):  # such as macOS's ._name next to each file
            self.found.passed_over["hidden"] += 1
        elif not sort.is_image_name(path):
            self.found.passed_over[_kind_of(path.name)] += 1
        elif problem := not_a_file(path):
            self.found.skipped.append(SkippedFile(path, problem))
        else:
            self.found.files.append(path)

    def _is_searched(self, path: Path, *, is_link: bool, inside: bool) -> bool:
        """Tell whether to search a folder that lies in another one."""
        if path.name.startswith(PARTIAL):
            return False
        if any((path / mark).is_file() for mark in MARKS):
            self.found.passed_over["folder of bycatch"] += 1
            return False
        if sort.is_image_name(path):
            self.found.skipped.append(SkippedFile(path, "a folder with the name of an image"))
            return False
        if not inside and (is_link or path.name == self.own.name):
            real = path.resolve()
            if real == self.own or self.own in real.parents:
                return False
        return self._is_new(path)

    def _is_new(self, folder: Path) -> bool:
        """Tell whether a folder was not entered before, by this or another name."""
        try:
            status = folder.stat()
        except OSError:  # said when it is entered
            return True
        identity = status.st_dev, status.st_ino
        is_new = identity not in self._entered
        self._entered.add(identity)
        return is_new

    def over(self) -> SearchResult:
        """Return what was found, each file once, without weights and contexts of other files."""
        result = self.found
        names = list(dict.fromkeys(_one_name(file, self.own) for file in result.files))
        apart = {plane for name in names for plane in (weight_sibling(name), context_sibling(name))}
        result.files = []
        first: dict[tuple[int, int], Path] = {}
        for path in names:
            if path in apart:
                continue
            earlier = first.setdefault(_identity(path), path)
            if earlier is path:
                result.files.append(path)
            else:
                result.skipped.append(SkippedFile(path, f"the same file as {earlier}"))
        return result


def _is_folder(member: os.DirEntry[str]) -> bool:
    try:
        return member.is_dir()
    except OSError:  # such as links that lead to one another
        return False


def _identity(path: Path) -> tuple[int, int]:
    """Return what two names of one file have in common; of a file that is not there its name's."""
    try:
        status = path.stat()
    except OSError:
        return -1, hash(path)
    return status.st_dev, status.st_ino


def _one_name(file: Path, own: Path) -> Path:
    """Return a path that does not depend on how the user spelt it.

    The user's own links keep their names; links in the output folder stand for
    what they lead to.
    """
    path = file.parent.resolve() / file.name
    return path.resolve() if path.is_symlink() and own in path.parents else path


def _kind_of(name: str) -> str:
    if FITS_SUFFIX.search(name):
        return stem_of(Path(name)).rsplit("_", 1)[-1]
    return name.rsplit(".", 1)[-1] if "." in name else "other"
