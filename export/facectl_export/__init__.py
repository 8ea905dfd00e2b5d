"""facectl's exporter: a run in, files out that answer as it does."""
