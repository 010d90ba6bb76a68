"""The network of colourisation: gray image → colour image of exactly the same luma."""
