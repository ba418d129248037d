"""Accuracy of a model on a cohort, always measured through `Segmenter`."""
