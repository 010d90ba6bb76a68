"""Generators and discriminators, as plain PyTorch modules."""
