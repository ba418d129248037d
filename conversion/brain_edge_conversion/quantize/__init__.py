"""Quantisation of an FP32 package to an INT8 package within a budget: settings, search, mechanism, record."""
