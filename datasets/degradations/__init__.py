"""Degradations that turn good photographs into the inputs of super-resolution and restoration."""
