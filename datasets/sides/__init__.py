"""Find the two sides of pairs, A and B: by the names of folders and files, or in the halves of a file."""
