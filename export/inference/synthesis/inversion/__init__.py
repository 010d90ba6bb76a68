"""Inversion: the latent whose image comes nearest to a photograph."""
