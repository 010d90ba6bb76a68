"""Losses and their options: adversarial, feature matching, perceptual, and differentiable augmentation."""
