"""Training with Lightning; no other folder of gesso knows it."""
