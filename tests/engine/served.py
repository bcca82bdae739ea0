"""The engine of a server, loaded as a sweep would load it."""

from __future__ import annotations

from typing import Any

from orchestrator.engine import ServerOptions
from orchestrator.engine.server import ServerEngine, load, served_models
from orchestrator.nouns import SERVED
from tests import builders


def load_served(url: str, model: str | None = None, **setup: Any) -> ServerEngine:
    """The model of that name, or the only one, without a chat template unless `setup` says so."""
    options = setup.pop("engine_options", {}) | {"server_url": url}
    [found] = served_models(ServerOptions(**options), [model] if model else [])
    values = {
        "engine": "server",
        "engine_options": options,
        "quantization": SERVED,
        "model": found.label,
        "revision": found.revision,
        "chat_template": "off",
    }
    return load(builders.setup(**(values | setup)), found.ref)
