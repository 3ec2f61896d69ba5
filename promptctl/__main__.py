"""python -m promptctl."""

from promptctl.cli.main import main

if __name__ == "__main__":
    main()
