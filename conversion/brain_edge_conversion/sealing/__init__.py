"""What makes a folder a package: model card, licence text, and a manifest over the hashes of everything else."""
