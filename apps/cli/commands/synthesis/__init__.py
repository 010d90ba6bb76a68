"""Commands that use a generator of images: generate, interpolate, mix, invert, directions and edit."""
