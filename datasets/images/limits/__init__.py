"""What is checked in an image file before a decoder sees it, so that little bytes cannot make much work."""
