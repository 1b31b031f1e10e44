"""OpenAI's Batch API: `requester` sends batches and waits, `server` calls the API, `ledger` has records and costs."""
