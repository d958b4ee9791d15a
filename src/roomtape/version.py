"""Which build this is. A leaf module."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """The installed package's version; "0" when the package runs from an uninstalled tree."""
    try:
        return metadata.version("roomtape")
    except metadata.PackageNotFoundError:
        return "0"
