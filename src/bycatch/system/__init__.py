"""What is done with the operating system: files, processes, memory, text for terminals."""
