"""The recorded cells of the benchmark matrix, and the report that is rendered from them."""
