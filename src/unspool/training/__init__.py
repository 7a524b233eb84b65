"""The loop's parts: learning rates over a training, averages of the weights."""
