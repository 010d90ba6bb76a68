"""Untrusted images become pixels in a process that can be killed. Imports no web framework and no torch."""
