"""Execution of a package's graphs on this CPU: sessions, compiled graphs, their cache and rewrites."""
