"""`python -m gantrol COMMAND …`, which is how torchrun starts it."""

from __future__ import annotations

from gantrol.cli import main

if __name__ == "__main__":
    main()
