"""Linux numbers and binary layouts: a leaf that imports only the standard library."""
