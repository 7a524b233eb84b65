"""Learn the characters of a text, beside n-grams, and write on.

    python examples/generation.py TEXT.txt [--epochs 10] [--prompt "ROMEO:"]

On tiny Shakespeare (data/tinyshakespeare/input.txt of github.com/karpathy/char-rnn) four epochs take about three
minutes on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from unspool import SequenceGenerator
from unspool.generation.ngram import baseline


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--hidden-size", type=int, default=512)
    parser.add_argument("--prompt", default="\n")
    args = parser.parse_args()
    text = args.text.read_text(encoding="utf-8")
    train, test = text[: -len(text) // 10], text[-len(text) // 10 :]

    model = SequenceGenerator(hidden_size=args.hidden_size, epochs=args.epochs, random_state=0)
    model.fit(train)
    found = model.evaluate(test)
    encode = model.vocabulary_.encode
    grams = baseline([encode(train)], len(model.vocabulary_), ends=False)
    counted = -grams.score(encode(test)).mean()
    print(f"test: {found['nats_per_token']:.3f} nats a character, {grams.order}-grams {counted:.3f}")

    for piece in model.stream(args.prompt, max_new_tokens=300, temperature=0.8, random_state=0):
        print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
