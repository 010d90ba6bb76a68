"""Image-to-image GANs: train on a folder of images, measure, deploy."""

__version__ = "0.1.0"
