"""Dataset: an arm's training pairs, and a ledger of all kept and dropped items with reasons.

building   the tables of an arm to its pairs, step by step
alignment  which pairs the scores of images and captions drop, add and weigh
"""
