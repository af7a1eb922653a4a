"""Pictures of results for people: drawn by matplotlib, in a process of their own."""
