"""Trained layers and models for other programs: ONNX, written from the program of the cell's step."""

from unspool.exporting.export import Exported, to_onnx

__all__ = ["Exported", "to_onnx"]
