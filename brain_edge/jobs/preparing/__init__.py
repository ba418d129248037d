"""`brain-edge prepare`: studies as they were scanned in, prepared images, transforms and a record out."""
