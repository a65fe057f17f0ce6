"""The keys, tokens and passwords that tests use. They look real, open nothing but this suite's own servers, and must turn up nowhere:
`tests.secret_check` looks for them in every file that a session leaves and in every report. A test that needs a secret takes it from
here, or adds its own to `SECRETS`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import quote, unquote

# In every secret whose text can be chosen, so that one search finds them all; twelve letters are whole groups of base64.
MARK = "qNeVeRsHoWn7"

ACCOUNT = "teamphotos"
ACCOUNT_KEY = MARK + base64.b64encode(hashlib.sha512(b"account key").digest()[:55]).decode()
WRONG_ACCOUNT_KEY = MARK + base64.b64encode(hashlib.sha512(b"another account key").digest()[:55]).decode()
S3_ACCESS_KEY_ID = f"AKIA{MARK}PL"
S3_SECRET_ACCESS_KEY = f"{MARK}/bPxRfiCYEXAMPLE+2"
S3_SESSION_TOKEN = f"IQoJb3JpZ2lu{MARK}=="
CLIENT_SECRET = f"{MARK}~8Q.client"
DATABASE_PASSWORD = f"{MARK}p%40ss"
BEARER_TOKEN = f"eyJ0eXAi.{MARK}.sig"


def account_sas(permissions: str, account: str = ACCOUNT, key: str = ACCOUNT_KEY) -> str:
    """A SAS token for all containers of an account, signed as Azure asks (version 2019-12-12), good until 2099."""
    expiry, version = "2099-01-01T00:00:00Z", "2019-12-12"
    text = "\n".join([account, permissions, "b", "sco", "", expiry, "", "https,http", version, ""])
    signature = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
    return f"sv={version}&ss=b&srt=sco&sp={permissions}&se={quote(expiry)}&spr=https,http&sig={quote(signature, safe='')}"


SAS_TOKEN = account_sas("rwdlac")
READ_SAS_TOKEN = account_sas("rl")


def signature_of(token: str) -> str:
    """The secret part of a SAS token."""
    return token.partition("sig=")[2]


SECRETS = [MARK, signature_of(SAS_TOKEN), signature_of(READ_SAS_TOKEN)]


def forms() -> list[bytes]:
    """How the secrets may look in a file: as they are, and percent-encoded or decoded."""
    texts = {form for secret in SECRETS for form in (secret, unquote(secret), quote(secret, safe=""))}
    return sorted(text.encode() for text in texts)
