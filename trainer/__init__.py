"""A neural-network trainer on NumPy alone."""
