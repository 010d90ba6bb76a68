"""Models of other projects that come as ONNX files of their own form."""
