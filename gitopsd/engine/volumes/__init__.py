"""Data that outlives containers."""
