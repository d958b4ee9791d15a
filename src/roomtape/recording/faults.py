"""The fault points of the recording path; see `roomtape.faults`."""

from roomtape.faults import POINTS, reach

__all__ = ["POINTS", "reach"]
