"""Requests to language models with any prompt: client, batches, local models, response cache, budget."""
