"""A cell's step as a program: the IR, tracing, lowerings, rewriting, gradients, a reference interpreter."""
