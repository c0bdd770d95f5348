"""The durable log and the catalog's records."""
