"""What is behind each command."""
