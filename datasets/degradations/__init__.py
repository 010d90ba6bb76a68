"""How sharp photographs become the small, damaged inputs of super-resolution."""
