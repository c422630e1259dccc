"""Find the moment in your own videos by what is seen, heard and said."""

__version__ = "0.1.0"
