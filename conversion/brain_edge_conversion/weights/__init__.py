"""Weights from untrusted files, read as data."""
