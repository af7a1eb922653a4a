"""What belongs to a whole output folder: settings, the last run, products of no field."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from dataclasses import field as member
from pathlib import Path

from bycatch.products.content import read_json, schema, write_json
from bycatch.products.records import FolderProduct
from bycatch.settings import Settings, read_toml
from bycatch.system.disk import is_whole, proof_of

SUMMARY = "summary.json"
SETTINGS_FILE = "settings.toml"
RUN_FILE = "run.json"
FOLDER_FILE = "products.json"


@dataclass
class UnusedFile:
    """A file that a run was given and did not use; ``dropped`` if it should have been used."""

    path: str
    reason: str
    dropped: bool = False


@dataclass
class LastRun:
    """What the last run into a folder was given, and which files it did not use."""

    inputs: dict[str, str] = member(default_factory=dict)
    skipped: list[UnusedFile] = member(default_factory=list)
    seconds: float | None = None


def last_run(out: Path) -> LastRun:
    """Return what is known of the last run into a folder; nothing where that is damaged."""
    try:
        run: LastRun = schema(LastRun).validate_python(read_json(out / RUN_FILE))
    except ValueError:
        return LastRun()
    return run


def write_last_run(out: Path, run: LastRun) -> None:
    """Take note of a run, for those after it and for the summary."""
    write_json(out / RUN_FILE, run)


def saved_settings(out: Path) -> Settings:
    """Return the settings of the last run into a folder; the defaults if there are none."""
    path = out / SETTINGS_FILE
    return Settings.load(config=path) if path.is_file() else Settings()


def saved_values(out: Path) -> dict[str, dict[str, object]]:
    """Return the same as plain values, for other settings to be laid over."""
    path = out / SETTINGS_FILE
    return read_toml(path) if path.is_file() else {}


def remember_product(path: Path, key: str = "") -> None:
    """Record a product that was made for the whole folder."""
    products = folder_products(path.parent)
    products[path.name] = FolderProduct(key, proof_of(path))
    write_json(path.with_name(FOLDER_FILE), {k: asdict(v) for k, v in sorted(products.items())})


def is_product_current(path: Path, key: str = "") -> bool:
    """Tell whether a product is there, whole, and made for a key."""
    product = folder_products(path.parent).get(path.name)
    return product is not None and product.key == key and is_whole(path, product.proof)


def folder_products(folder: Path) -> dict[str, FolderProduct]:
    """Return what was noted of a folder's products, by name."""
    try:
        products = schema(dict[str, FolderProduct]).validate_python(read_json(folder / FOLDER_FILE))
    except ValueError:
        return {}
    return dict(products)
