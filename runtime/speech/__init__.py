"""How a process takes input and what its output means."""
