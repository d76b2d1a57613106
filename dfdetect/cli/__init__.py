"""The command line: people verbs take flags, lab verbs take key=value."""
