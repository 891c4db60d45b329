"""The policy API: Kubernetes-style, over TLS, by aiohttp. `app` wires it; each concern is a file."""
