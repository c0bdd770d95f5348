"""The HTTP and WebSocket face of the runtime, and the command line."""
