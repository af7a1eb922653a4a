"""Objects of a group of images: which detections are one, how real, how bright, how they move.

Pure functions of arrays over N objects and M images, (N, M), NaN where an image does not cover
an object.
"""
