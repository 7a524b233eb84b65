"""Measuring a model, and what it is measured against."""
