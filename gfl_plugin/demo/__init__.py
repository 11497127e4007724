"""The embedded dataset: handwritten digits in photographs, generated in seconds. Needs the extra ``[demo]``."""
