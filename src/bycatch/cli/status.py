"""Exit statuses; a command that a signal ends has 128 and the signal's number."""

DONE, SOME_LOST, WRONG_USAGE = 0, 1, 2
