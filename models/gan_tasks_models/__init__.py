"""Models trained with gan-tasks: `NAME.onnx`, and beside each its card, `NAME.md`. gan-tasks finds them by name."""
