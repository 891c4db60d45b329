"""Foreign trust domains: their bundles, fetched and kept. `relation` is pure; `fetch` and `federator` are edges."""
