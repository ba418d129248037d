"""Tuning: cheaper settings of a package within an accuracy budget, tried, measured and chosen. Needs no PyTorch."""
