"""What the trials of a study say: pure functions, no drawing."""
