"""Public weights files: downloaded, checked, and read without running anything in them."""
