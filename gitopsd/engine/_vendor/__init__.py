"""Packages of others, unmodified: versions and licences in README.md beside this file; engine/__init__.py puts this folder on the path."""
