"""Trained models from run folders, public checkpoints and ONNX files, with one interface."""
