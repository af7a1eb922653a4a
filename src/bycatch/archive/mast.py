"""MAST's search over plain HTTP: observations (CAOM), their products, and places in its bucket.

The requests are those of ``astroquery.mast`` 0.4.11 (``Observations.query_criteria``,
``get_product_list``, ``utils.mast_relative_path``), and so are the forms of the answers that the
tests have; docs/fetch.md says why it is not called itself.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from bycatch.archive import names
from bycatch.archive.model import PROGRAM_CODE, FetchRequest, Product
from bycatch.archive.web import Problem, Web
from bycatch.system.words import printable

logger = logging.getLogger("bycatch")

INSTRUMENTS = ("ACS/WFC", "ACS/HRC")
PAGE_ROWS = 10_000
OBSERVATIONS_A_CALL = 100
URIS_A_CALL = 50
"""More make an address that servers refuse."""
MOST_PAGES = 10_000
MOST_POLLS, POLL_S = 600, 1.0
"""A search that is not over after ten minutes will not be."""


class Mast:
    """The archive."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self.server = web.settings.server.rstrip("/")

    def products(self, request: FetchRequest) -> tuple[list[Product], list[tuple[str, str]]]:
        """Return the images that the archive has of what is wanted, each once.

        Returns
        -------
        products, refused
            In the order of fields and names; names that are not taken, and why.

        Raises
        ------
        Problem
            No answer.
        """
        observations: dict[str, Mapping[str, Any]] = {}
        for filters, position in _questions(request):
            for row in self._observations(filters, position):
                observations.setdefault(str(row.get("obsid", "")), row)
        observations.pop("", None)
        keys = [key for key, row in observations.items() if _may_be(row, request)]
        logger.info("%s: %d observation(s) of ACS", request.words, len(keys))
        listing = Listing(request)
        for k in range(0, len(keys), OBSERVATIONS_A_CALL):
            group = keys[k : k + OBSERVATIONS_A_CALL]
            for row in self._rows("Mast.Caom.Products", {"obsid": ",".join(group)}):
                parent = str(row.get("parent_obsid") or row.get("obsID") or "")
                listing.add(row, observations.get(parent, {}))
        return listing.products(), listing.refused

    def address(self, product: Product) -> str:
        """Return the address of a file."""
        return f"{self.server}/api/v0.1/Download/file?uri={quote(product.uri, safe=':/')}"

    def bucket_addresses(self, products: Sequence[Product]) -> dict[str, str]:
        """Return the addresses of files in the public bucket by URI, of those that it has.

        Raises
        ------
        Problem
            No answer.
        """
        addresses = {}
        bucket = self.web.settings.bucket.rstrip("/")
        for k in range(0, len(products), URIS_A_CALL):
            uris = [product.uri for product in products[k : k + URIS_A_CALL]]
            answer = self.web.value(
                "GET", f"{self.server}/api/v0.1/path_lookup/", params={"uri": uris}
            )
            for uri in uris:
                path = _mapping(_mapping(answer).get(uri)).get("path")
                if isinstance(path, str) and ".." not in path:
                    addresses[uri] = f"{bucket}/{quote(path.lstrip('/'), safe='/')}"
        return addresses

    def _observations(self, filters: list[Any], position: str) -> Iterator[Mapping[str, Any]]:
        words: dict[str, Any] = {"columns": "*", "filters": filters}
        service = "Mast.Caom.Filtered"
        if position:
            service, words["position"] = "Mast.Caom.Filtered.Position", position
        return self._rows(service, words)

    def _rows(self, service: str, words: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Give the rows of an answer, page by page."""
        for page in range(1, MOST_PAGES + 1):
            answer = self._page(service, words, page)
            rows = answer.get("data")
            if not isinstance(rows, list):
                raise Problem(f"{service}: its answer has no rows", passing=False)
            yield from (row for row in rows if isinstance(row, dict))
            n_pages = _number(_mapping(answer.get("paging")).get("pagesFiltered")) or 1
            if page >= n_pages:
                return

    def _page(self, service: str, words: Mapping[str, Any], page: int) -> Mapping[str, Any]:
        """Return one page; the archive is asked again while it still works on the answer."""
        request = {
            "service": service,
            "params": words,
            "format": "json",
            "pagesize": PAGE_ROWS,
            "page": page,
        }
        for _ in range(MOST_POLLS):
            answer = _mapping(
                self.web.value(
                    "POST", f"{self.server}/api/v0/invoke", data={"request": json.dumps(request)}
                )
            )
            status = answer.get("status")
            if status == "COMPLETE":
                return answer
            if status != "EXECUTING":
                raise Problem(f"{service}: {status}: {answer.get('msg', '')}", passing=False)
            self.web.pause(POLL_S)
        raise Problem(f"{service}: the archive did not finish the search", passing=False)


class Listing:
    """The images among the products that the archive lists."""

    def __init__(self, request: FetchRequest) -> None:
        self.wanted = request
        self.refused: list[tuple[str, str]] = []
        self._found: dict[str, Product] = {}

    def add(self, row: Mapping[str, Any], observation: Mapping[str, Any]) -> None:
        """Take a product, if it is an image that is wanted."""
        name, uri = (str(row.get(key) or "") for key in ("productFilename", "dataURI"))
        if not names.is_image(name):
            return
        if reason := names.refusal(name, uri):
            self._refuse(name, reason)
            return
        if names.kind_of(name) != self.wanted.products or names.reason_to_skip(name):
            return
        field = names.field_of_name(name)
        if self.wanted.visit and not field.endswith(f"_{self.wanted.visit[1]}"):
            return
        filters = _filters_of(row) or _filters_of(observation)
        if self.wanted.filters and filters and not set(filters) & set(self.wanted.filters):
            return
        rights = str(row.get("dataRights") or observation.get("dataRights") or "PUBLIC")
        product = Product(
            name,
            uri,
            field,
            _number(row.get("size")),
            filters,
            _degrees(observation.get("s_ra")),
            _degrees(observation.get("s_dec")),
            public=rights.upper() == "PUBLIC",
        )
        earlier = self._found.setdefault(name.lower(), product)
        if earlier.uri.lower() != uri.lower():
            self._refuse(name, f"listed twice, as {earlier.uri} and {uri}: the first is used")
        elif earlier.n_bytes != product.n_bytes:  # listed twice with two sizes: neither is believed
            self._found[name.lower()] = replace(earlier, n_bytes=None)

    def _refuse(self, name: str, reason: str) -> None:
        if (name, reason) not in self.refused:
            self.refused.append((name, reason))
            logger.warning("%s: refused: %s", printable(name)[:120], printable(reason))

    def products(self) -> list[Product]:
        """Return the images, in the order of fields and names; no drz whose drc is there."""
        drc_stems = {
            name[: -len("_drc.fits")] for name in self._found if name.endswith("_drc.fits")
        }
        images = [
            product
            for name, product in self._found.items()
            if name.endswith("_drc.fits") or name[: -len("_drz.fits")] not in drc_stems
        ]
        return sorted(images, key=lambda product: (product.field, product.name))


def _questions(request: FetchRequest) -> list[tuple[list[dict[str, Any]], str]]:
    """Return what to ask: filters, and a position or ''."""
    common = [_is("obs_collection", "HST"), _is("instrument_name", *INSTRUMENTS)]
    if request.cone:
        return [(common, ", ".join(str(value) for value in request.cone))]
    if request.programs:
        return [([*common, _is("proposal_id", *request.programs)], "")]
    assert request.visit is not None
    program, visit = request.visit
    if program.isdecimal():
        return [([*common, _is("proposal_id", program)], "")]
    code = PROGRAM_CODE.fullmatch(program)
    assert code is not None
    # Names of observations are j<program><visit>..., or hst_<number>_<visit>_..._j<program><visit>.
    pattern = (
        f"j{code[1]}{visit}%" if request.products == "pipeline" else f"hst_%j{code[1]}{visit}%"
    )
    return [([*common, {"paramName": "obs_id", "values": [], "freeText": pattern}], "")]


def _is(column: str, *values: str) -> dict[str, Any]:
    return {"paramName": column, "values": list(values)}


def _may_be(row: Mapping[str, Any], request: FetchRequest) -> bool:
    """Tell whether an observation may hold what is wanted; the listing of its files decides."""
    filters = _filters_of(row)
    fits = not (request.filters and filters) or bool(set(filters) & set(request.filters))
    is_hap = str(row.get("obs_id", "")).lower().startswith("hst_")
    return fits and is_hap == (request.products == "hap")


def _filters_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the filters of a row; none where it names no filter, as 'detection' of HAP."""
    text = str(row.get("filters") or "").upper()
    for sign in ";,/":
        text = text.replace(sign, " ")
    names = (word for word in text.split() if word[:1] in {"F", "G"} and word[1:2].isdigit())
    return tuple(dict.fromkeys(names))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int | None:
    """Return a positive whole number; None for anything else."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number > 0 and not isinstance(value, bool) else None


def _degrees(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
