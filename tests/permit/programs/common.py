"""What the programs share: the SDK as an application sets it up, and a look into the agent's data."""

import asyncio
import json
import os
import urllib.request

from loguru import logger
from permit import Permit

logger.remove()

AGENT = os.environ["AGENT"]
DECISIONS = os.environ["DECISIONS"]


def sdk(**more) -> Permit:
    settings = {
        "token": os.environ["TOKEN"],
        "pdp": AGENT,
        "api_url": AGENT,
        "proxy_facts_via_pdp": True,
        "facts_sync_timeout": 10,
    }
    return Permit(**{**settings, **more})


def data(name: str):
    """The documents of a kind that the agent's engine decides from."""
    with urllib.request.urlopen(f"{DECISIONS}/v1/data/{name}") as answer:
        return json.load(answer).get("result", {})


def document(key: str, tenant: str = "default") -> dict:
    return {"type": "document", "key": key, "tenant": tenant}


def run(program) -> None:
    asyncio.run(program())
