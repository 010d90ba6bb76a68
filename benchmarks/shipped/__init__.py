"""Measures the models that ship beside their baselines, and writes their pages."""
