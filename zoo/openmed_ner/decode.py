"""Label scores of words to entities: the best sequence that the scheme allows, with a probability for each entity."""

from __future__ import annotations

import numpy as np

from zoo.openmed_ner.labels import OUTSIDE, LabelMap, spans


def log_probabilities(logits: np.ndarray, labels: LabelMap) -> np.ndarray:
    """Log-softmax over the labels in use, float64; ids without a label get -inf.

    Args:
        logits: (n, number of labels).
        labels: the label map.
    """
    used = np.asarray([name is not None for name in labels.names])
    shifted = np.where(used, logits.astype(np.float64), -np.inf)
    shifted -= shifted.max(-1, keepdims=True, initial=-1e30)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def best_tags(log_p: np.ndarray, labels: LabelMap) -> list[int]:
    """The most probable allowed sequence of label ids (Viterbi with free transitions where the scheme allows them).

    Without it an I- after O would be dropped by strict scoring, and read as an entity by lenient: here it cannot occur.

    Args:
        log_p: (n, number of labels) log probabilities.
        labels: the label map.

    Returns:
        n ids.
    """
    n = len(log_p)
    if n == 0:
        return []
    table = np.asarray(labels.allowed())
    greedy = log_p.argmax(-1)
    if table[-1, greedy[0]] and table[greedy[:-1], greedy[1:]].all() and _may_end(labels)[greedy[-1]]:
        return greedy.tolist()  # the usual case: the best labels one by one are a sequence already
    cost = np.where(table, 0.0, -np.inf)
    score = log_p[0] + cost[-1]
    back = np.zeros((n, log_p.shape[1]), np.int64)
    for i in range(1, n):
        reach = score[:, None] + cost[:-1]
        back[i] = reach.argmax(0)
        score = reach.max(0) + log_p[i]
    path = [int(np.where(_may_end(labels), score, -np.inf).argmax())]
    for i in range(n - 1, 0, -1):
        path.append(int(back[i, path[-1]]))
    return path[::-1]


def _may_end(labels: LabelMap) -> np.ndarray:
    """Which labels a sequence may end with: in IOBES not B or I of a type that has E."""
    table = np.asarray(labels.allowed())
    return table[:-1, labels.outside]


def entities(log_p: np.ndarray, labels: LabelMap) -> list[tuple[int, int, str, float]]:
    """Entities of a sequence of words.

    Args:
        log_p: (n, number of labels) log probabilities of its words.
        labels: the label map.

    Returns:
        (first word, past the last, type, score); the score is the geometric mean of the probabilities of the words' labels.
    """
    path = best_tags(log_p, labels)
    tags = [labels.names[i] or OUTSIDE for i in path]
    found = []
    for start, end, kind in spans(tags, bare=labels.bare):
        score = float(np.exp(np.mean([log_p[i, path[i]] for i in range(start, end)])))
        found.append((start, end, kind, min(score, 1.0)))
    return found
