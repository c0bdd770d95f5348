"""What every part of watchglass agrees on: pure data and decisions, no socket, file or clock."""
