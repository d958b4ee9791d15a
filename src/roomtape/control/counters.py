"""Names of what workers count and tell in each Beat."""

from __future__ import annotations

LOST = ("overrun", "disk", "poison", "late", "network", "broken")  # why a frame is in no recording
SKEW_EDGES_MS = (-200, -100, -45, -20, -10, -5, 0, 5, 10, 20, 45, 100, 200)  # of the lip-sync histogram


def lost(cause: str) -> str:
    """The counter of frames lost for that cause."""
    return f"lost_{cause}"


def skew_bucket(edge_ms: int | None) -> str:
    """The counter of skews up to that edge and above the one before; None: above all edges."""
    return "skew_more" if edge_ms is None else f"skew_{edge_ms}"


def skew_bucket_of(skew_ms: float) -> str:
    """The bucket a skew belongs to."""
    return skew_bucket(next((edge for edge in SKEW_EDGES_MS if skew_ms <= edge), None))
