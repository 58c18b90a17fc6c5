"""``python -m opsigcli`` and the ``opsig`` entry point."""


def main() -> None:
    """Run the command line and exit with its exit code."""
    from opsigcli.cli.app import run

    raise SystemExit(run())


if __name__ == "__main__":
    main()
