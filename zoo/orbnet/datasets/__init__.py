"""Data sets of the paper's tables and of training: one file a set, molecules and reference energies with their units."""
