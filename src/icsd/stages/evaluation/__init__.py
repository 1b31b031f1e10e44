"""Scores of predicted captions on the test pictures, with intervals."""
