"""Ways to log in, as Azure ML has them: accepted and never verified, because a workspace belongs to whoever can open its database.

Each gives a token for ``requests``; a Batchmill service of this home will accept it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from batchmill.errors import SecretError
from batchmill.storage.home import home
from batchmill.workspace.secret import Secret, make_private_file, seal, unseal

AUDIENCE = "https://management.azure.com/"


def service_token() -> str:
    """The token of this home: made at first use and kept sealed in ``service.token``.

    Raises:
        SecretError: it cannot be kept, or was sealed with another key.
    """
    path = home() / "service.token"
    try:
        if not path.exists():
            make_private_file(path, seal(secrets.token_urlsafe(32)).encode())
        return unseal(path.read_text().strip())
    except OSError as error:
        raise SecretError(f"The token of the service {path} cannot be used: {error.strerror}.") from None


class AbstractAuthentication:
    """Base of all ways to log in."""

    def get_authentication_header(self) -> dict[str, str]:
        """``{"Authorization": "Bearer TOKEN"}``, for ``requests``."""
        return {"Authorization": f"Bearer {self.get_token()}"}

    def get_token(self) -> str:
        """The token itself."""
        return service_token()

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_") and value is not None)
        return f"{type(self).__name__}({shown})"


class InteractiveLoginAuthentication(AbstractAuthentication):
    """A person's login (Azure ML: opens a browser; here nothing has to be opened)."""

    def __init__(self, force: bool = False, tenant_id: str | None = None, cloud: str | None = None) -> None:
        self.tenant_id, self.cloud = tenant_id, cloud


class AzureCliAuthentication(AbstractAuthentication):
    """The login of Azure's command line."""

    def __init__(self, cloud: str | None = None) -> None:
        self.cloud = cloud


class MsiAuthentication(AbstractAuthentication):
    """The identity of a machine."""

    def __init__(self, identity_config: Any = None, cloud: str | None = None) -> None:
        self.identity_config, self.cloud = identity_config, cloud


class ServicePrincipalAuthentication(AbstractAuthentication):
    """The login of a program: tenant, id and password. The password is held in memory, never printed and never kept."""

    def __init__(
        self,
        tenant_id: str,
        service_principal_id: str,
        service_principal_password: str,
        cloud: str | None = "AzureCloud",
        _enable_caching: bool = True,
    ) -> None:
        self.tenant_id, self.service_principal_id, self.cloud = tenant_id, service_principal_id, cloud
        self._password = Secret(service_principal_password or "")


class TokenAuthentication(AbstractAuthentication):
    """A token that the caller provides: ``get_token_for_audience(audience)`` returns it."""

    def __init__(self, get_token_for_audience: Callable[[str], str], cloud: str | None = None) -> None:
        self._get_token_for_audience = get_token_for_audience
        self.cloud = cloud

    def get_token(self) -> str:
        return self._get_token_for_audience(AUDIENCE)
