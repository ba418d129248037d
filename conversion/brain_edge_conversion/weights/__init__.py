"""Weights from files that strangers wrote: read as data."""
