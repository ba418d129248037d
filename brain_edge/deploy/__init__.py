"""Files from a package registry by hash, and the folder that a workstation without network installs from."""
