"""BIDS in, BIDS out: which images of a dataset a model takes, and what its masks are called (BIDS 1.11).

The Brain Imaging Data Structure, https://bids-specification.readthedocs.io; what is said of names and metadata here
follows its machine-readable schema (rules `raw.anat`, `deriv.imaging`, `sidecars.derivatives`).
"""
