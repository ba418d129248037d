"""Work on files: one case, a batch, a BIDS dataset; the outputs, records and pictures of a case."""
