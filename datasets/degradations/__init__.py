"""Degradations that turn sharp photographs into the low-resolution inputs of super-resolution."""
