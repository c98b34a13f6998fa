"""`python -m mfstudy`: the command line."""

from mfstudy.cli import main

main()
