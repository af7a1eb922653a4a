"""Reference stars, and the frame of an image on the sky."""
