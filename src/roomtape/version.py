"""Which build this is. A leaf module."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The installed package's version; "0" when the package runs from an uninstalled tree."""
    try:
        return metadata.version("roomtape")
    except metadata.PackageNotFoundError:
        return "0"
