"""Routes of uploads: CSV, JSON and NDJSON rows as they arrive. `app` imports `uploads.upload_routes`."""
