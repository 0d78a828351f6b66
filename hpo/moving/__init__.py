"""How trials get from one place to another: out of a study into tables, and into a study from elsewhere."""
