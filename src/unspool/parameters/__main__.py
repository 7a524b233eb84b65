"""Prints docs/parameters.md."""

from unspool.parameters.using import HEAD, table

if __name__ == "__main__":
    print(f"{HEAD}\n{table()}")
