"""`python -m playhead_cli`: the same as the script `playhead`."""

from playhead_cli.main import main

if __name__ == "__main__":
    main()
