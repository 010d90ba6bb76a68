"""Sessions in a process of their own, which is killed if a file takes too much time or memory. Imports no torch."""
