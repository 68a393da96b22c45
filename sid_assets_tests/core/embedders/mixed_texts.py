"""Texts of mixed length and script, and comparisons of their vectors."""

import random
import subprocess
import sys

import numpy as np

SAME = 0.99999


def texts_of_mixed_length_and_script() -> list[str]:
    """200 texts: English, Chinese, emoji, empty; from none to a few hundred tokens."""
    draw = random.Random(7)  # noqa: S311 - not for secrets
    words = [
        "paper",
        "pen",
        "千与千寻",
        "война",
        "🎬",
        "of",
        "the",
        "12",
        "\n",
        "神灵",
        "é",
    ]
    lengths = [0, 0, 1, 1, 150, *(draw.randrange(1, 12) for _ in range(195))]
    return [" ".join(draw.choices(words, k=length)) for length in lengths]


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(axis=1)


def run_program(
    program: str, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)
