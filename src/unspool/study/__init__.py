"""Measures of a trained model, the baselines it must beat, and plots."""
