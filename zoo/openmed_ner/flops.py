"""Floating-point operations of a LoRA training step and of tagging: the floor that the benchmark is held against."""

from __future__ import annotations

from zoo.openmed_ner.encoders.config import EncoderConfig


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


def step_flops(config: EncoderConfig, rank: int, rows: int, length: int, n_labels: int) -> int:
    """Of a training step on a frozen base: the forward pass, and the gradients of activations, adapters and head.

    What no trained leaf needs is not counted: gradients of frozen matrices, and those of the first layer's input.

    Args:
        config, rows, length, n_labels: as for :func:`forward_flops`.
        rank: of the adapters, one on each of the four attention maps.
    """
    n, wide, pieces = config.hidden_size, config.intermediate_size, rows * length
    attention = 2 * 2 * rows * length * length * n
    thin = 2 * pieces * rank * n  # x A, or any product of its size
    total = 0
    for below in (0, *[1] * (config.num_hidden_layers - 1)):  # whether the gradient of the layer's input is asked for
        total += 2 * pieces * 3 * n * n * (1 + below) + 2 * pieces * (n * n + 2 * n * wide) * 2 + 3 * attention
        # x A and (x A) B; the gradients of A, of B, of x A, and of x where it is asked for.
        total += 3 * (5 + below) * thin + 6 * thin
    return total + 2 * pieces * n * n_labels * 3
