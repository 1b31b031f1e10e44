"""Requests to language models, whatever the prompt: client, batches, local models, response cache, budget."""
