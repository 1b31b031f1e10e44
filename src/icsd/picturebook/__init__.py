"""The picture book: a miniature world with captions, and the training of its small models.

The pipeline proper never imports this package: it reads what is written here as any other corpus and any other models.
"""
