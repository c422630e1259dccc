"""What our HTML pages share. Nothing in them is loaded from elsewhere and nothing runs: they forbid it."""

from __future__ import annotations

from html import escape

from savecli.plain import plain

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --ink: #1b1d21; --paper: #fff; --soft: #667; --line: #d5d8de;
  --good: #14713d; --warn: #8a5200; --card: #f5f6f8 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --paper: #15171b; --soft: #9aa0ab;
  --line: #353a43; --good: #63cf92; --warn: #f0b35c; --card: #1e2127 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 16px/1.45 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2.2rem } h3 { font-size: 1rem; margin: 0 }
.note, small { color: var(--soft) }
"""
"""Colours for light and dark, and text that fits a narrow screen."""


def head(name: str) -> str:
    """The beginning of a page, up to where its style goes."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{safe(name)}</title>\n"
    )


def safe(text: object) -> str:
    """Text from anywhere, as text within HTML."""
    return escape(plain(text))
