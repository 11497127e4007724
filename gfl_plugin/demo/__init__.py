"""The embedded data set: handwritten digits in photographs, made in seconds. Needs the extra ``[demo]``."""
