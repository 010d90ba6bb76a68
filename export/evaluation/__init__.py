"""Evaluate models on images that were not used in training, and compare them with baselines."""
