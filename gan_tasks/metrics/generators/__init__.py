"""Metrics of generators that need the network itself, and not its images alone."""
