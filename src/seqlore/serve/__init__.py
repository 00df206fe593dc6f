"""``seqlore serve``: models over HTTP, with a page to look at them. Needs ``pip install 'seqlore[serve]'``."""
