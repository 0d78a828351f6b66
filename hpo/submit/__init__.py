"""Studies as jobs of a cluster: what travels, how a job starts, and how it is followed."""
