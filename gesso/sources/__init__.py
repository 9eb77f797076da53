"""Where images come from, one source a file; the folder is the registry (see `gesso._discovery`)."""
