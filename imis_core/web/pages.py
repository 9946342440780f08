"""The documentation page: Swagger UI from its own package, nothing from other hosts, no inline script."""

from __future__ import annotations

from typing import Final

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
PAGE: Final = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>API of this deployment</title>
<link rel="stylesheet" href="/schema/assets/swagger-ui.css">
<link rel="icon" type="image/png" href="/schema/assets/favicon-32x32.png" sizes="32x32">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/schema/assets/swagger-ui-bundle.js"></script>
<script src="/schema/assets/start.js"></script>
</body>
</html>
"""
_START: Final = b"""window.ui = SwaggerUIBundle({
  url: "/schema/openapi-3.0.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  docExpansion: "none",
  validatorUrl: null
});
"""
_ASSETS: Final = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}


def asset(name: str) -> tuple[bytes, str] | None:
    """A file of the page with its media type; None for a name that the page does not use."""
    if name == "start.js":
        return _START, "text/javascript; charset=utf-8"
    if name not in _ASSETS:
        return None
    from swagger_ui_bundle import swagger_ui_path

    content: bytes = (swagger_ui_path / name).read_bytes()
    return content, _ASSETS[name]
