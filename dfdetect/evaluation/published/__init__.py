"""The figures that papers and others' runs state, with their source and definition."""
