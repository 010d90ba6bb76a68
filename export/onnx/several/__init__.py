"""Several ONNX models in one program."""
