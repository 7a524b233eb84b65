"""Measures of a trained model, the baselines that it must beat, plots of its answers and of its training."""
