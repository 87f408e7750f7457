"""Clusters of duplicates, and which document of each stays.

labels = clusters(len(documents), pairs)
keeps = best_of(labels, priorities, lengths)

A cluster is what pairs connect, however many steps apart (Tarjan's union-find gives the same): two
documents of one may be less similar than the threshold. One document of it stays.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def clusters(count: int, pairs: np.ndarray) -> np.ndarray:
    """The least number among the documents of each document's cluster, int64 [count].

    Args:
      count: of documents.
      pairs: int64 [pairs, 2] of their numbers.
    """
    edges = (np.ones(len(pairs), np.bool), (pairs[:, 0], pairs[:, 1]))
    labels = connected_components(coo_array(edges, shape=(count, count)), directed=False)[1]
    _, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
    return first[numbers]


def best_of(labels: np.ndarray, priorities: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Whether each document is the one that stays of its cluster, bool [documents].

    It is the one of the corpus with the first priority; among several of those, the longest; among
    equally long ones the first.

    Args:
      labels: int64 [documents], of clusters.
      priorities: int64 [documents], of their corpora: 0 before 1.
      lengths: int64 [documents], characters.
    """
    order = np.lexsort((-lengths, priorities, labels))  # stable
    keeps = np.zeros(len(labels), np.bool)
    keeps[order[np.flatnonzero(np.diff(labels[order], prepend=-1))]] = True
    return keeps
