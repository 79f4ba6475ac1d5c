"""Text as data: HTML entities become the characters that they stand for."""

import html


def unescape(text):
    """As ``html.unescape``; a text with a character's number of thousands of digits, which Python refuses, stays."""
    try:
        return html.unescape(text)
    except ValueError:
        return text
