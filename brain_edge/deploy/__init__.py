"""Files from a package registry by hash, and the install folder for a workstation without network."""
