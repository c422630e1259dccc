"""`python -m savecli`, and the installed command `save`."""

from savecli.cli import main

if __name__ == "__main__":
    main()
