"""Weights files of other programs, written from our models."""
