"""Conformance suites for plugin authors: one file per kind of part, each to be subclassed."""
