"""Fixtures of the RTMP tests: the media core's stage."""

from tests.integration.core.conftest import stage

__all__ = ["stage"]
