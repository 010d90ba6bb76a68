"""Networks whose features metrics compare, with their published weights."""
