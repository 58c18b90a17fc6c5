"""Several runs side by side: cases in, one comparison out. It opens neither models nor data."""
