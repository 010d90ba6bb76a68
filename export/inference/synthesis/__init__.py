"""Use of a generator of images: draw seeds, walk between them, mix, invert and edit. torch is imported late."""
