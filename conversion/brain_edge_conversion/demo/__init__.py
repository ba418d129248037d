"""Demonstration: the whole pipeline once, on real weights and a real head."""
