"""Dataset: an arm's training pairs, and a ledger of all kept and dropped items with reasons.

building   the tables of an arm with drawn pictures to its pairs, step by step
real       the same for the photographs of the arm real
steps      the items that enter a step and those that it drops
pairs      pairs as columns
alignment  which pairs the scores of images and captions drop and weigh, and which candidate is used
rematch    other images for captions that scores leave without a pair
"""
