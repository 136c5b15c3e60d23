"""Run the command line: ``python -m lvlm_va``."""

from lvlm_va.cli.app import main

main()
