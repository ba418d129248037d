"""Batches on clusters: shards of equal work, a script for Slurm, cases as tasks of Dask, results in object stores.

`docs/how-to/clusters.md` describes each. No command of a single workstation needs this room; `brain-edge run` finds an
engine here by its name.
"""
