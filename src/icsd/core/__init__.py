"""Parts that every room uses: errors, tables, files, locks, stores, downloads, pictures, ids, metrics, logs, text."""
