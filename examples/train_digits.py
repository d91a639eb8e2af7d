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
from dataclasses import dataclass, field

import numpy as np
from sklearn.datasets import load_digits

from checkpoint import Checkpointer, CheckpointError, either, highest, keep_best, keep_last

HIDDEN = 64
BATCH = 32
LEARNING_RATE = 0.002
DECAY = 0.9, 0.999  # of Adam's two moments

Arrays = dict[str, np.ndarray]


@dataclass
class Training:
    """All that the next step depends on.  What is not in here is lost when the process dies."""

    weights: Arrays
    first: Arrays  # Adam's moments
    second: Arrays
    generator: np.random.Generator  # shuffles
    dice: random.Random  # shifts images
    order: np.ndarray  # the images of this epoch, in the order of their turn
    position: int = 0
    step: int = 0
    history: list[float] = field(default_factory=list)  # accuracy after each epoch

    @property
    def epoch(self) -> int:
        return len(self.history)


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


def start(seed: int, count: int) -> Training:
    """A training of *count* images that has taken no step yet."""
    generator = np.random.default_rng(seed)
    weights = {
        "w1": generator.normal(0, (2 / 64) ** 0.5, (64, HIDDEN)),
        "b1": np.zeros(HIDDEN),
        "w2": generator.normal(0, (2 / HIDDEN) ** 0.5, (HIDDEN, 10)),
        "b2": np.zeros(10),
    }
    return Training(
        weights=weights,
        first={name: np.zeros_like(array) for name, array in weights.items()},
        second={name: np.zeros_like(array) for name, array in weights.items()},
        generator=generator,
        dice=random.Random(seed),
        order=generator.permutation(count),
    )


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


def take_step(training: Training, learn: Digits, held_out: Digits) -> None:
    """One batch: shift its images a little, follow the gradient (Adam), end the epoch if due."""
    batch = training.order[training.position : training.position + BATCH]
    shifts = [training.dice.choice((-1, 0, 0, 1)) for _ in batch]
    pairs = zip(learn.images[batch], shifts, strict=True)
    images = np.stack([np.roll(image, by, axis=1) for image, by in pairs])
    training.position += BATCH
    training.step += 1

    keep_first, keep_second = DECAY
    for name, slope in gradients(training.weights, images, learn.labels[batch]).items():
        first, second = training.first[name], training.second[name]
        first += (1 - keep_first) * (slope - first)
        second += (1 - keep_second) * (slope**2 - second)
        mean = first / (1 - keep_first**training.step)
        spread = np.sqrt(second / (1 - keep_second**training.step))
        training.weights[name] -= LEARNING_RATE * mean / (spread + 1e-8)

    if training.position >= len(training.order):
        training.order = training.generator.permutation(len(training.order))
        training.position = 0
        training.history.append(accuracy(training.weights, held_out))


def weights_digest(weights: Arrays) -> str:
    """Equal weights give equal digests, and one other bit gives another."""
    return hashlib.sha256(b"".join(weights[name].tobytes() for name in sorted(weights))).hexdigest()


def run(arguments: argparse.Namespace) -> None:
    learn, held_out = read_digits()
    saves = Checkpointer(
        arguments.store,
        name=f"seed-{arguments.seed}",
        keep=either(keep_last(3), keep_best(highest("accuracy"))),
    )

    training = saves.load(default=None)
    if training is None:
        training = start(arguments.seed, len(learn.images))
        print(f"starting fresh; saving to {arguments.store}")
    else:
        newest = saves.snapshots()[-1].version
        print(f"resumed after step {training.step}; the newest version is {newest}")

    while training.epoch < arguments.epochs:
        take_step(training, learn, held_out)
        if training.step % arguments.every == 0 or training.epoch == arguments.epochs:
            saves.save(training, metrics={"accuracy": accuracy(training.weights, held_out)})
        if training.position == 0 and training.epoch % 10 == 0:
            print(f"epoch {training.epoch}: {training.history[-1]:.1%} right")

    best = saves.load(best=highest("accuracy"))
    print(f"best version: {accuracy(best.weights, held_out):.1%} right after step {best.step}")
    print(f"final: {accuracy(training.weights, held_out):.1%} right after step {training.step}")
    print(f"digest of the final weights: {weights_digest(training.weights)}")


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
    parser.add_argument("--every", type=positive, default=20, help="save after so many steps")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    arguments = parser.parse_args()
    try:
        run(arguments)
    except CheckpointError as error:
        sys.exit(f"train_digits: {error}")
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; the same command goes on from the newest save")


if __name__ == "__main__":
    main()
