"""GitSource: resources that follow a git repository. `checkout` reads one, `sources` keeps objects as they say."""
