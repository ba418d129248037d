"""Sealing of a folder as a package: model card, licence text, and a manifest with the hashes of everything else."""
