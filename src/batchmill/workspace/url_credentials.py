"""Credentials inside URLs (``https://user:token@host/simple``): found, hidden where a URL is shown, kept apart where it is stored.

A reference to an environment variable (``https://${FEED_TOKEN}@host/simple``) is no credential: it is shown, stored and exported as it is
and becomes its value only where a package index is asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from batchmill.errors import UsageError

HIDDEN = "***"
USER_INFO = re.compile(r"(?P<scheme>[a-zA-Z][\w+.-]*)://(?P<info>[^/@\s'\"]+)@")
SECRET_QUERY = re.compile(r"(?P<name>[?&](?:sig|token|access_token|password|key|secret)=)(?P<value>[^&\s'\"]+)", re.IGNORECASE)
CHANNEL_TOKEN = re.compile(r"(?P<before>://[^/\s]+/t/)(?P<value>[^/\s'\"]+)")  # https://host/t/TOKEN/channel, as conda writes it
REFERENCE = re.compile(r"\$\{(?P<name>[A-Za-z_]\w*)\}")
ONLY_REFERENCES = re.compile(r"(?:\$\{[A-Za-z_]\w*\}|:)+")


def credentials_in(text: str) -> list[str]:
    """Every credential in a text: the user part of its URLs (but not the account name of an SSH address), secret query values and the
    tokens of conda channels."""
    found = [match["info"] for match in USER_INFO.finditer(text) if _is_credential(match)]
    values = (match["value"] for pattern in (SECRET_QUERY, CHANNEL_TOKEN) for match in pattern.finditer(text))
    return found + [value for value in values if not ONLY_REFERENCES.fullmatch(value)]


def hide_credentials(text: str) -> str:
    """The text as it may be shown: ``https://***@host/simple``."""
    text = USER_INFO.sub(lambda match: f"{match['scheme']}://{HIDDEN}@" if _is_credential(match) else match[0], text)
    text = CHANNEL_TOKEN.sub(lambda match: match[0] if ONLY_REFERENCES.fullmatch(match["value"]) else match["before"] + HIDDEN, text)
    return SECRET_QUERY.sub(lambda match: match[0] if ONLY_REFERENCES.fullmatch(match["value"]) else match["name"] + HIDDEN, text)


def _is_credential(match: re.Match[str]) -> bool:
    if ONLY_REFERENCES.fullmatch(match["info"]):
        return False
    return ":" in match["info"] or "ssh" not in match["scheme"].lower()


def fill_references(text: str, variables: Mapping[str, str] = os.environ) -> str:
    """Replace ``${NAME}`` by the value of that environment variable.

    Raises:
        UsageError: a variable is not set, or the credentials were left out when the text was exported.
    """
    if f"://{HIDDEN}@" in text:
        raise UsageError(
            f"The credentials of {text.split()[-1]} were left out when the environment was saved.",
            cure="Give them as a reference to an environment variable (https://${NAME}@...), which is saved as it is.",
        )

    def value(match: re.Match[str]) -> str:
        if match["name"] not in variables:
            raise UsageError(f"'{text}' names the environment variable {match['name']}, which is not set.", cure="Set it.")
        return variables[match["name"]]

    return REFERENCE.sub(value, text)
