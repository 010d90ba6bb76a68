"""ONNX files: written, verified, and run."""
