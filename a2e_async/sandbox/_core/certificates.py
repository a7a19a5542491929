"""The certificate of a sandbox that serves https."""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import Iterable
from pathlib import Path


def require_trustme() -> None:
    """Raise ``RuntimeError`` unless the library that makes certificates is installed."""
    if importlib.util.find_spec("trustme") is None:
        msg = "TLS needs the library trustme: pip install 'a2e-async[sandbox]'"
        raise RuntimeError(msg)


def make_certificate(names: Iterable[str], ca_file: Path) -> ssl.SSLContext:
    """Return the TLS context of a server under these host names and addresses.

    Its certificate is signed by a new authority, whose own certificate is written to ``ca_file``.
    The keys exist in this process only.
    """
    import trustme

    authority = trustme.CA(organization_name="a2e_async sandbox")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf = authority.issue_cert(*dict.fromkeys(names))
    leaf.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]  # names pyOpenSSL
    authority.cert_pem.write_to_path(str(ca_file))
    return context
