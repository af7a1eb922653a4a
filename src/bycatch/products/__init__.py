"""What lies on disk: names of products, and the records of what was made."""

from __future__ import annotations

from bycatch.products.content import combined_digest, json_ready, read_json, read_pixels, write_json
from bycatch.products.extensions import read_extension, table_extension, table_of
from bycatch.products.field_state import (
    FIELD_FILE,
    LOCK,
    FieldFolder,
    FieldState,
    damaged_fields,
    field_names,
    find_records,
    read_field,
    read_fields,
)
from bycatch.products.folder import (
    FOLDER_FILE,
    RUN_FILE,
    SETTINGS_FILE,
    SUMMARY,
    LastRun,
    folder_products,
    forget_products,
    is_product_current,
    last_run,
    remember_product,
    saved_settings,
    saved_values,
    write_last_run,
)
from bycatch.products.paths import STAGES, ImagePaths, is_plain_name, own_folder
from bycatch.products.records import (
    FolderProduct,
    ImageOutcome,
    ImageRecord,
    StageRecord,
    input_settings,
)

__all__ = [
    "FIELD_FILE",
    "FOLDER_FILE",
    "LOCK",
    "RUN_FILE",
    "SETTINGS_FILE",
    "STAGES",
    "SUMMARY",
    "FieldFolder",
    "FieldState",
    "FolderProduct",
    "ImageOutcome",
    "ImagePaths",
    "ImageRecord",
    "LastRun",
    "StageRecord",
    "combined_digest",
    "damaged_fields",
    "field_names",
    "find_records",
    "folder_products",
    "forget_products",
    "input_settings",
    "is_plain_name",
    "is_product_current",
    "json_ready",
    "last_run",
    "own_folder",
    "read_extension",
    "read_field",
    "read_fields",
    "read_json",
    "read_pixels",
    "remember_product",
    "saved_settings",
    "saved_values",
    "table_extension",
    "table_of",
    "write_json",
    "write_last_run",
]
