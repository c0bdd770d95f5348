"""One ended worker as a tar: written, read back, checked."""
