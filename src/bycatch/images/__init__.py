"""Images: what a file is and what its headers, WCS and planes mean."""
