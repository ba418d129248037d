"""Running the graphs of a package on this CPU: sessions, compiled graphs, their cache and rewrites."""
