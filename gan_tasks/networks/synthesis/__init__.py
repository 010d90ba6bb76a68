"""Networks of the task synthesis: generators from a latent vector, and their discriminators."""
