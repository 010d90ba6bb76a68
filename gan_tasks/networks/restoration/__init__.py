"""Networks of restoration, as configurations of the backbone."""
