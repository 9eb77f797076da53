"""What `gesso compare` needs: the arms that are compared, how pairs are split, and the jobs that are run."""
