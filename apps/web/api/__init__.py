"""The HTTP API: what it answers, and how it describes itself."""
