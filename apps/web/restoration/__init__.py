"""The page and the address that restore old photographs. Imports no torch."""
