"""`python -m sid_assets`: the command `sid-assets`."""

from sid_assets.cli import main

main(prog_name="sid-assets")
