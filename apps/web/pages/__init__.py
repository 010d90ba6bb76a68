"""One page for each kind of use."""
