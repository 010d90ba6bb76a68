"""How good models are on images that they have not seen."""
