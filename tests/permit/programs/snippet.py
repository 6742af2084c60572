"""The example of Permit's documentation, with what it lacks: `with` in place of `async with`, and
`api_url`."""

import asyncio
import os

from permit import Permit

permit = Permit(
    token=os.environ["TOKEN"],
    pdp=os.environ["AGENT"],
    api_url=os.environ["AGENT"],
    proxy_facts_via_pdp=True,
    facts_sync_timeout=10,
)


async def main():
    with permit.wait_for_sync(timeout=15) as p:
        user = await p.api.users.sync(
            {
                "key": "auth0|elon",
                "email": "elonmusk@tesla.com",
                "first_name": "Elon",
                "last_name": "Musk",
                "attributes": {"age": 50, "favorite_color": "red"},
            }
        )
        await p.api.users.assign_role({"user": "auth0|elon", "role": "viewer", "tenant": "default"})
    assert user.key == "auth0|elon" and user.attributes["age"] == 50, user
    assert await permit.check("auth0|elon", "read", {"type": "document", "tenant": "default"})
    assert not await permit.check("auth0|elon", "edit", {"type": "document", "tenant": "default"})


asyncio.run(main())
