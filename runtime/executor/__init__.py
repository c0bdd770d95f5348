"""Real processes: the spawn daemon, one supervisor a worker, and the server's end of both."""
