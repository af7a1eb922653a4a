"""The user's token for data that are not public: from the environment, or the system's keyring.

It is sent to the archive only, over https only (but for this machine itself), and appears in no
message: what goes wrong with a token is said without it.
"""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bycatch.errors import SettingsError

if TYPE_CHECKING:
    from requests import PreparedRequest

VARIABLE = "MAST_API_TOKEN"
KEYRING = ("astroquery:mast.stsci.edu.token", "masttoken")
"""Where astroquery keeps the token, too."""
TOKEN = re.compile(r"[!-~]{8,512}")
THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}


class Token:
    """A token, which only the archive sees (``auth`` of requests)."""

    def __init__(self, word: str, server: str) -> None:
        self._word = word
        self._host = urlsplit(server).hostname

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the token to a request that goes to the archive, encrypted."""
        address = urlsplit(str(request.url))
        safe = address.scheme == "https" or address.hostname in THIS_MACHINE
        if self._word and safe and address.hostname == self._host:
            request.headers["Authorization"] = f"token {self._word}"
        return request

    def __bool__(self) -> bool:
        return bool(self._word)

    def __repr__(self) -> str:
        return "Token(...)" if self._word else "Token('')"

    def __reduce__(self) -> Any:
        raise TypeError("a token is not written anywhere")


def token_for(server: str) -> Token:
    """Return the user's token; an empty one where there is none.

    Raises
    ------
    SettingsError
        What the environment has can't be a token.
    """
    word = os.environ.get(VARIABLE, "").strip() or _in_keyring()
    if word and not TOKEN.fullmatch(word):
        raise SettingsError(
            f"{VARIABLE} does not hold a token: 8 to 512 letters and digits without spaces",
            hint="copy it again from https://auth.mast.stsci.edu/tokens, or unset it",
        )
    return Token(word, server)


def _in_keyring() -> str:
    """Return the token that the keyring has; '' without one, or without a keyring."""
    if find_spec("keyring") is None:
        return ""
    try:
        import keyring

        return (keyring.get_password(*KEYRING) or "").strip()
    except Exception:  # backends raise what they like; there is no token then  # noqa: BLE001
        return ""
