"""Old photographs: the steps that restore them, and whether they have colour. Imports no torch."""
