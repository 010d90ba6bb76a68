"""Names and destinations of results. Imports no torch."""
