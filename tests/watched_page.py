"""A report in a browser, whose requests and complaints are kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ADDRESS = "http://report.test/"  # answered by the test itself, never by a network


class Watched:
    """A page whose requests and complaints are kept."""

    def __init__(
        self,
        browser: Any,
        report: Path,
        headers: dict[str, str] | None = None,
        address: str = ADDRESS,
        **options: Any,
    ) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: self.problems.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.body = report.read_text("utf-8")
        self.headers = {"content-type": "text/html; charset=utf-8", **(headers or {})}
        self.page.route("**/*", self._answer)
        self.page.goto(address)

    def _answer(self, route: Any) -> None:
        if route.request.url == ADDRESS:
            route.fulfill(body=self.body, headers=self.headers)
        else:
            route.abort()

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def outside(self) -> list[str]:
        """Requests other than for the report and for the pictures inside it."""
        return [url for url in self.requests if url != ADDRESS and not url.startswith("data:")]
