"""What runs outside the server process: standard library only, started with `python -I -S`."""
