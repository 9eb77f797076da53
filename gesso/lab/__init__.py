"""Looking into networks: what they respond to, where their weights come from, what sweeps of options reached."""
