"""The page of a report: one HTML file that needs no network, and its figures as PNG files."""

from .page import write_page

__all__ = ["write_page"]
