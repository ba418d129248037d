"""BIDS in, BIDS out: the images of a dataset that a model takes, and the names of its masks (BIDS 1.11).

Names and metadata follow the machine-readable schema (rules `raw.anat`, `deriv.imaging`, `sidecars.derivatives`)
of the Brain Imaging Data Structure, https://bids-specification.readthedocs.io.
"""
