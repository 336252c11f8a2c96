"""What the product costs: ``python -m bench``, explained in ``bench/README.md``."""
