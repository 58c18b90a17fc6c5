"""opsig in a Python program: ``import opsigcli as opsig``. Nothing here prints."""
