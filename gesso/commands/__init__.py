"""One file is one verb is one documented function: Python API, command line, YAML keys and help come from it."""
