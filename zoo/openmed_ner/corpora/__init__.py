"""Corpora and their formats: labelled sentences and documents with places, and a report of what was repaired."""
