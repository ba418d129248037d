"""How fast a package is on this machine, and where its time goes."""
