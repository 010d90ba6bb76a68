"""The task synthesis: generate images from noise, learned from a folder of images."""
