"""A hundred times: a role is given, and allows at once; it is taken away, and denies at once."""

from common import run, sdk

TIMES = 100


async def main():
    permit = sdk()
    document = {"type": "document", "tenant": "default"}
    with permit.wait_for_sync(timeout=15) as p:
        for turn in range(TIMES):
            user = f"user-{turn % 5}"
            role = {"user": user, "role": "viewer", "tenant": "default"}
            await p.api.users.sync({"key": user, "attributes": {"turn": turn}})
            await p.api.users.assign_role(role)
            assert await permit.check(user, "read", document), f"turn {turn}: stale, denied"
            await p.api.users.unassign_role(role)
            assert not await permit.check(user, "read", document), f"turn {turn}: stale, allowed"


run(main)
