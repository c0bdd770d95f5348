"""Clients of a runtime over HTTP and WebSocket."""
