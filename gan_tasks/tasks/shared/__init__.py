"""What several tasks share beyond their contract."""
