"""Moments -> files: clips, timelines for editors, playlists, tables, subtitles, a contact sheet."""
