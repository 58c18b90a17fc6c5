"""One verb per file: the only place where rooms meet. Commands return an Outcome; they never print and never exit."""
