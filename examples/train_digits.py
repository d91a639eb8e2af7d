"""Train a small neural network on scikit-learn's handwritten digits, and kill it whenever you like.

    python examples/train_digits.py

Stop it at any moment (Ctrl-C, kill -9, a power cut) and run the same command again: it goes
on from its newest save, and ends with the same weights, bit for bit, as a run that nobody
stopped.  The digest in the last line lets you compare.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import checkpoint

HIDDEN = 64
BATCH = 32
LEARNING_RATE = 0.002
DECAY = 0.9, 0.999  # of Adam's two moments

Arrays = dict[str, np.ndarray]


@dataclass
class Digits:
    """Images of 8 × 8 numbers from 0 to 1, with the digits they show."""

    images: np.ndarray
    labels: np.ndarray


def read_digits() -> tuple[Digits, Digits]:
    """What to learn from, and every fifth image held out to measure with."""
    images, labels = load_digits(return_X_y=True)
    held_out = np.arange(len(images)) % 5 == 0
    images = images.reshape(-1, 8, 8) / 16
    return Digits(images[~held_out], labels[~held_out]), Digits(images[held_out], labels[held_out])


def fresh_weights() -> Arrays:
    return {
        "w1": np.random.normal(0, (2 / 64) ** 0.5, (64, HIDDEN)),
        "b1": np.zeros(HIDDEN),
        "w2": np.random.normal(0, (2 / HIDDEN) ** 0.5, (HIDDEN, 10)),
        "b2": np.zeros(10),
    }


class Adam:
    """Moves weights against their gradients, the more evenly they point the further."""

    def __init__(self) -> None:
        self.step = 0
        self.moments: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def move(self, weights: Arrays, slopes: Arrays) -> None:
        self.step += 1
        keep_first, keep_second = DECAY
        for name, slope in slopes.items():
            zeros = np.zeros_like(slope)
            first, second = self.moments.setdefault(name, (zeros, zeros.copy()))
            first += (1 - keep_first) * (slope - first)
            second += (1 - keep_second) * (slope**2 - second)
            mean = first / (1 - keep_first**self.step)
            spread = np.sqrt(second / (1 - keep_second**self.step))
            weights[name] -= LEARNING_RATE * mean / (spread + 1e-8)


def forward(weights: Arrays, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hidden layer, and the probability of each digit."""
    hidden = np.maximum(images.reshape(-1, 64) @ weights["w1"] + weights["b1"], 0)
    logits = hidden @ weights["w2"] + weights["b2"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return hidden, odds / odds.sum(axis=1, keepdims=True)


def accuracy(weights: Arrays, digits: Digits) -> float:
    """The share of *digits* that is recognized."""
    _, odds = forward(weights, digits.images)
    return float((odds.argmax(axis=1) == digits.labels).mean())


def gradients(weights: Arrays, images: np.ndarray, labels: np.ndarray) -> Arrays:
    """How the mean cross-entropy of the batch changes with each weight."""
    hidden, odds = forward(weights, images)
    error = (odds - np.eye(10)[labels]) / len(labels)
    below = (error @ weights["w2"].T) * (hidden > 0)
    return {
        "w1": images.reshape(-1, 64).T @ below,
        "b1": below.sum(axis=0),
        "w2": hidden.T @ error,
        "b2": error.sum(axis=0),
    }


def train(epochs: int, seed: int, *, job: checkpoint.Job) -> Any:
    """Train, and give the state at the end.  What hangs on it is saved, and so are the dice."""
    learn, held_out = read_digits()
    random.seed(seed)
    np.random.seed(seed)
    s = job.state(weights=fresh_weights, adam=Adam, best=0.0)
    for epoch in job.loop(range(epochs), name="epoch"):
        order = np.random.permutation(len(learn.images))
        for batch in np.split(order, range(BATCH, len(order), BATCH)):
            shifts = [random.choice((-1, 0, 0, 1)) for _ in batch]
            pairs = zip(learn.images[batch], shifts, strict=True)
            images = np.stack([np.roll(image, by, axis=1) for image, by in pairs])
            s.adam.move(s.weights, gradients(s.weights, images, learn.labels[batch]))
        s.best = max(s.best, right := accuracy(s.weights, held_out))
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1}: {right:.1%} right, {s.best:.1%} at best")
    return s


def weights_digest(weights: Arrays) -> str:
    """Equal weights give equal digests, and one other bit gives another."""
    return hashlib.sha256(b"".join(weights[name].tobytes() for name in sorted(weights))).hexdigest()


def positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train a small neural network on scikit-learn's handwritten digits.",
        epilog="Kill it at any moment and run the same command again: it goes on where it was.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--store", default="saves/digits", help="the folder to save to")
    parser.add_argument("--epochs", type=positive, default=40, help="rounds over all images")
    parser.add_argument("--every", type=positive, default=1, help="save after so many epochs")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    arguments = parser.parse_args()
    job = checkpoint.resumable(train, store=arguments.store, every=arguments.every)
    try:
        state = job(arguments.epochs, arguments.seed)
    except checkpoint.CheckpointError as error:
        sys.exit(f"train_digits: {error}")
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; the same command goes on from the newest save")
    print(f"final: {accuracy(state.weights, read_digits()[1]):.1%} right, {state.best:.1%} at best")
    print(f"digest of the final weights: {weights_digest(state.weights)}")


if __name__ == "__main__":
    main()
