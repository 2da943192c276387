"""One file a verb: a dataclass `Command` whose fields are the options and whose `run()` does the work."""
