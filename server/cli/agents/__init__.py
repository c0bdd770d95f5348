"""Small programs to try a runtime with; started as `python -m watchglass.server.cli.agents.NAME`."""
