"""Tar archives, read and written by our own code; no file system."""
