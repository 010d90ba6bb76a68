"""Networks whose features are used in metrics, and their published weights."""
