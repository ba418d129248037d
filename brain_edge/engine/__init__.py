"""Segmentation of a study by a specification, independent of what computes the networks: plan, windows, memory."""
