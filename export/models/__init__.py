"""A trained model in use: what `load` gives, whatever it was loaded from."""
