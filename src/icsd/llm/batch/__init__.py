"""OpenAI's Batch API: `requester` sends batches and waits, `server` speaks the API, `ledger` has records and costs."""
