"""Accuracy report of one search for a cheaper package: data, page and scatter plot."""
