"""Floating-point operations of a LoRA training step and of tagging: the floor that the benchmark is held against."""

from __future__ import annotations

from zoo.openmed_ner.encoders.config import EncoderConfig
from zoo.openmed_ner.lora import LoraConfig

# Maps from the hidden states, and their names as targets of adapters.
_ATTENTION = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")


def forward_flops(config: EncoderConfig, rows: int, length: int, n_labels: int) -> int:
    """Of the matrix products of a forward pass, adapters merged, two a multiplication and addition.

    Args:
        config: a BERT encoder's.
        rows, length: shape of the batch.
        n_labels: size of the head.
    """
    n, wide, pieces = config.hidden_size, config.intermediate_size, rows * length
    layer = 2 * pieces * (4 * n * n + 2 * n * wide) + 2 * 2 * rows * length * length * n
    return config.num_hidden_layers * layer + 2 * pieces * n * n_labels


def step_flops(config: EncoderConfig, lora: LoraConfig, rows: int, length: int, n_labels: int) -> int:
    """Of a training step on a frozen base: the forward pass, and the gradients of activations, adapters and head.

    What no trained leaf needs is not counted: gradients of frozen matrices, and those of the first layer's input.
    """
    n, wide, pieces, layers = config.hidden_size, config.intermediate_size, rows * length, config.num_hidden_layers
    attention = 2 * 2 * rows * length * length * n
    total = 0
    for number in range(layers):
        below = 1 if number else 0  # whether the gradient of this layer's input is asked for
        total += 2 * pieces * (3 * n * n) * (1 + below) + 2 * pieces * (n * n + 2 * n * wide) * 2 + 3 * attention
        for name in _ATTENTION:
            if lora.matches(name):
                inner = below if "self" in name else 1
                # x A and (x A) B; gradients of A and of B; of x A, and of x where it is asked for.
                total += 2 * pieces * lora.rank * n * (2 + 2 + 1 + inner)
    return total + 2 * pieces * n * n_labels * 3
