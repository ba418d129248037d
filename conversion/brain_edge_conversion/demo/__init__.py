"""The demonstration: everything once, on real weights and a real head."""
