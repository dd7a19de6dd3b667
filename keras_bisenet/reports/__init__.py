"""HTML pages: of a run, of a data set."""
