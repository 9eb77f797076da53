"""Images on disk: reading, writing, pairing, sampling."""
