"""The error of a log that is not, or no longer, in its format."""

from __future__ import annotations


class BrokenLog(ValueError):
    """Bytes that are not of the log's format: the file was cut off, damaged, or is something else."""
