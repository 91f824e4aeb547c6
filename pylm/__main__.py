"""`python -m pylm` is `pylm`."""

from pylm.cli import main

main()
