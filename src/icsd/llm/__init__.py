"""Asking language models, whatever the prompt: requests, the cache of replies, budget, clients."""
