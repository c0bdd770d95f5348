"""Every decision about workers; it runs as well without HTTP."""
