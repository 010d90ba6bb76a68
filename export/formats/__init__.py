"""Export models as weights files of other programs."""
