"""The browser and the servers that the page's tests share."""

from tests_ui import browser, editor, new_page, running

__all__ = ["browser", "editor", "new_page", "running"]
