"""The demo: an embedded data set, and a study of GFL against its baseline on it. Needs the extra ``[demo]``."""
