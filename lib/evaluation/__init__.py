"""Evaluation: from scores, embeddings and maps held in numpy arrays to numbers. Knows no dataset and no model."""
